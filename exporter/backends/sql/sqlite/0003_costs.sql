-- One row a cost entry. An amount is amount_units + amount_nanos / 10^9, where amount_nanos is from 0
-- to 999999999, also for a negative amount. They are two integers, because sums of integers are
-- exact; the column amount is the same as a double. An entry that was derived from a point of a
-- series has series_id, and the value and start of that point.
CREATE TABLE cost_entries (
    timestamp       INTEGER NOT NULL,
    entry_id        TEXT NOT NULL,
    resource_id     TEXT NOT NULL,
    category        TEXT NOT NULL,
    amount          REAL GENERATED ALWAYS AS
                        ((amount_units * 1e9 + amount_nanos) / 1e9) VIRTUAL,
    amount_units    INTEGER NOT NULL,
    amount_nanos    INTEGER NOT NULL,
    currency        TEXT NOT NULL,
    region          TEXT,
    cluster_id      TEXT NOT NULL,
    node_id         TEXT NOT NULL,
    service_name    TEXT,
    tags            TEXT NOT NULL,
    description     TEXT NOT NULL,
    billing_period  TEXT NOT NULL,
    source          TEXT NOT NULL,
    series_id       INTEGER,
    start_timestamp INTEGER,
    value           REAL,
    PRIMARY KEY (timestamp, entry_id)
) WITHOUT ROWID;
CREATE INDEX cost_entries_series ON cost_entries (series_id, timestamp)
    WHERE series_id IS NOT NULL;

-- The first and last point of each series that carries cost. Retention does not delete them.
CREATE TABLE cost_cursors (
    series_id            INTEGER PRIMARY KEY,
    first_timestamp      INTEGER NOT NULL,
    last_timestamp       INTEGER NOT NULL,
    last_start_timestamp INTEGER,
    last_value           REAL NOT NULL
);

-- Adds the kind 'cost'. SQLite cannot change a CHECK, so the table is created again.
CREATE TABLE dead_letters_with_costs (
    letter_id   INTEGER PRIMARY KEY,
    written_at  INTEGER NOT NULL DEFAULT
                    (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000),
    kind        TEXT NOT NULL CHECK (kind IN
                    ('point', 'histogram', 'summary', 'exemplar', 'series', 'cost')),
    reason      TEXT NOT NULL,
    series_id   INTEGER NOT NULL,
    metric_name TEXT,
    timestamp   INTEGER,
    content     TEXT NOT NULL
);
INSERT INTO dead_letters_with_costs
SELECT letter_id, written_at, kind, reason, series_id, metric_name, timestamp, content
FROM dead_letters;
DROP TABLE dead_letters;
ALTER TABLE dead_letters_with_costs RENAME TO dead_letters;
CREATE INDEX dead_letters_written_at ON dead_letters (written_at);
