-- Limits the backend memory: the oldest rows are deleted, then series without rows.

-- name: cutoff
-- The time of the newest row to delete. Each table is in the order of time, so SQLite merges them and
-- reads no further than this row.
SELECT timestamp FROM system_metrics
UNION ALL SELECT timestamp FROM metric_histograms
UNION ALL SELECT timestamp FROM metric_summaries
UNION ALL SELECT timestamp FROM metric_exemplars
UNION ALL SELECT timestamp FROM cost_entries
ORDER BY timestamp LIMIT 1 OFFSET ?;

-- name: create_idle
CREATE TEMP TABLE idle_series (series_id INTEGER PRIMARY KEY);

-- name: mark_idle
INSERT INTO temp.idle_series
SELECT series_id FROM metric_series
WHERE series_id NOT IN (
    SELECT series_id FROM system_metrics
    UNION SELECT series_id FROM metric_histograms
    UNION SELECT series_id FROM metric_summaries
    UNION SELECT series_id FROM metric_exemplars
    UNION SELECT series_id FROM cost_entries WHERE series_id IS NOT NULL);

-- name: idle
-- One row for all ids, as a JSON array: sqlite3 releases the interpreter lock at each row.
SELECT json_group_array(series_id) FROM temp.idle_series;

-- name: unmark
DELETE FROM temp.idle_series WHERE series_id = ?;

-- name: delete_idle
DELETE FROM metric_series
WHERE series_id IN (SELECT series_id FROM temp.idle_series)
AND series_id NOT IN (
    SELECT series_id FROM system_metrics
    UNION SELECT series_id FROM metric_histograms
    UNION SELECT series_id FROM metric_summaries
    UNION SELECT series_id FROM metric_exemplars
    UNION SELECT series_id FROM cost_entries WHERE series_id IS NOT NULL);

-- name: delete_idle_streams
-- A deleted series that returns is new: its first total counts whole, because its entries are gone.
DELETE FROM cost_streams
WHERE series_id IN (SELECT series_id FROM temp.idle_series)
AND series_id NOT IN (SELECT series_id FROM metric_series);

-- name: clear_idle
DELETE FROM temp.idle_series;
