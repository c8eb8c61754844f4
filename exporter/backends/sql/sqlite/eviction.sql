-- Keeps the in-memory store within its bound: the oldest rows go, then series without rows.

-- name: cutoff
-- The time of the last row to go. The tables are in the order of time, so this merges them and
-- reads no further than that row.
SELECT timestamp FROM system_metrics
UNION ALL SELECT timestamp FROM metric_histograms
UNION ALL SELECT timestamp FROM metric_summaries
UNION ALL SELECT timestamp FROM metric_exemplars
UNION ALL SELECT timestamp FROM cost_entries
ORDER BY timestamp LIMIT 1 OFFSET ?;

-- name: create_leaving
CREATE TEMP TABLE leaving_series (series_id INTEGER PRIMARY KEY);

-- name: mark_leaving
INSERT INTO temp.leaving_series
SELECT series_id FROM metric_series
WHERE series_id NOT IN (
    SELECT series_id FROM system_metrics
    UNION SELECT series_id FROM metric_histograms
    UNION SELECT series_id FROM metric_summaries
    UNION SELECT series_id FROM metric_exemplars
    UNION SELECT series_id FROM cost_entries WHERE series_id IS NOT NULL);

-- name: leaving
-- One row for all of them, as a JSON array: a step for each would give the interpreter lock away.
SELECT json_group_array(series_id) FROM temp.leaving_series;

-- name: stay
DELETE FROM temp.leaving_series WHERE series_id = ?;

-- name: leave
DELETE FROM metric_series
WHERE series_id IN (SELECT series_id FROM temp.leaving_series)
AND series_id NOT IN (
    SELECT series_id FROM system_metrics
    UNION SELECT series_id FROM metric_histograms
    UNION SELECT series_id FROM metric_summaries
    UNION SELECT series_id FROM metric_exemplars
    UNION SELECT series_id FROM cost_entries WHERE series_id IS NOT NULL);

-- name: leave_cursors
-- A series that comes back is a new one, so its total counts whole; what it came to before is gone.
DELETE FROM cost_cursors
WHERE series_id IN (SELECT series_id FROM temp.leaving_series)
AND series_id NOT IN (SELECT series_id FROM metric_series);

-- name: clear_leaving
DELETE FROM temp.leaving_series;
