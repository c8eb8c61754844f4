"""The watermarks of writers and the dead letters in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from psycopg2.extras import execute_values

from exporter.backends.base import WATERMARK_RETENTION_NANOSECONDS
from exporter.backends.dead_letters import encode_dead_letter
from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.text_format import TextSanitizer, timestamp_text
from exporter.model import DeadLetter, StoreSizes, TableSize, Watermark
from exporter.time_units import to_nanos

# The statement waits for the lock of the writer's row. If an abandoned session is still committing
# a batch, the statement waits for that commit and then sees its watermark. Each statement is one
# message with its timeout, which is for this transaction only.
_ADVANCE: Final = """
    SET LOCAL lock_timeout = '30s';
    INSERT INTO ingest_ledger AS watermark (receiver_id, last_sequence) VALUES (%s, %s)
    ON CONFLICT (receiver_id) DO UPDATE
    SET last_sequence = excluded.last_sequence, updated_at = excluded.updated_at
    WHERE watermark.last_sequence < excluded.last_sequence"""
# An INSERT also waits for a row that another session is about to commit, which SELECT FOR UPDATE
# does not find.
_LOCK: Final = """
    SET LOCAL lock_timeout = '30s';
    INSERT INTO ingest_ledger AS watermark (receiver_id, last_sequence) VALUES (%s, 0)
    ON CONFLICT (receiver_id) DO UPDATE SET last_sequence = watermark.last_sequence
    RETURNING last_sequence"""
_PRUNE_WATERMARKS: Final = "DELETE FROM ingest_ledger WHERE updated_at < %s::timestamptz"

_INSERT_DEAD_LETTERS: Final = """
    INSERT INTO dead_letters (kind, reason, series_id, metric_name, "timestamp", content)
    VALUES %s"""
# Without the definition of the series in its batch, the stored name is used.
_DEAD_LETTER: Final = """(
    %(kind)s, %(reason)s, %(series_id)s,
    coalesce(
        %(metric_name)s,
        (SELECT metric_name FROM metric_series WHERE series_id = %(series_id)s)
    ),
    CAST(%(timestamp)s AS timestamptz), %(content)s
)"""
_PRUNE_DEAD_LETTERS: Final = "DELETE FROM dead_letters WHERE written_at < %s::timestamptz"
_COUNT: Final = "SELECT count(*) FROM dead_letters WHERE written_at < %s::timestamptz"
_SIZE: Final = """
    SELECT count(*), min(written_at), max(written_at), pg_total_relation_size('dead_letters')
    FROM dead_letters"""


def advance_watermark(cursor: Cursor, watermark: Watermark | None) -> bool:
    """Record the watermark of a batch, as the first statement of the caller's transaction.

    Returns:
        Whether the batch is not stored yet; always True without a watermark.
    """
    if watermark is None:
        return True
    cursor.execute(_ADVANCE, (watermark.writer_id, watermark.sequence))
    return cursor.rowcount > 0


def last_sequence(cursor: Cursor, writer_id: str) -> int:
    """Returns the sequence of the writer's watermark. Inserts 0 if the writer has no watermark."""
    cursor.execute(_LOCK, (writer_id,))
    [(sequence,)] = cursor.fetchall()
    return int(sequence)


def insert_dead_letters(
    cursor: Cursor, dead: Sequence[DeadLetter], sanitizer: TextSanitizer
) -> None:
    """Store dead letters inside the caller's transaction, after the series of their batch."""
    if dead:
        rows = [encode_dead_letter(one, timestamp_text, sanitizer.text) for one in dead]
        execute_values(cursor, _INSERT_DEAD_LETTERS, rows, _DEAD_LETTER)


def prune_bookkeeping(cursor: Cursor, time_unix_nano: int) -> int:
    """Delete old dead letters, and watermarks that nobody has advanced for a year before that.

    Returns:
        How many dead letters were deleted; watermarks are not counted.
    """
    oldest_watermark = timestamp_text(time_unix_nano - WATERMARK_RETENTION_NANOSECONDS)
    cursor.execute(_PRUNE_WATERMARKS, (oldest_watermark,))
    cursor.execute(_PRUNE_DEAD_LETTERS, (timestamp_text(time_unix_nano),))
    return cursor.rowcount


def add_dead_letter_count(
    connection: Connection, rows: Mapping[str, int], time_unix_nano: int
) -> dict[str, int]:
    """The numbers of rows by table, and the number of dead letters written before the time."""
    with transaction(connection) as cursor:
        cursor.execute(_COUNT, (timestamp_text(time_unix_nano),))
        [(count,)] = cursor.fetchall()
    return {**rows, "dead_letters": int(count)}


def add_dead_letter_size(connection: Connection, sizes: StoreSizes) -> StoreSizes:
    """The sizes of the fact tables and of dead_letters, whose few rows are counted."""
    with transaction(connection) as cursor:
        cursor.execute(_SIZE)
        [(rows, oldest, newest, size_bytes)] = cursor.fetchall()
    dead_letters = TableSize(
        table="dead_letters",
        rows=rows,
        rows_are_exact=True,
        size_bytes=size_bytes,
        oldest_unix_nano=None if oldest is None else to_nanos(oldest),
        newest_unix_nano=None if newest is None else to_nanos(newest),
    )
    return replace(
        sizes, tables=(*sizes.tables, dead_letters), total_bytes=sizes.total_bytes + size_bytes
    )
