"""Deletes old rows from a SQLite file in small steps, and gives its disk space back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from exporter.backends.base import WATERMARKS_OUTLIVE_ROWS_BY_NANOSECONDS
from exporter.backends.sqlite.dead_letters import delete_dead_letters_before
from exporter.backends.sqlite.ledger import prune_watermarks
from exporter.backends.sqlite.rows import FACT_TABLES, Table
from exporter.sqlitefiles import transaction

__all__ = ["delete_rows_before", "prune_bookkeeping", "vacuum"]

# One step takes some 10 ms, and that is how long a batch may have to wait for its turn.
_ROWS_PER_STEP: Final = 20_000
_PAGES_PER_STEP: Final = 2_000
_FREE_SHARE_KEPT: Final = 4

_Use = Callable[[], AbstractContextManager[sqlite3.Connection]]


def delete_rows_before(reader: _Use, writer: _Use, timestamp: int) -> int:
    """Delete the rows of all fact tables that are older, a bounded number at a time.

    Where a step ends is looked up on the reading side, without the write lock, so a waiting
    batch gets its turn between two steps.

    Args:
        reader: lends a connection that only reads.
        writer: lends the writing connection, with its lock.
        timestamp: microseconds since 1970; rows of this time and later stay.

    Returns:
        How many rows went.
    """
    return sum(_delete_from(table, reader, writer, timestamp) for table in FACT_TABLES)


def prune_bookkeeping(connection: sqlite3.Connection, timestamp: int) -> int:
    """Delete dead letters that were written earlier, and watermarks of writers long gone.

    Args:
        connection: where a transaction is open.
        timestamp: microseconds since 1970.

    Returns:
        How many letters went; watermarks are not counted.
    """
    prune_watermarks(connection, timestamp - WATERMARKS_OUTLIVE_ROWS_BY_NANOSECONDS // 1_000)
    return delete_dead_letters_before(connection, timestamp)


def vacuum(writer: _Use) -> None:
    """Cut free pages off the file if they are more than a quarter of it.

    Some free space is worth keeping: with a steady flow the next rows take the place of those
    just deleted, and a file that shrinks and grows every hour only fragments.
    """
    while True:
        with writer() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free * _FREE_SHARE_KEPT <= pages:
                return
            # execute would stop after the first page, because each is a row without columns.
            connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})")
            (left,) = connection.execute("PRAGMA freelist_count").fetchone()
            if left >= free:  # a file made without auto_vacuum keeps its pages for reuse
                return


def _delete_from(table: Table, reader: _Use, writer: _Use, timestamp: int) -> int:
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
