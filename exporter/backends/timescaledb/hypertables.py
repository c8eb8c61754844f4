"""Turns the fact tables into hypertables, cut by time, with the indexes that reads need."""

from __future__ import annotations

import logging
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.timescaledb.capabilities import Capabilities

__all__ = ["create_hypertable", "index_hypertable", "is_hypertable", "set_chunk_interval"]

_log = logging.getLogger(__name__)

# One for a series over time, one for the newest rows, as the partitions of the backend postgresql
# have. Not unique, which would switch direct compress off (docs/decisions/0004). Compressed
# rows are in neither, so that a columnstore loads a tenth slower and not by half.
_INDEXES: Final = (
    ("{table}_series", '(series_id, "timestamp")'),
    ("{table}_time", '("timestamp")'),
)
_CREATE_INDEX: Final = "CREATE INDEX IF NOT EXISTS {index} ON {table} {columns}"
# What earlier versions had instead of both: forty times slower for the newest rows.
_DROP_EARLIER: Final = "DROP INDEX IF EXISTS {brin}"
_INDEXED_BY_MIGRATION: Final = frozenset({"cost_entries"})
_HAS_INDEX: Final = """
    SELECT EXISTS (
        SELECT FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid
        WHERE indrelid = %s::regclass AND index.relname = %s
    )"""
# Two indexes took 2.7 s for 260 MB of rows, and nobody writes meanwhile.
_LARGE_BYTES: Final = 1 << 30
_ROW_STORE_BYTES: Final = """
    SELECT coalesce(sum(pg_relation_size(chunk)), 0) FROM {show_chunks}({table}::regclass) AS chunk
    """
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


def is_hypertable(cursor: Cursor, table: str) -> bool:
    """Whether a table of this name is a hypertable already."""
    cursor.execute(
        """
        SELECT EXISTS (
            SELECT FROM timescaledb_information.hypertables
            WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = to_regclass(%s)
        )""",
        (table,),
    )
    return cursor.fetchone() == (True,)


def create_hypertable(
    cursor: Cursor, capabilities: Capabilities, table: str, chunk_interval_seconds: float
) -> None:
    """Make a plain table a hypertable, with the rows that are in it; nothing if it is one.

    Args:
        cursor: with a transaction open.
        capabilities: of this database.
        table: a fact table.
        chunk_interval_seconds: how much time one chunk holds.
    """
    statement = sql.SQL(_BY_RANGE if capabilities.has_by_range else _BY_COLUMN)
    cursor.execute(
        statement.format(
            create_hypertable=capabilities.name("create_hypertable"),
            by_range=capabilities.name("by_range"),
            table=sql.Literal(table),
            interval=_interval(chunk_interval_seconds),
        )
    )


def index_hypertable(
    cursor: Cursor,
    capabilities: Capabilities,
    table: str,
    location: str,
    *,
    large_bytes: int = _LARGE_BYTES,
) -> None:
    """Make the indexes that are missing, or say how, if it would hold up writers for long.

    Args:
        cursor: with a transaction open.
        capabilities: of this database.
        table: a hypertable.
        location: for messages.
        large_bytes: with more than this in the row store it is left to the user.
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
            "timescaledb %s: %s lacks indexes, without which reads are slow, and is too large to "
            "make them now; run, while nobody else does: %s",
            location,
            table,
            "; ".join(f"{text} WITH (timescaledb.transaction_per_chunk)" for text in missing),
        )
        return
    for statement in missing:
        cursor.execute(statement)
    cursor.execute(sql.SQL(_DROP_EARLIER).format(brin=sql.Identifier(f"{table}_brin")))


def _index_statement(cursor: Cursor, table: str, name: str, columns: str) -> str:
    return (
        sql.SQL(_CREATE_INDEX)
        .format(
            index=sql.Identifier(name.format(table=table)),
            table=sql.Identifier(table),
            columns=sql.SQL(columns),
        )
        .as_string(cursor)
    )


def _row_store_bytes(cursor: Cursor, capabilities: Capabilities, table: str) -> int:
    cursor.execute(
        sql.SQL(_ROW_STORE_BYTES).format(
            show_chunks=capabilities.name("show_chunks"), table=sql.Literal(table)
        )
    )
    [(size_bytes,)] = cursor.fetchall()
    return int(size_bytes)


def set_chunk_interval(
    cursor: Cursor, capabilities: Capabilities, table: str, chunk_interval_seconds: float
) -> None:
    """Let chunks that are made from now on hold this much time; those that are there stay."""
    cursor.execute(_CHUNK_INTERVAL_DIFFERS, (chunk_interval_seconds, table))
    if cursor.fetchone() == (True,):
        cursor.execute(
            sql.SQL("SELECT {}({}::regclass, {})").format(
                capabilities.name("set_chunk_time_interval"),
                sql.Literal(table),
                _interval(chunk_interval_seconds),
            )
        )


def _interval(seconds: float) -> sql.Composed:
    return sql.SQL("make_interval(secs => {})").format(sql.Literal(seconds))
