"""Hypertables: creates them with their indexes, lists their chunks, and drops the old ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.cost_retention import close_streams, has_bills
from exporter.backends.postgresql.partitioning import LOCK_TIMEOUT_MILLISECONDS
from exporter.backends.postgresql.sizes import count_rows
from exporter.backends.timescaledb.extension import Capabilities
from exporter.tables import COST_ENTRIES

_log = logging.getLogger(__name__)

_IS_HYPERTABLE: Final = """
    SELECT EXISTS (
        SELECT FROM timescaledb_information.hypertables
        WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = to_regclass(%s)
    )"""
_BY_RANGE: Final = """
    SELECT {create_hypertable}({table}::regclass, {by_range}('timestamp', {interval}),
        create_default_indexes => false, if_not_exists => true, migrate_data => true)"""
# Before 2.13.
_BY_COLUMN: Final = """
    SELECT {create_hypertable}({table}::regclass, 'timestamp', chunk_time_interval => {interval},
        create_default_indexes => false, if_not_exists => true, migrate_data => true)"""
_CHUNK_INTERVAL_DIFFERS: Final = """
    SELECT time_interval <> make_interval(secs => %s)
    FROM timescaledb_information.dimensions
    WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %s::regclass
        AND column_name = 'timestamp'"""
_CHUNKS: Final = """
    SELECT chunk_schema, chunk_name, range_start, range_end, is_compressed
    FROM timescaledb_information.chunks
    WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %s::regclass
    ORDER BY range_start"""

# The first serves queries for a series over time, the second for the newest rows, as in the backend
# postgresql. A unique index would switch direct compress off (docs/decisions/0004-timescaledb.md).
# Compressed rows are in neither index, so loading into a columnstore is 10 % slower with the
# indexes, not 50 %.
_INDEXES: Final = (
    ("{table}_series", '(series_id, "timestamp")'),
    ("{table}_time", '("timestamp")'),
)
_CREATE_INDEX: Final = "CREATE INDEX IF NOT EXISTS {index} ON {table} {columns}"
# Earlier versions had this one index instead: forty times slower for the newest rows.
_DROP_BRIN: Final = "DROP INDEX IF EXISTS {brin}"
_INDEXED_BY_MIGRATION: Final = frozenset({COST_ENTRIES.name})
_HAS_INDEX: Final = """
    SELECT EXISTS (
        SELECT FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid
        WHERE indrelid = %s::regclass AND index.relname = %s
    )"""
# Creating two indexes took 2.7 s for 260 MB of rows, and blocks writers meanwhile.
_LARGE_BYTES: Final = 1 << 30
_ROW_STORE_BYTES: Final = """
    SELECT coalesce(sum(pg_relation_size(chunk)), 0) FROM {show_chunks}({table}::regclass) AS chunk
    """


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a hypertable; `begin` is inclusive, `end` exclusive."""

    schema: str
    name: str
    begin: datetime
    end: datetime
    is_compressed: bool

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in a statement."""
        return sql.Identifier(self.schema, self.name)


def is_hypertable(cursor: Cursor, table: str) -> bool:
    """Whether there is a hypertable of this name."""
    cursor.execute(_IS_HYPERTABLE, (table,))
    return cursor.fetchone() == (True,)


def create_hypertable(
    cursor: Cursor, capabilities: Capabilities, table: str, chunk_interval_seconds: float
) -> None:
    """Convert a plain table and its rows into a hypertable; does nothing if it is one.

    Args:
        cursor: with a transaction open.
        capabilities: of this database.
        table: a fact table.
        chunk_interval_seconds: the time span of one chunk.
    """
    statement = sql.SQL(_BY_RANGE if capabilities.has_by_range else _BY_COLUMN)
    cursor.execute(
        statement.format(
            create_hypertable=capabilities.function("create_hypertable"),
            by_range=capabilities.function("by_range"),
            table=sql.Literal(table),
            interval=_interval(chunk_interval_seconds),
        )
    )


def set_chunk_interval(
    cursor: Cursor, capabilities: Capabilities, table: str, chunk_interval_seconds: float
) -> None:
    """Set the time span of new chunks; existing chunks keep theirs."""
    cursor.execute(_CHUNK_INTERVAL_DIFFERS, (chunk_interval_seconds, table))
    if cursor.fetchone() == (True,):
        cursor.execute(
            sql.SQL("SELECT {}({}::regclass, {})").format(
                capabilities.function("set_chunk_time_interval"),
                sql.Literal(table),
                _interval(chunk_interval_seconds),
            )
        )


def create_indexes(
    cursor: Cursor,
    capabilities: Capabilities,
    table: str,
    label: str,
    *,
    large_bytes: int = _LARGE_BYTES,
) -> None:
    """Create the missing indexes, or log the statements if they would block writers for long.

    Args:
        cursor: with a transaction open.
        capabilities: of this database.
        table: a hypertable.
        label: the backend and the location of its database, for messages.
        large_bytes: above this size of the row store, the user has to run the statements.
    """
    if table in _INDEXED_BY_MIGRATION:
        return
    missing = []
    for name, columns in _INDEXES:
        cursor.execute(_HAS_INDEX, (table, name.format(table=table)))
        if cursor.fetchone() != (True,):
            missing.append(_index_statement(cursor, table, name, columns))
    if not missing:
        return
    if _row_store_bytes(cursor, capabilities, table) > large_bytes:
        _log.warning(
            "%s: %s lacks indexes, which makes reads slow, and is too large to create "
            "them now; run this while nothing else writes: %s",
            label,
            table,
            "; ".join(f"{text} WITH (timescaledb.transaction_per_chunk)" for text in missing),
        )
        return
    for statement in missing:
        cursor.execute(statement)
    cursor.execute(sql.SQL(_DROP_BRIN).format(brin=sql.Identifier(f"{table}_brin")))


def chunks_of(cursor: Cursor, table: str, before: datetime | None = None) -> list[Chunk]:
    """The chunks of a hypertable, oldest first.

    Args:
        cursor: of any connection.
        table: the hypertable.
        before: if given, only the chunks that end by then.
    """
    cursor.execute(_CHUNKS, (table,))
    found = [Chunk(*row) for row in cursor.fetchall()]
    return [chunk for chunk in found if before is None or chunk.end <= before]


def count_expired_rows(cursor: Cursor, table: str, before: datetime) -> int:
    """The rows in the chunks that `drop_chunks` or `drop_cost_chunks` would drop, counted."""
    return sum(
        count_rows(cursor, chunk.identifier) for chunk in _expired_chunks(cursor, table, before)
    )


def drop_chunks(cursor: Cursor, capabilities: Capabilities, table: str, before: datetime) -> int:
    """Drop the chunks that end by then; returns how many rows they had.

    Args:
        cursor: with a transaction open.
        capabilities: of this database.
        table: the hypertable.
        before: aware; a chunk that ends later stays whole.

    Raises:
        psycopg2.errors.LockNotAvailable: a statement uses one of the chunks for longer than
            `LOCK_TIMEOUT_MILLISECONDS`. Without the timeout, all later statements would queue.
    """
    rows = count_expired_rows(cursor, table, before)
    _limit_lock_wait(cursor)
    cursor.execute(
        sql.SQL("SELECT {}({}::regclass, older_than => {}::timestamptz)").format(
            capabilities.function("drop_chunks"), sql.Literal(table), sql.Literal(before)
        )
    )
    return rows


def drop_cost_chunks(connection: Connection, capabilities: Capabilities, before: datetime) -> int:
    """Drop the chunks of cost entries that end by then, each with its streams closed.

    Chunks with imported bills stay.

    Args:
        connection: with no transaction open; each chunk is dropped in one of its own.
        capabilities: of this database.
        before: aware; a chunk that ends later stays whole.

    Returns:
        How many rows they had.

    Raises:
        psycopg2.errors.LockNotAvailable: see `drop_chunks`; earlier chunks are dropped.
    """
    with transaction(connection) as cursor:
        chunks = _expired_chunks(cursor, COST_ENTRIES.name, before)
    rows = 0
    for chunk in chunks:
        with transaction(connection) as cursor:
            chunk_rows = count_rows(cursor, chunk.identifier)
            _limit_lock_wait(cursor)
            close_streams(cursor, chunk.identifier)
            cursor.execute(
                sql.SQL("SELECT {}({}::regclass, older_than => {}, newer_than => {})").format(
                    capabilities.function("drop_chunks"),
                    sql.Literal(COST_ENTRIES.name),
                    sql.Literal(chunk.end),
                    sql.Literal(chunk.begin),
                )
            )
        rows += chunk_rows
    return rows


def _expired_chunks(cursor: Cursor, table: str, before: datetime) -> list[Chunk]:
    return [
        chunk
        for chunk in chunks_of(cursor, table, before)
        if table != COST_ENTRIES.name or not has_bills(cursor, chunk.identifier)
    ]


def _limit_lock_wait(cursor: Cursor) -> None:
    cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}")


def _index_statement(cursor: Cursor, table: str, name: str, columns: str) -> str:
    statement = sql.SQL(_CREATE_INDEX).format(
        index=sql.Identifier(name.format(table=table)),
        table=sql.Identifier(table),
        columns=sql.SQL(columns),
    )
    return statement.as_string(cursor)


def _row_store_bytes(cursor: Cursor, capabilities: Capabilities, table: str) -> int:
    cursor.execute(
        sql.SQL(_ROW_STORE_BYTES).format(
            show_chunks=capabilities.function("show_chunks"), table=sql.Literal(table)
        )
    )
    [(size_bytes,)] = cursor.fetchall()
    return int(size_bytes)


def _interval(seconds: float) -> sql.Composed:
    return sql.SQL("make_interval(secs => {})").format(sql.Literal(seconds))
