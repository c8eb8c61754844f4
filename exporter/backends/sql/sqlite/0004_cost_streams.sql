-- A series that carries cost has one stream for each start time of its points. The row with
-- stream_start 0 is that of points with an unknown start, and also has what is known of the series.
-- Retention does not delete these rows.
CREATE TABLE cost_streams (
    series_id              INTEGER NOT NULL,
    stream_start           INTEGER NOT NULL,
    earliest_start         INTEGER,
    latest_start           INTEGER,
    has_fall               INTEGER NOT NULL DEFAULT 0,
    is_split               INTEGER NOT NULL DEFAULT 0,
    last_timestamp         INTEGER,
    last_start_timestamp   INTEGER,
    last_value             REAL,
    last_count             INTEGER,
    closed_timestamp       INTEGER,
    closed_start_timestamp INTEGER,
    closed_value           REAL,
    closed_count           INTEGER,
    zero_length_points     INTEGER NOT NULL DEFAULT 0,
    lone_start             INTEGER,
    quantity_id            INTEGER,
    PRIMARY KEY (series_id, stream_start)
) WITHOUT ROWID;

-- Each cursor becomes the row of the unknown start and, if the start of its last point is known, the
-- row of that start. If retention has deleted entries, the oldest point with an entry is the closing
-- point, or the last point if no entry is left. The last point of a sum that may fall is in both rows,
-- because its values may be totals or rates.
INSERT INTO cost_streams (
    series_id, stream_start, earliest_start, latest_start,
    last_timestamp, last_start_timestamp, last_value,
    closed_timestamp, closed_start_timestamp, closed_value
)
WITH kept AS (
    SELECT series_id, min(timestamp) AS oldest, max(timestamp) AS newest
    FROM cost_entries WHERE series_id IS NOT NULL GROUP BY series_id
),
cursors AS (
    SELECT
        c.series_id, c.last_timestamp, c.last_start_timestamp, c.last_value,
        coalesce((s.temporality = 'cumulative' OR s.metric_type = 'summary')
            AND c.last_start_timestamp < c.last_timestamp, FALSE) AS has_start,
        coalesce(s.metric_type = 'sum' AND NOT s.is_monotonic, FALSE) AS may_fall,
        CASE
            WHEN kept.newest IS NULL OR kept.newest < c.last_timestamp THEN c.last_timestamp
            WHEN c.first_timestamp < kept.oldest THEN kept.oldest
        END AS closed_timestamp
    FROM cost_cursors AS c
    LEFT JOIN metric_series AS s ON s.series_id = c.series_id
    LEFT JOIN kept ON kept.series_id = c.series_id
),
closed_cursors AS (
    SELECT
        c.*,
        CASE WHEN c.closed_timestamp = c.last_timestamp THEN c.last_start_timestamp
            ELSE e.start_timestamp END AS closed_start_timestamp,
        CASE WHEN c.closed_timestamp = c.last_timestamp THEN c.last_value
            ELSE e.value END AS closed_value
    FROM cursors AS c
    LEFT JOIN cost_entries AS e
        ON e.series_id = c.series_id AND e.timestamp = c.closed_timestamp
)
SELECT
    series_id, 0, NULL, NULL,
    CASE WHEN may_fall OR NOT has_start THEN last_timestamp END,
    CASE WHEN may_fall OR NOT has_start THEN last_start_timestamp END,
    CASE WHEN may_fall OR NOT has_start THEN last_value END,
    closed_timestamp, closed_start_timestamp, closed_value
FROM closed_cursors
UNION ALL
SELECT
    series_id, last_start_timestamp, last_start_timestamp, last_start_timestamp,
    last_timestamp, last_start_timestamp, last_value,
    CASE WHEN closed_start_timestamp = last_start_timestamp THEN closed_timestamp END,
    CASE WHEN closed_start_timestamp = last_start_timestamp THEN closed_start_timestamp END,
    CASE WHEN closed_start_timestamp = last_start_timestamp THEN closed_value END
FROM closed_cursors
WHERE has_start;

DROP TABLE cost_cursors;
CREATE INDEX cost_streams_quantity ON cost_streams (quantity_id) WHERE quantity_id IS NOT NULL;

-- An amount is amount_units + amount_nanos / 10^9 + amount_attos / 10^18. The units and nanos are the
-- amount rounded to nine decimal places, with amount_nanos from 0 to 999999999 also for a negative
-- amount; amount_attos is the rest, from -500000000 to 500000000. They are integers, because sums of
-- integers are exact; the column amount is the same as a double. An entry covers the time after
-- period_start, NULL if unknown, up to period_end. An entry that was derived from a point of a series
-- has series_id, the stream, start, value and count of that point, and the basis of its price.
CREATE TABLE cost_entries_new (
    timestamp       INTEGER NOT NULL,
    entry_id        TEXT NOT NULL,
    resource_id     TEXT NOT NULL,
    category        TEXT NOT NULL,
    amount          REAL GENERATED ALWAYS AS
                        ((amount_units * 1e9 + amount_nanos) / 1e9 + amount_attos / 1e18) VIRTUAL,
    amount_units    INTEGER NOT NULL,
    amount_nanos    INTEGER NOT NULL,
    amount_attos    INTEGER NOT NULL,
    currency        TEXT NOT NULL,
    region          TEXT,
    cluster_id      TEXT NOT NULL,
    node_id         TEXT NOT NULL,
    service_name    TEXT,
    tags            TEXT NOT NULL,
    description     TEXT NOT NULL,
    billing_period  TEXT NOT NULL,
    source          TEXT NOT NULL,
    source_name     TEXT NOT NULL,
    period_start    INTEGER,
    period_end      INTEGER NOT NULL,
    series_id       INTEGER,
    stream_start    INTEGER,
    start_timestamp INTEGER,
    value           REAL,
    point_count     INTEGER,
    basis           TEXT,
    PRIMARY KEY (timestamp, entry_id)
) WITHOUT ROWID;
INSERT INTO cost_entries_new (
    timestamp, entry_id, resource_id, category, amount_units, amount_nanos, amount_attos, currency,
    region, cluster_id, node_id, service_name, tags, description, billing_period, source,
    source_name, period_end, series_id, stream_start, start_timestamp, value
)
SELECT
    e.timestamp, e.entry_id, e.resource_id, e.category, e.amount_units, e.amount_nanos, 0, e.currency,
    e.region, e.cluster_id, e.node_id, e.service_name, e.tags, e.description, e.billing_period, e.source,
    coalesce(s.metric_name, ''), e.timestamp, e.series_id,
    CASE
        WHEN e.series_id IS NULL THEN NULL
        WHEN (s.temporality = 'cumulative' OR s.metric_type = 'summary')
            AND e.start_timestamp < e.timestamp THEN e.start_timestamp
        ELSE 0
    END,
    e.start_timestamp, e.value
FROM cost_entries AS e
LEFT JOIN metric_series AS s ON s.series_id = e.series_id
ORDER BY e.timestamp, e.entry_id;
DROP TABLE cost_entries;
ALTER TABLE cost_entries_new RENAME TO cost_entries;
CREATE INDEX cost_entries_series ON cost_entries (series_id, stream_start, period_end)
    WHERE series_id IS NOT NULL;

-- The other processes that sent totals of a series: each start is a stream with its newest point.
INSERT INTO cost_streams (
    series_id, stream_start, earliest_start, latest_start,
    last_timestamp, last_start_timestamp, last_value,
    closed_timestamp, closed_start_timestamp, closed_value
)
SELECT
    e.series_id, e.stream_start, e.stream_start, e.stream_start,
    max(e.timestamp), e.start_timestamp, e.value,
    head.closed_timestamp, head.closed_start_timestamp, head.closed_value
FROM cost_entries AS e
LEFT JOIN cost_streams AS head ON head.series_id = e.series_id AND head.stream_start = 0
    AND head.closed_start_timestamp = e.stream_start
WHERE e.series_id IS NOT NULL AND e.stream_start <> 0
GROUP BY e.series_id, e.stream_start
ON CONFLICT DO NOTHING;
