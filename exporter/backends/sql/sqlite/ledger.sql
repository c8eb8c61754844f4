-- How far each writer has come.

-- name: advance
-- Changes no row if the writer has come as far, or farther.
INSERT INTO ingest_ledger (receiver_id, last_sequence) VALUES (?, ?)
ON CONFLICT (receiver_id) DO UPDATE SET
    last_sequence = excluded.last_sequence,
    updated_at = excluded.updated_at
WHERE ingest_ledger.last_sequence < excluded.last_sequence;

-- name: last_sequence
SELECT last_sequence FROM ingest_ledger WHERE receiver_id = ?;

-- name: forget
DELETE FROM ingest_ledger WHERE updated_at < ?;
