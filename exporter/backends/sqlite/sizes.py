"""How much a SQLite database holds, table by table; only reads.

Rows are counted: SQLite reads only the leaves of a table, 9 ms a million rows from the page cache.
Bytes come from the table `dbstat`, which most builds of SQLite have and which visits each page
once, 20 ms a million rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from exporter.backends.sqlite.retention import expiring
from exporter.model import StoreSizes, TableSize
from exporter.tables import FACT_TABLES
from exporter.time_units import NANOSECONDS_PER_MICROSECOND, nanos_to_micros

# The tables that grow, and their time columns.
_TABLES: Final = {table.name: "timestamp" for table in FACT_TABLES} | {"dead_letters": "written_at"}


def read_sizes(
    connection: sqlite3.Connection, *, total_bytes: int | None = None, dbstat: bool
) -> StoreSizes:
    """The sizes as of one moment.

    Args:
        connection: to a store, with no transaction open.
        total_bytes: of the files; None for a database without files: the bytes of its pages.
        dbstat: whether to query the table `dbstat`, see `has_dbstat`.
    """
    connection.execute("BEGIN")
    try:
        size_bytes = _bytes_by_table(connection) if dbstat else {}
        tables = tuple(
            _table_size(connection, name, time, size_bytes.get(name))
            for name, time in _TABLES.items()
        )
        page_bytes = _number(connection, "PRAGMA page_size")
        pages = _number(connection, "PRAGMA page_count")
        return StoreSizes(
            tables=tables,
            series=_number(connection, "SELECT count(*) FROM metric_series"),
            total_bytes=pages * page_bytes if total_bytes is None else total_bytes,
            free_bytes=_number(connection, "PRAGMA freelist_count") * page_bytes,
        )
    finally:
        if connection.in_transaction:  # SQLite ends it by itself after some errors
            connection.execute("ROLLBACK")


def count_expired(
    connection: sqlite3.Connection, limits: Mapping[str, int], letters_before: int
) -> dict[str, int]:
    """How many rows of each table are older than its limit.

    Args:
        connection: to a store.
        limits: of each fact table, in nanoseconds since 1970.
        letters_before: of dead letters, in microseconds since 1970.
    """
    counts = {}
    for table in FACT_TABLES:
        condition = expiring(table, "timestamp < ?")
        sql = f"SELECT count(*) FROM {table.name} WHERE {condition}"  # noqa: S608 - fixed texts
        counts[table.name] = _number(connection, sql, nanos_to_micros(limits[table.name]))
    sql = "SELECT count(*) FROM dead_letters WHERE written_at < ?"
    return counts | {"dead_letters": _number(connection, sql, letters_before)}


def has_dbstat(connection: sqlite3.Connection) -> bool:
    """Whether this build of SQLite has the table `dbstat`."""
    found = "SELECT count(*) FROM pragma_module_list WHERE name = 'dbstat'"
    return _number(connection, found) > 0


def _bytes_by_table(connection: sqlite3.Connection) -> dict[str, int]:
    """Bytes of each table with its indexes, by its name."""
    # Without the condition on the schema, dbstat covers attached databases as well.
    return dict(
        connection.execute(
            "SELECT entry.tbl_name, sum(pages.pgsize) FROM dbstat AS pages "
            "JOIN main.sqlite_schema AS entry ON entry.name = pages.name "
            "WHERE pages.aggregate = 1 AND pages.schema = 'main' GROUP BY entry.tbl_name"
        )
    )


def file_bytes(path: Path) -> int:
    """Bytes on disk of the database at a path, with its -wal.

    Without the -shm: 32 KiB of shared memory that exist while the file is open.
    """
    wal_bytes = 0
    with suppress(FileNotFoundError):  # the last connection removes it when it closes
        wal_bytes = path.with_name(path.name + "-wal").stat().st_size
    return path.stat().st_size + wal_bytes


def _table_size(
    connection: sqlite3.Connection, name: str, time: str, size_bytes: int | None
) -> TableSize:
    # min and max in one SELECT would read the whole table; a subquery each reads one row.
    rows, oldest, newest = connection.execute(
        f"SELECT (SELECT count(*) FROM {name}), "  # noqa: S608 - fixed names
        f"(SELECT min({time}) FROM {name}), (SELECT max({time}) FROM {name})"
    ).fetchone()
    return TableSize(
        table=name,
        rows=rows,
        rows_are_exact=True,
        size_bytes=size_bytes,
        oldest_unix_nano=_nano(oldest),
        newest_unix_nano=_nano(newest),
    )


def _nano(timestamp: int | None) -> int | None:
    return None if timestamp is None else timestamp * NANOSECONDS_PER_MICROSECOND


def _number(connection: sqlite3.Connection, statement: str, *parameters: object) -> int:
    return int(connection.execute(statement, parameters).fetchone()[0])
