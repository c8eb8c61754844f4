"""Chunks of the fact tables: which there are, how many rows they hold, dropping the old ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.partitioning import LOCK_TIMEOUT_MILLISECONDS
from exporter.backends.timescaledb.capabilities import Capabilities

__all__ = ["Chunk", "chunks_of", "count_rows", "drop_chunks"]

_CHUNKS: Final = """
    SELECT chunk_schema, chunk_name, range_start, range_end, is_compressed
    FROM timescaledb_information.chunks
    WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %s::regclass
    ORDER BY range_start"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a hypertable, with the times from `begin` to before `end`."""

    schema: str
    name: str
    begin: datetime
    end: datetime
    is_compressed: bool


def chunks_of(cursor: Cursor, table: str, before: datetime | None = None) -> list[Chunk]:
    """The chunks of a hypertable, oldest first.

    Args:
        cursor: of any connection.
        table: the hypertable.
        before: only those that end by then.
    """
    cursor.execute(_CHUNKS, (table,))
    found = [Chunk(*row) for row in cursor.fetchall()]
    return [chunk for chunk in found if before is None or chunk.end <= before]


def count_rows(cursor: Cursor, table: str, before: datetime) -> int:
    """Rows in the chunks of a hypertable that end by then."""
    rows = 0
    for chunk in chunks_of(cursor, table, before):
        cursor.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(chunk.schema, chunk.name))
        )
        row = cursor.fetchone()
        rows += 0 if row is None else row[0]
    return rows


def drop_chunks(cursor: Cursor, capabilities: Capabilities, table: str, before: datetime) -> int:
    """Drop the chunks that end by then; how many rows went with them.

    Args:
        cursor: with a transaction open.
        capabilities: of this database.
        table: the hypertable.
        before: aware; a chunk that holds younger rows as well stays whole.

    Raises:
        psycopg2.errors.LockNotAvailable: somebody reads one of them for longer than a moment;
            those who come after would wait as long, if this did.
    """
    rows = count_rows(cursor, table, before)
    cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}")
    cursor.execute(
        sql.SQL("SELECT {}({}::regclass, older_than => {}::timestamptz)").format(
            capabilities.name("drop_chunks"), sql.Literal(table), sql.Literal(before)
        )
    )
    return rows
