-- Times are timestamptz, JSON is jsonb. The backend replaces {{partitioned}} with its clause that
-- partitions a fact table by time, or with nothing.

CREATE TABLE metric_series (
    series_id           bigint PRIMARY KEY,
    metric_name         text NOT NULL,
    metric_type         text NOT NULL CHECK (metric_type IN
                            ('gauge', 'sum', 'histogram', 'exponential_histogram', 'summary')),
    unit                text NOT NULL,
    description         text NOT NULL,
    temporality         text CHECK (temporality IN ('delta', 'cumulative')),
    is_monotonic        boolean,
    cluster_id          text NOT NULL,
    node_id             text NOT NULL,
    service_name        text,
    resource            jsonb NOT NULL,
    resource_schema_url text NOT NULL,
    scope               jsonb NOT NULL,
    scope_schema_url    text NOT NULL,
    attributes          jsonb NOT NULL,
    first_seen          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX metric_series_name ON metric_series (metric_name);

-- Gauge and sum points; value is NULL for OTLP's "no recorded value".
CREATE TABLE system_metrics (
    "timestamp"     timestamptz NOT NULL,
    series_id       bigint NOT NULL,
    value           double precision,
    start_timestamp timestamptz
) {{partitioned}};

-- Histogram points of both kinds. bounds and bucket_counts are NULL for exponential histograms;
-- scale to negative_counts are NULL for explicit histograms.
CREATE TABLE metric_histograms (
    "timestamp"     timestamptz NOT NULL,
    series_id       bigint NOT NULL,
    start_timestamp timestamptz,
    count           bigint,
    sum             double precision,
    min             double precision,
    max             double precision,
    bounds          double precision[],
    bucket_counts   numeric(20, 0)[],
    scale           integer,
    zero_count      bigint,
    zero_threshold  double precision,
    positive_offset integer,
    positive_counts numeric(20, 0)[],
    negative_offset integer,
    negative_counts numeric(20, 0)[]
) {{partitioned}};

CREATE TABLE metric_summaries (
    "timestamp"     timestamptz NOT NULL,
    series_id       bigint NOT NULL,
    start_timestamp timestamptz,
    count           bigint,
    sum             double precision,
    quantiles       double precision[] NOT NULL,
    quantile_values double precision[] NOT NULL
) {{partitioned}};

CREATE TABLE metric_exemplars (
    "timestamp" timestamptz NOT NULL,
    series_id   bigint NOT NULL,
    value       double precision NOT NULL,
    trace_id    text NOT NULL,
    span_id     text NOT NULL,
    attributes  jsonb NOT NULL
) {{partitioned}};

-- The highest batch that each writer has committed. A writer whose connection broke during COMMIT
-- reads here whether the batch is stored.
CREATE TABLE ingest_ledger (
    receiver_id   text PRIMARY KEY,
    last_sequence bigint NOT NULL
);

-- Points with their series, for users and dashboards.
CREATE VIEW metric_samples AS
SELECT
    m."timestamp" AS time,
    m."timestamp",
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
JOIN metric_series AS s USING (series_id);
