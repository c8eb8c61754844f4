"""Deletes old rows from a SQLite database, and gives the disk space of a file back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

from exporter.backends.retention import EXPIRING_COSTS
from exporter.backends.statements import load_statements
from exporter.sqlite_files import count_free_pages, transaction, vacuum_pages
from exporter.tables import COST_ENTRIES, FACT_TABLES, Table
from exporter.time_units import nanos_to_micros

# A step takes about 10 ms. A batch waits that long for its turn.
_ROWS_PER_STEP: Final = 20_000
# Cost entries are wide, have an index, and close their streams: 8 us a row.
_COST_ROWS_PER_STEP: Final = 2_000
_PAGES_PER_STEP: Final = 2_000
# One page in 4 may stay free. With a steady flow the next rows fill the pages of those just
# deleted, and a file that shrinks and grows every hour only fragments.
_PAGES_PER_FREE_PAGE: Final = 4

_Borrow = Callable[[], AbstractContextManager[sqlite3.Connection]]


def delete_rows(
    connection: sqlite3.Connection, table: Table, condition: str, parameters: tuple[object, ...]
) -> int:
    """Delete rows of a fact table, and close the streams of deleted cost entries.

    Args:
        connection: where a transaction is open.
        table: the fact table.
        condition: of the rows, in SQL.
        parameters: of the condition.

    Returns:
        How many rows were deleted.
    """
    if table is COST_ENTRIES:
        sql = load_statements("sqlite/retention.sql")["close_streams"]
        connection.execute(sql.replace("{condition}", condition), parameters)
    deleted = f"DELETE FROM {table.name} WHERE {condition}"  # noqa: S608 - fixed texts
    return connection.execute(deleted, parameters).rowcount


def expiring(table: Table, condition: str) -> str:
    """The condition, without the rows that stay whatever their age."""
    return f"{condition} AND {EXPIRING_COSTS}" if table is COST_ENTRIES else condition


def delete_expired(reader: _Borrow, writer: _Borrow, limits: Mapping[str, int]) -> int:
    """Delete older rows from all fact tables, a bounded number at a time.

    The rows of a step are looked up on the reading side, without the write lock, so a waiting batch
    gets its turn between two steps.

    Args:
        reader: lends a connection that only reads.
        writer: lends the writing connection, with its lock.
        limits: by table, nanoseconds since 1970; rows of this time and later stay.

    Returns:
        How many rows were deleted.
    """
    return sum(
        _delete_from(table, reader, writer, nanos_to_micros(limits[table.name]))
        for table in FACT_TABLES
    )


def vacuum(writer: _Borrow) -> None:
    """Truncate the file while more than a quarter of its pages are free."""
    while True:
        with writer() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            free = count_free_pages(connection)
            if free * _PAGES_PER_FREE_PAGE <= pages:
                return
            vacuum_pages(connection, _PAGES_PER_STEP)
            if count_free_pages(connection) >= free:  # a file made without auto_vacuum
                return


def _delete_from(table: Table, reader: _Borrow, writer: _Borrow, timestamp: int) -> int:
    deleted = begin = 0
    while True:
        with reader() as connection:
            step = _times_of_step(connection, table, begin, timestamp)
        if step is None:
            return deleted
        condition = expiring(table, "timestamp BETWEEN ? AND ?")
        with writer() as connection, transaction(connection):
            deleted += delete_rows(connection, table, condition, step)
        begin = step[1] + 1


def _times_of_step(
    connection: sqlite3.Connection, table: Table, begin: int, end: int
) -> tuple[int, int] | None:
    """The times of the first and the last row that the next step deletes."""
    condition = expiring(table, "timestamp >= ? AND timestamp < ?")
    rows = f"SELECT timestamp FROM {table.name} WHERE {condition} ORDER BY timestamp LIMIT ?"  # noqa: S608
    limit = _COST_ROWS_PER_STEP if table is COST_ENTRIES else _ROWS_PER_STEP
    first, last = connection.execute(
        f"SELECT min(timestamp), max(timestamp) FROM ({rows})",  # noqa: S608 - fixed texts
        (begin, end, limit),
    ).fetchone()
    return None if first is None else (first, last)
