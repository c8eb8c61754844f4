"""Limits how many rows and series a database in memory holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final, cast

from exporter.backends.sqlite.retention import delete_rows, expiring
from exporter.backends.sqlite.rows import Rows, stored_columns, stored_key
from exporter.backends.statements import load_statements
from exporter.tables import FACT_TABLES, Table
from exporter.time_units import nanos_to_micros

_FILE: Final = "sqlite/eviction.sql"


def evict_oldest(connection: sqlite3.Connection, count: int) -> int:
    """Delete the oldest rows over all fact tables.

    Args:
        connection: where a transaction is open.
        count: how many rows; at least 1, at most as many as there are.

    Returns:
        The time in microseconds of the newest deleted row. Of the rows with exactly this time,
        those with the smallest keys are deleted, table by table.
    """
    cutoff: int
    (cutoff,) = connection.execute(load_statements(_FILE)["cutoff"], (count - 1,)).fetchone()
    for table in FACT_TABLES:
        count -= delete_rows(connection, table, "timestamp < ?", (cutoff,))
    for table in FACT_TABLES:
        count -= delete_rows(connection, table, _some_at(table), (cutoff, cutoff, count))
    return cutoff


def delete_all_expired(connection: sqlite3.Connection, limits: Mapping[str, int]) -> int:
    """Delete the older rows of all fact tables; returns how many were deleted.

    Args:
        connection: where a transaction is open.
        limits: by table, nanoseconds since 1970; rows of this time and later stay.
    """
    return sum(
        delete_rows(
            connection,
            table,
            expiring(table, "timestamp < ?"),
            (nanos_to_micros(limits[table.name]),),
        )
        for table in FACT_TABLES
    )


def count_remaining(connection: sqlite3.Connection, rows: Rows, cutoff: int) -> int:
    """How many of these rows are still stored after `evict_oldest` returned the cutoff."""
    times = cast("list[int]", rows.values[0 :: len(stored_columns(rows.table))])
    newer = sum(timestamp > cutoff for timestamp in times)
    at_cutoff = {key for key in rows.row_keys() if key[0] == cutoff}
    if not at_cutoff:
        return newer
    found = connection.execute(
        f"SELECT {', '.join(stored_key(rows.table))} "  # noqa: S608 - fixed names
        f"FROM {rows.table.name} WHERE timestamp = ?",
        (cutoff,),
    )
    return newer + sum(key in at_cutoff for key in found)


def create_idle_series(connection: sqlite3.Connection) -> None:
    """Create the scratch table that the two functions below use; once for a connection."""
    connection.execute(load_statements(_FILE)["create_idle"])


def mark_idle_series(connection: sqlite3.Connection) -> frozenset[int]:
    """Mark the series without rows; `delete_idle_series` deletes them with the next batch.

    They are not deleted at once, because that batch may hold points of such a series without its
    definition: the points were decoded while the series was known. Then the series stays.

    Returns:
        Their ids. The definitions are to be sent again with their next points.
    """
    sql = load_statements(_FILE)
    connection.execute(sql["mark_idle"])
    (ids,) = connection.execute(sql["idle"]).fetchone()
    return frozenset(json.loads(ids))


def delete_idle_series(connection: sqlite3.Connection, defined_again: Iterable[int]) -> int:
    """Delete the marked series, except those that have rows again or were defined again.

    Args:
        connection: where a transaction is open, with the batch in it.
        defined_again: ids of the series that the batch defines.

    Returns:
        How many series were deleted.
    """
    sql = load_statements(_FILE)
    connection.executemany(sql["unmark"], ((series_id,) for series_id in defined_again))
    deleted = connection.execute(sql["delete_idle"]).rowcount
    connection.execute(sql["delete_idle_streams"])
    connection.execute(sql["clear_idle"])
    return deleted


def _some_at(table: Table) -> str:
    key = ", ".join(stored_key(table))
    oldest = f"SELECT {key} FROM {table.name} WHERE timestamp = ? ORDER BY {key} LIMIT ?"  # noqa: S608
    return f"timestamp = ? AND ({key}) IN ({oldest})"
