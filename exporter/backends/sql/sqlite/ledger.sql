-- The watermark of each writer.

-- name: advance
-- Changes no row if the stored watermark is as high or higher.
INSERT INTO ingest_ledger (receiver_id, last_sequence) VALUES (?, ?)
ON CONFLICT (receiver_id) DO UPDATE SET
    last_sequence = excluded.last_sequence,
    updated_at = excluded.updated_at
WHERE ingest_ledger.last_sequence < excluded.last_sequence;

-- name: last_sequence
SELECT last_sequence FROM ingest_ledger WHERE receiver_id = ?;

-- name: prune
DELETE FROM ingest_ledger WHERE updated_at < ?;
