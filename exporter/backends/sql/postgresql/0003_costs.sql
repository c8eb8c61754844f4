-- Cost entries. An entry derived from a point of a series has series_id, and the value and start of
-- that point.
CREATE TABLE cost_entries (
    "timestamp"     timestamptz NOT NULL,
    entry_id        text NOT NULL,
    resource_id     text NOT NULL,
    category        text NOT NULL,
    amount          numeric NOT NULL,
    currency        text NOT NULL,
    region          text,
    cluster_id      text NOT NULL,
    node_id         text NOT NULL,
    service_name    text,
    tags            jsonb NOT NULL,
    description     text NOT NULL,
    billing_period  text NOT NULL,
    source          text NOT NULL,
    series_id       bigint,
    start_timestamp timestamptz,
    value           double precision
) {{partitioned}};
CREATE UNIQUE INDEX cost_entries_key ON cost_entries ("timestamp", entry_id);
CREATE INDEX cost_entries_series ON cost_entries (series_id, "timestamp");

-- The last point of each series from which cost entries are derived; kept when the entries are
-- deleted. A writer locks the row while it stores points of the series, so several receivers take
-- turns.
CREATE TABLE cost_cursors (
    series_id            bigint PRIMARY KEY,
    first_timestamp      timestamptz,
    last_timestamp       timestamptz,
    last_start_timestamp timestamptz,
    last_value           double precision
);

-- The kind cost, for refused cost entries.
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_kind_check;
ALTER TABLE dead_letters ADD CONSTRAINT dead_letters_kind_check CHECK (kind IN
    ('point', 'histogram', 'summary', 'exemplar', 'series', 'cost'));
