-- Dead letters: rows that the store refused, each with the reason.

-- name: now
-- Read once for a batch, so that all its dead letters have the same time.
SELECT CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000;

-- name: insert
-- Without the definition of the series in its batch, the stored name is used.
INSERT INTO dead_letters (
    written_at, kind, reason, series_id, metric_name, timestamp, content)
VALUES (
    :written_at, :kind, :reason, :series_id,
    coalesce(
        :metric_name,
        (SELECT metric_name FROM metric_series WHERE series_id = :series_id)
    ),
    :timestamp, :content
);

-- name: keep_newest
DELETE FROM dead_letters
WHERE letter_id <= (SELECT max(letter_id) FROM dead_letters) - ?;

-- name: prune
DELETE FROM dead_letters WHERE written_at < ?;
