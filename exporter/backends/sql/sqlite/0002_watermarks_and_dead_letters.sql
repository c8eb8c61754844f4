-- The watermark of each writer. It commits in one transaction with the rows of its batch. A writer
-- that restarts, or does not know whether a batch was stored, reads it.
CREATE TABLE ingest_ledger (
    receiver_id   TEXT PRIMARY KEY NOT NULL,
    last_sequence INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL DEFAULT
                      (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000)
) WITHOUT ROWID;

-- Rows that the store refused because of their content, each with the reason. content is a JSON
-- object; timestamp is NULL for a series.
CREATE TABLE dead_letters (
    letter_id   INTEGER PRIMARY KEY,
    written_at  INTEGER NOT NULL DEFAULT
                    (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000),
    kind        TEXT NOT NULL CHECK (kind IN
                    ('point', 'histogram', 'summary', 'exemplar', 'series')),
    reason      TEXT NOT NULL,
    series_id   INTEGER NOT NULL,
    metric_name TEXT,
    timestamp   INTEGER,
    content     TEXT NOT NULL
);
CREATE INDEX dead_letters_written_at ON dead_letters (written_at);
