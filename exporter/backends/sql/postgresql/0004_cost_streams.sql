-- A series that carries cost has one stream for each start time of its points. The row with
-- stream_start 1970-01-01 is that of points with an unknown start; every series has it, because a
-- writer locks it. Retention does not delete these rows.
CREATE TABLE cost_streams (
    series_id              bigint NOT NULL,
    stream_start           timestamptz NOT NULL,
    earliest_start         timestamptz,
    latest_start           timestamptz,
    has_fall               boolean NOT NULL DEFAULT false,
    is_split               boolean NOT NULL DEFAULT false,
    last_timestamp         timestamptz,
    last_start_timestamp   timestamptz,
    last_value             double precision,
    last_count             bigint,
    closed_timestamp       timestamptz,
    closed_start_timestamp timestamptz,
    closed_value           double precision,
    closed_count           bigint,
    zero_length_points     bigint NOT NULL DEFAULT 0,
    lone_start             timestamptz,
    quantity_id            bigint,
    PRIMARY KEY (series_id, stream_start)
);

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
    SELECT series_id, min("timestamp") AS oldest, max("timestamp") AS newest
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
    WHERE c.last_timestamp IS NOT NULL
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
        ON e.series_id = c.series_id AND e."timestamp" = c.closed_timestamp
)
SELECT
    series_id, TIMESTAMPTZ 'epoch', CAST(NULL AS timestamptz), CAST(NULL AS timestamptz),
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

-- An entry covers the time after period_start, NULL if unknown, up to period_end. An entry that was
-- derived from a point of a series has series_id, the stream, start, value and count of that point,
-- and the basis of its price. The second table exists if a conversion to hypertables was interrupted.
-- The index is found by its columns, because such a conversion gives it another name.
DO $$
DECLARE
    fact regclass;
    series_index regclass;
BEGIN
    FOR fact IN
        SELECT oid FROM pg_class
        WHERE relname IN ('cost_entries', 'cost_entries_partitioned')
        AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)
    LOOP
        FOR series_index IN
            SELECT indexrelid FROM pg_index
            WHERE indrelid = fact AND NOT indisunique
            AND pg_get_indexdef(indexrelid) LIKE '%USING btree (series_id, "timestamp")'
        LOOP
            EXECUTE format('DROP INDEX %s', series_index);
        END LOOP;
        EXECUTE format(
            'ALTER TABLE %s
                ADD COLUMN source_name text,
                ADD COLUMN period_start timestamptz,
                ADD COLUMN period_end timestamptz,
                ADD COLUMN stream_start timestamptz,
                ADD COLUMN point_count bigint,
                ADD COLUMN basis jsonb',
            fact);
        EXECUTE format(
            'UPDATE %s AS e SET period_end = e."timestamp", (source_name, stream_start) = (
                SELECT
                    coalesce(min(s.metric_name), %L),
                    CASE
                        WHEN e.series_id IS NULL THEN NULL
                        WHEN bool_or(s.temporality = %L OR s.metric_type = %L)
                            AND e.start_timestamp < e."timestamp" THEN e.start_timestamp
                        ELSE TIMESTAMPTZ %L
                    END
                FROM metric_series AS s WHERE s.series_id = e.series_id)',
            fact, '', 'cumulative', 'summary', 'epoch');
        EXECUTE format(
            'ALTER TABLE %s
                ALTER COLUMN source_name SET NOT NULL,
                ALTER COLUMN period_end SET NOT NULL',
            fact);
    END LOOP;
END $$;
CREATE INDEX cost_entries_series ON cost_entries (series_id, stream_start, period_end);

-- The other processes that sent totals of a series: each start is a stream with its newest point.
INSERT INTO cost_streams (
    series_id, stream_start, earliest_start, latest_start,
    last_timestamp, last_start_timestamp, last_value,
    closed_timestamp, closed_start_timestamp, closed_value
)
SELECT DISTINCT ON (e.series_id, e.stream_start)
    e.series_id, e.stream_start, e.stream_start, e.stream_start,
    e."timestamp", e.start_timestamp, e.value,
    head.closed_timestamp, head.closed_start_timestamp, head.closed_value
FROM cost_entries AS e
LEFT JOIN cost_streams AS head ON head.series_id = e.series_id AND head.stream_start = 'epoch'
    AND head.closed_start_timestamp = e.stream_start
WHERE e.stream_start <> 'epoch'
ORDER BY e.series_id, e.stream_start, e."timestamp" DESC
ON CONFLICT DO NOTHING;
