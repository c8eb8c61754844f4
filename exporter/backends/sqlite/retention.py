"""Deletes old rows from a SQLite file in small steps, and gives the disk space back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from exporter.sqlite_files import count_free_pages, transaction, vacuum_pages
from exporter.tables import FACT_TABLES, Table

# A step takes about 10 ms. A batch waits that long for its turn.
_ROWS_PER_STEP: Final = 20_000
_PAGES_PER_STEP: Final = 2_000
# One page in 4 may stay free. With a steady flow the next rows fill the pages of those just
# deleted, and a file that shrinks and grows every hour only fragments.
_PAGES_PER_FREE_PAGE: Final = 4

_Borrow = Callable[[], AbstractContextManager[sqlite3.Connection]]


def delete_rows_before(reader: _Borrow, writer: _Borrow, timestamp: int) -> int:
    """Delete older rows from all fact tables, a bounded number at a time.

    The end of a step is looked up on the reading side, without the write lock, so a waiting batch
    gets its turn between two steps.

    Args:
        reader: lends a connection that only reads.
        writer: lends the writing connection, with its lock.
        timestamp: microseconds since 1970; rows of this time and later stay.

    Returns:
        How many rows were deleted.
    """
    return sum(_delete_from(table, reader, writer, timestamp) for table in FACT_TABLES)


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
    deleted, more = 0, True
    while more:
        with reader() as connection:
            last = _last_of_step(connection, table, timestamp)
        more = last is not None
        with writer() as connection, transaction(connection):
            deleted += connection.execute(
                f"DELETE FROM {table.name} WHERE timestamp <= ?",  # noqa: S608 - a fixed name
                (timestamp - 1 if last is None else last,),
            ).rowcount
    return deleted


def _last_of_step(connection: sqlite3.Connection, table: Table, timestamp: int) -> int | None:
    found = connection.execute(
        f"SELECT timestamp FROM {table.name} WHERE timestamp < ? "  # noqa: S608 - a fixed name
        "ORDER BY timestamp LIMIT 1 OFFSET ?",
        (timestamp, _ROWS_PER_STEP - 1),
    ).fetchone()
    return None if found is None else int(found[0])
