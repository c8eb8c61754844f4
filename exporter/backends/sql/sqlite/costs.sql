-- The stored points of series that carry cost.

-- name: cursors
SELECT series_id, first_timestamp, last_timestamp, last_start_timestamp, last_value
FROM cost_cursors
WHERE series_id IN (SELECT value FROM json_each(?));

-- name: points_between
-- From the last point before the first time to the first point after the last time.
SELECT timestamp, start_timestamp, value
FROM cost_entries
WHERE series_id = :series_id
AND timestamp >= coalesce(
    (SELECT max(timestamp) FROM cost_entries
        WHERE series_id = :series_id AND timestamp < :first),
    :first)
AND timestamp <= coalesce(
    (SELECT min(timestamp) FROM cost_entries
        WHERE series_id = :series_id AND timestamp > :last),
    :last)
ORDER BY timestamp;
