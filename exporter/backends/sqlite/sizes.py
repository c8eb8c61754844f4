"""How much a SQLite database holds, table by table; only reads.

Rows are counted, not estimated: SQLite reads the leaves of the table alone for it, 9 ms a million
rows from the page cache. Sizes come from the table `dbstat`, which most builds of SQLite have, and
which visits each page once, 20 ms a million rows.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from exporter.backends.sqlite.dead_letters import DEAD_LETTERS
from exporter.backends.sqlite.rows import FACT_TABLES
from exporter.model import StoreSizes, TableSize

__all__ = ["bytes_of_files", "count_rows_before", "has_dbstat", "read_sizes"]

_NANOSECONDS_PER_MICROSECOND: Final = 1_000
# The tables that grow, and the column by which retention deletes from them.
_TABLES: Final = {table.name: "timestamp" for table in FACT_TABLES} | {DEAD_LETTERS: "written_at"}


def read_sizes(
    connection: sqlite3.Connection, *, total_bytes: int | None = None, dbstat: bool
) -> StoreSizes:
    """The sizes as of one moment.

    Args:
        connection: to a database with our schema, with no transaction open.
        total_bytes: what the files take; None for a database without files, whose pages count.
        dbstat: whether the table `dbstat` may be asked, see `has_dbstat`.
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


def count_rows_before(connection: sqlite3.Connection, timestamp: int) -> dict[str, int]:
    """Rows of each table that are older than this, in microseconds since 1970."""
    return {
        name: _number(
            connection,
            f"SELECT count(*) FROM {name} WHERE {time} < ?",  # noqa: S608 - fixed names
            timestamp,
        )
        for name, time in _TABLES.items()
    }


def has_dbstat(connection: sqlite3.Connection) -> bool:
    """Whether this build of SQLite knows how large each table is."""
    found = "SELECT count(*) FROM pragma_module_list WHERE name = 'dbstat'"
    return _number(connection, found) > 0


def _bytes_by_table(connection: sqlite3.Connection) -> dict[str, int]:
    """Bytes of the pages of each table with its indexes, by its name."""
    # Without the condition on the schema, dbstat answers for attached databases as well.
    return dict(
        connection.execute(
            "SELECT entry.tbl_name, sum(pages.pgsize) FROM dbstat AS pages "
            "JOIN main.sqlite_schema AS entry ON entry.name = pages.name "
            "WHERE pages.aggregate = 1 AND pages.schema = 'main' GROUP BY entry.tbl_name"
        )
    )


def bytes_of_files(path: Path) -> int:
    """What the database at a path takes on disk, with its write-ahead log.

    The -shm is left out: 32 KiB of shared memory that come and go with the first reader.
    """
    wal_bytes = 0
    with suppress(FileNotFoundError):  # whoever closes the database last removes it
        wal_bytes = path.with_name(path.name + "-wal").stat().st_size
    return path.stat().st_size + wal_bytes


def _table_size(
    connection: sqlite3.Connection, name: str, time: str, size_bytes: int | None
) -> TableSize:
    # Two subqueries: min and max in one SELECT would read the whole table for them.
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
    return None if timestamp is None else timestamp * _NANOSECONDS_PER_MICROSECOND


def _number(connection: sqlite3.Connection, statement: str, *parameters: object) -> int:
    return int(connection.execute(statement, parameters).fetchone()[0])
