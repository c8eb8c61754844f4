"""Keeps a database in memory within a number of rows, and its series within another."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Final

from exporter.backends.sqlite.rows import FACT_TABLES, Rows, Table
from exporter.backends.statements import load_statements

__all__ = [
    "create_leaving",
    "delete_older",
    "evict_oldest",
    "let_series_leave",
    "mark_series",
    "still_there",
]

_FILE: Final = "sqlite/eviction.sql"


def evict_oldest(connection: sqlite3.Connection, count: int) -> int:
    """Delete the oldest rows over all fact tables.

    Args:
        connection: where a transaction is open.
        count: how many; at least one, at most as many as there are.

    Returns:
        The time in microseconds of the newest row that went. Of rows of just that time, those
        with the smaller keys went, table by table.
    """
    cutoff: int
    (cutoff,) = connection.execute(load_statements(_FILE)["cutoff"], (count - 1,)).fetchone()
    count -= delete_older(connection, cutoff)
    for table in FACT_TABLES:
        count -= connection.execute(_delete_some_at(table), (cutoff, cutoff, count)).rowcount
    return cutoff


def delete_older(connection: sqlite3.Connection, timestamp: int) -> int:
    """Delete the rows of all fact tables that are older; returns how many went.

    Args:
        connection: where a transaction is open.
        timestamp: microseconds since 1970; rows of this time and later stay.
    """
    statements = [
        f"DELETE FROM {table.name} WHERE timestamp < ?"  # noqa: S608 - a fixed name
        for table in FACT_TABLES
    ]
    return sum(connection.execute(sql, (timestamp,)).rowcount for sql in statements)


def still_there(connection: sqlite3.Connection, rows: Rows, cutoff: int) -> int:
    """How many of the rows just stored are there after `evict_oldest` returned the cutoff."""
    newer = sum(timestamp > cutoff for timestamp, _ in rows.row_keys())
    at_cutoff = {row_id for timestamp, row_id in rows.row_keys() if timestamp == cutoff}
    if not at_cutoff:
        return newer
    _, id_column = rows.table.columns[:2]
    found = connection.execute(
        f"SELECT {id_column} FROM {rows.table.name} WHERE timestamp = ?",  # noqa: S608 - fixed
        (cutoff,),
    )
    return newer + sum(row_id in at_cutoff for (row_id,) in found)


def create_leaving(connection: sqlite3.Connection) -> None:
    """Make the scratch table that the two functions below pass ids with; once a connection."""
    connection.execute(load_statements(_FILE)["create_leaving"])


def mark_series(connection: sqlite3.Connection) -> frozenset[int]:
    """Choose the series without rows; they leave at the end of the next batch, not at once.

    That batch may hold points of such a series without its definition, because they were
    decoded while the series was known; then the series has rows again, and stays.

    Returns:
        Their ids, whose definitions are to be sent again with their next points.
    """
    sql = load_statements(_FILE)
    connection.execute(sql["mark_leaving"])
    (ids,) = connection.execute(sql["leaving"]).fetchone()
    return frozenset(json.loads(ids))


def let_series_leave(connection: sqlite3.Connection, defined_again: Iterable[int]) -> int:
    """Delete the series marked before, but for those that have rows or came again.

    Args:
        connection: where a transaction is open, with the batch in it.
        defined_again: ids of the series that the batch defines.

    Returns:
        How many left.
    """
    sql = load_statements(_FILE)
    connection.executemany(sql["stay"], ((series_id,) for series_id in defined_again))
    left = connection.execute(sql["leave"]).rowcount
    connection.execute(sql["leave_cursors"])
    connection.execute(sql["clear_leaving"])
    return left


def _delete_some_at(table: Table) -> str:
    key = ", ".join(table.key)
    return (
        f"DELETE FROM {table.name} WHERE timestamp = ? AND ({key}) IN "  # noqa: S608 - fixed names
        f"(SELECT {key} FROM {table.name} WHERE timestamp = ? ORDER BY {key} LIMIT ?)"
    )
