"""Dead letters in PostgreSQL: rows that were refused, kept apart with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg2.extras import execute_values

from exporter.backends.base import WATERMARK_RETENTION_NANOSECONDS
from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.ledger import prune_watermarks
from exporter.backends.postgresql.text_values import TextSanitizer, timestamp_text
from exporter.model import DeadLetter, StoreSizes, TableSize

__all__ = [
    "insert_dead_letters",
    "prune_bookkeeping",
    "with_dead_letters_before",
    "with_dead_letters_size",
]

_TABLE: Final = "dead_letters"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSERT: Final = """
    INSERT INTO dead_letters (kind, reason, series_id, metric_name, "timestamp", content)
    VALUES %s"""
# A row whose batch did not define its series has one that is known here.
_ROW: Final = """(
    %(kind)s, %(reason)s, %(series_id)s,
    coalesce(
        %(metric_name)s,
        (SELECT metric_name FROM metric_series WHERE series_id = %(series_id)s)
    ),
    CAST(%(timestamp)s AS timestamptz), %(content)s
)"""
_DELETE: Final = "DELETE FROM dead_letters WHERE written_at < %s::timestamptz"
_COUNT: Final = "SELECT count(*) FROM dead_letters WHERE written_at < %s::timestamptz"
_SIZE: Final = """
    SELECT count(*), min(written_at), max(written_at), pg_total_relation_size('dead_letters')
    FROM dead_letters"""


def insert_dead_letters(
    cursor: Cursor, letters: Sequence[DeadLetter], sanitizer: TextSanitizer
) -> None:
    """Store letters inside the caller's transaction, after the series of the same batch."""
    if letters:
        execute_values(cursor, _INSERT, [_row(one, sanitizer) for one in letters], _ROW)


def prune_bookkeeping(cursor: Cursor, time_unix_nano: int) -> int:
    """Delete letters that were written earlier, and watermarks of writers long gone.

    Returns:
        How many letters went; watermarks are not counted.
    """
    prune_watermarks(cursor, timestamp_text(time_unix_nano - WATERMARK_RETENTION_NANOSECONDS))
    cursor.execute(_DELETE, (timestamp_text(time_unix_nano),))
    return cursor.rowcount


def with_dead_letters_before(
    connection: Connection, rows: Mapping[str, int], time_unix_nano: int
) -> dict[str, int]:
    """Rows by table, and how many letters were written before the time."""
    with transaction(connection) as cursor:
        cursor.execute(_COUNT, (timestamp_text(time_unix_nano),))
        [(letters,)] = cursor.fetchall()
    return {**rows, _TABLE: int(letters)}


def with_dead_letters_size(connection: Connection, sizes: StoreSizes) -> StoreSizes:
    """The sizes of the fact tables, and of this one; letters are counted, there should be few."""
    with transaction(connection) as cursor:
        cursor.execute(_SIZE)
        [(rows, oldest, newest, size_bytes)] = cursor.fetchall()
    letters = TableSize(
        table=_TABLE,
        rows=rows,
        rows_are_exact=True,
        size_bytes=size_bytes,
        oldest_unix_nano=_unix_nano(oldest),
        newest_unix_nano=_unix_nano(newest),
    )
    return replace(
        sizes, tables=(*sizes.tables, letters), total_bytes=sizes.total_bytes + size_bytes
    )


def _row(letter: DeadLetter, sanitizer: TextSanitizer) -> dict[str, object]:
    time_unix_nano = letter.time_unix_nano
    return {
        "kind": letter.kind,
        "reason": sanitizer.text(letter.reason),
        "series_id": letter.series_id,
        "metric_name": None if letter.metric_name is None else sanitizer.text(letter.metric_name),
        "timestamp": None if time_unix_nano is None else timestamp_text(time_unix_nano),
        "content": letter.content,
    }


def _unix_nano(moment: datetime | None) -> int | None:
    # Not by timestamp(), which is a float and loses microseconds.
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
