-- Cost entries that are about to be deleted.

-- name: close_streams
-- The newest of these points becomes the closing point of its stream. The values beside max() are
-- those of the same row. The unary + keeps SQLite from reading the whole index of the series.
INSERT INTO cost_streams (
    series_id, stream_start, earliest_start, latest_start,
    closed_timestamp, closed_start_timestamp, closed_value, closed_count
)
SELECT
    series_id, stream_start, nullif(stream_start, 0), nullif(stream_start, 0),
    max(period_end), start_timestamp, value, point_count
FROM cost_entries
WHERE {condition} AND +series_id IS NOT NULL
GROUP BY +series_id, +stream_start
ON CONFLICT (series_id, stream_start) DO UPDATE
SET closed_timestamp = excluded.closed_timestamp,
    closed_start_timestamp = excluded.closed_start_timestamp,
    closed_value = excluded.closed_value,
    closed_count = excluded.closed_count
WHERE coalesce(cost_streams.closed_timestamp, 0) < excluded.closed_timestamp;
