-- Cost entries that were derived from points, and their streams.

-- name: unknown_streams
SELECT {streams} FROM cost_streams AS s
WHERE s.stream_start = 0 AND s.series_id IN (SELECT value FROM json_each(:series_ids));

-- name: streams_near
-- From the next stream below the near starts to the next one above them: these two may be wide.
WITH wanted AS (
    SELECT json_extract(value, '$[0]') AS series_id,
        json_extract(value, '$[1]') - :near AS lowest,
        json_extract(value, '$[1]') + :near AS highest
    FROM json_each(:pairs)
)
SELECT DISTINCT {streams}
FROM wanted CROSS JOIN cost_streams AS s
WHERE s.series_id = wanted.series_id AND s.stream_start <> 0
AND s.stream_start >= coalesce(
    (SELECT max(b.stream_start) FROM cost_streams AS b
        WHERE b.series_id = wanted.series_id AND b.stream_start < lowest AND b.stream_start <> 0),
    lowest)
AND s.stream_start <= coalesce(
    (SELECT min(a.stream_start) FROM cost_streams AS a
        WHERE a.series_id = wanted.series_id AND a.stream_start > highest),
    highest);

-- name: rates_of_quantities
SELECT series_id FROM cost_streams
WHERE quantity_id IN (SELECT value FROM json_each(:quantity_ids));

-- name: delete_stream
DELETE FROM cost_streams WHERE series_id = ? AND stream_start = ?;

-- name: update_entry
UPDATE cost_entries
SET amount_units = ?, amount_nanos = ?, amount_attos = ?, period_start = ?, stream_start = ?
WHERE timestamp = ? AND entry_id = ?;

-- name: entries_between
-- From the last entry before the first time to the first entry after the last time.
SELECT {entries} FROM cost_entries
WHERE series_id = :series_id AND stream_start = :stream_start
AND period_end >= coalesce(
    (SELECT max(period_end) FROM cost_entries
        WHERE series_id = :series_id AND stream_start = :stream_start AND period_end < :first),
    :first)
AND period_end <= coalesce(
    (SELECT min(period_end) FROM cost_entries
        WHERE series_id = :series_id AND stream_start = :stream_start AND period_end > :last),
    :last)
ORDER BY period_end, start_timestamp;

-- name: entries_of
SELECT {entries} FROM cost_entries
WHERE series_id = :series_id AND stream_start IN (SELECT value FROM json_each(:stream_starts))
ORDER BY period_end, start_timestamp;

-- name: quantities
-- From the second entry before the first time to the last time.
SELECT {entries} FROM cost_entries
WHERE series_id = :series_id AND stream_start = :stream_start AND period_end <= :last
AND period_end >= coalesce(
    (SELECT period_end FROM cost_entries
        WHERE series_id = :series_id AND stream_start = :stream_start AND period_end < :first
        ORDER BY period_end DESC LIMIT 1 OFFSET 1),
    0)
ORDER BY period_end;
