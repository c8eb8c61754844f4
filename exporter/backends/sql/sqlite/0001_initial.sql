-- Times are INTEGER microseconds since 1970 UTC. JSON is TEXT, canonical (keys sorted).

-- The migrations that this database has had.
CREATE TABLE schema_migrations (
    version    INTEGER PRIMARY KEY,
    applied_at INTEGER NOT NULL DEFAULT
                   (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000)
);

-- One row a series: what does not change from point to point.
CREATE TABLE metric_series (
    series_id           INTEGER PRIMARY KEY,
    metric_name         TEXT NOT NULL,
    metric_type         TEXT NOT NULL CHECK (metric_type IN
                            ('gauge', 'sum', 'histogram', 'exponential_histogram', 'summary')),
    unit                TEXT NOT NULL,
    description         TEXT NOT NULL,
    temporality         TEXT CHECK (temporality IN ('delta', 'cumulative')),
    is_monotonic        INTEGER CHECK (is_monotonic IN (0, 1)),
    cluster_id          TEXT NOT NULL,
    node_id             TEXT NOT NULL,
    service_name        TEXT,
    resource            TEXT NOT NULL,
    resource_schema_url TEXT NOT NULL,
    scope               TEXT NOT NULL,
    scope_schema_url    TEXT NOT NULL,
    attributes          TEXT NOT NULL,
    first_seen          INTEGER NOT NULL DEFAULT
                            (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000)
);
CREATE INDEX metric_series_name ON metric_series (metric_name);

-- Gauge and sum points. value is NULL for "no recorded value" and the text 'NaN' for a NaN,
-- which SQLite cannot store as a number; infinities are numbers.
CREATE TABLE system_metrics (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    value           REAL,
    start_timestamp INTEGER,
    PRIMARY KEY (timestamp, series_id)
) WITHOUT ROWID;

-- Histogram points of both kinds. bounds and bucket_counts are JSON arrays, NULL for exponential
-- histograms; scale to negative_counts are NULL for explicit ones.
CREATE TABLE metric_histograms (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    start_timestamp INTEGER,
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
    PRIMARY KEY (timestamp, series_id)
) WITHOUT ROWID;

-- Summary points. quantiles and quantile_values are JSON arrays of the same length. In them a NaN is
-- the string "NaN"; infinities are "Infinity" and "-Infinity".
CREATE TABLE metric_summaries (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    start_timestamp INTEGER,
    count           INTEGER,
    sum             REAL,
    quantiles       TEXT NOT NULL,
    quantile_values TEXT NOT NULL,
    PRIMARY KEY (timestamp, series_id)
) WITHOUT ROWID;

CREATE TABLE metric_exemplars (
    timestamp  INTEGER NOT NULL,
    series_id  INTEGER NOT NULL,
    value      REAL NOT NULL,
    trace_id   TEXT NOT NULL,
    span_id    TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (timestamp, series_id, trace_id, span_id, attributes, value)
) WITHOUT ROWID;

-- Points with their series, for people and dashboards.
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
