-- Dead letters: rows that the store refused, and why.

-- name: now
-- Asked once, because the clock goes on between two statements, and letters of one batch are to be
-- found together.
SELECT CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000;

-- name: insert
-- A row whose batch did not define its series has one that is known here.
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

-- name: delete_before
DELETE FROM dead_letters WHERE written_at < ?;
