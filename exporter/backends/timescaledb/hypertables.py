"""Turns the fact tables into hypertables, cut by time."""

from __future__ import annotations

from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connecting import Cursor
from exporter.backends.timescaledb.capabilities import Capabilities

__all__ = ["create_hypertable", "is_hypertable", "set_chunk_interval"]

# No unique index, which would cost two thirds of the rows/s and switch direct compress off, and
# none of TimescaleDB's own on the time: rows of one batch come sorted by series, so that a BRIN
# of both columns finds times and series, and costs nothing to keep (docs/decisions/0004).
_INDEX: Final = """
    CREATE INDEX IF NOT EXISTS {index} ON {table}
    USING brin ("timestamp", series_id) WITH (pages_per_range = 4)"""
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
    index = {"index": sql.Identifier(f"{table}_brin"), "table": sql.Identifier(table)}
    cursor.execute(sql.SQL(_INDEX).format(**index))


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
