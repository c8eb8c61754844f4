-- Points of one series and time that have other starts are of several processes, so the start is part
-- of the key. A column of a key cannot be NULL: start_micros is 0 for an unknown start, for which
-- start_timestamp is NULL as before. SQLite cannot change a key, so the tables are created again. They
-- are copied in the order of the key, which appends every row: memory stays bounded, and the file needs
-- free disk space of twice the size of its largest table.
DROP VIEW metric_samples;

CREATE TABLE system_metrics_new (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    value           REAL,
    start_micros    INTEGER NOT NULL DEFAULT 0,
    start_timestamp INTEGER GENERATED ALWAYS AS (nullif(start_micros, 0)) VIRTUAL,
    PRIMARY KEY (timestamp, series_id, start_micros)
) WITHOUT ROWID;
INSERT INTO system_metrics_new (timestamp, series_id, value, start_micros)
SELECT timestamp, series_id, value, coalesce(start_timestamp, 0)
FROM system_metrics ORDER BY timestamp, series_id;
DROP TABLE system_metrics;
ALTER TABLE system_metrics_new RENAME TO system_metrics;

CREATE TABLE metric_histograms_new (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    start_micros    INTEGER NOT NULL DEFAULT 0,
    start_timestamp INTEGER GENERATED ALWAYS AS (nullif(start_micros, 0)) VIRTUAL,
    count           INTEGER,
    sum             REAL,
    min             REAL,
    max             REAL,
    bounds          TEXT,
    bucket_counts   TEXT,
    scale           INTEGER,
    zero_count      INTEGER,
    zero_threshold  REAL,
    positive_offset INTEGER,
    positive_counts TEXT,
    negative_offset INTEGER,
    negative_counts TEXT,
    PRIMARY KEY (timestamp, series_id, start_micros)
) WITHOUT ROWID;
INSERT INTO metric_histograms_new (
    timestamp, series_id, start_micros, count, sum, min, max, bounds, bucket_counts, scale,
    zero_count, zero_threshold, positive_offset, positive_counts, negative_offset, negative_counts
)
SELECT
    timestamp, series_id, coalesce(start_timestamp, 0), count, sum, min, max, bounds, bucket_counts,
    scale, zero_count, zero_threshold, positive_offset, positive_counts, negative_offset,
    negative_counts
FROM metric_histograms ORDER BY timestamp, series_id;
DROP TABLE metric_histograms;
ALTER TABLE metric_histograms_new RENAME TO metric_histograms;

CREATE TABLE metric_summaries_new (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    start_micros    INTEGER NOT NULL DEFAULT 0,
    start_timestamp INTEGER GENERATED ALWAYS AS (nullif(start_micros, 0)) VIRTUAL,
    count           INTEGER,
    sum             REAL,
    quantiles       TEXT NOT NULL,
    quantile_values TEXT NOT NULL,
    PRIMARY KEY (timestamp, series_id, start_micros)
) WITHOUT ROWID;
INSERT INTO metric_summaries_new (
    timestamp, series_id, start_micros, count, sum, quantiles, quantile_values
)
SELECT timestamp, series_id, coalesce(start_timestamp, 0), count, sum, quantiles, quantile_values
FROM metric_summaries ORDER BY timestamp, series_id;
DROP TABLE metric_summaries;
ALTER TABLE metric_summaries_new RENAME TO metric_summaries;

CREATE VIEW metric_samples AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%fZ', m.timestamp / 1000000.0, 'unixepoch') AS time,
    m.timestamp,
    s.metric_name,
    m.value,
    s.unit,
    s.metric_type,
    s.temporality,
    s.is_monotonic,
    s.cluster_id,
    s.node_id,
    s.service_name,
    s.attributes,
    s.resource,
    s.scope,
    m.start_timestamp,
    m.series_id
FROM system_metrics AS m
JOIN metric_series AS s ON s.series_id = m.series_id;
