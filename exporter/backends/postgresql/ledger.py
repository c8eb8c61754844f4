"""The watermarks of writers in PostgreSQL: which batch of each was the last to be stored.

A writer's row is locked by whoever wrote it last. So a session that still commits a batch, on a
connection that its client has lost, is waited for, and what it committed is seen.
"""

from __future__ import annotations

from typing import Final

from exporter.backends.postgresql.connection import Cursor
from exporter.model import Watermark

__all__ = ["advance", "last_sequence", "prune_watermarks"]

# Each in one message with its patience, which is for this transaction only.
_ADVANCE: Final = """
    SET LOCAL lock_timeout = '30s';
    INSERT INTO ingest_ledger AS watermark (receiver_id, last_sequence) VALUES (%s, %s)
    ON CONFLICT (receiver_id) DO UPDATE
    SET last_sequence = excluded.last_sequence, updated_at = excluded.updated_at
    WHERE watermark.last_sequence < excluded.last_sequence"""
# An INSERT, because it also waits for the row that another session is about to commit, which a
# SELECT FOR UPDATE does not find.
_CLAIM: Final = """
    SET LOCAL lock_timeout = '30s';
    INSERT INTO ingest_ledger AS watermark (receiver_id, last_sequence) VALUES (%s, 0)
    ON CONFLICT (receiver_id) DO UPDATE SET last_sequence = watermark.last_sequence
    RETURNING last_sequence"""
_FORGET: Final = "DELETE FROM ingest_ledger WHERE updated_at < %s::timestamptz"


def advance(cursor: Cursor, watermark: Watermark | None) -> bool:
    """Note a watermark, first in the caller's transaction; whether its batch is yet to be stored.

    Args:
        cursor: of a connection with a transaction open.
        watermark: of the batch; one without a watermark is always yet to be stored.
    """
    if watermark is None:
        return True
    cursor.execute(_ADVANCE, (watermark.writer_id, watermark.sequence))
    return cursor.rowcount > 0


def last_sequence(cursor: Cursor, writer_id: str) -> int:
    """How far the writer has come; 0 if nothing of it is known, which is noted then."""
    cursor.execute(_CLAIM, (writer_id,))
    [(sequence,)] = cursor.fetchall()
    return int(sequence)


def prune_watermarks(cursor: Cursor, before: str) -> None:
    """Delete watermarks that were last advanced before a time, as PostgreSQL reads it."""
    cursor.execute(_FORGET, (before,))
