"""A database with the tables of openfinops 0.3.0, SQLite or PostgreSQL, opened read-only.

The column system_metrics.cpu_usage tells it from a store of this package. Tables are read in pages,
in the order of time.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from exporter.backends.postgresql.connection import (
    connect_reader,
    describe_location,
    parse_connection_string,
    transaction,
)
from exporter.backends.postgresql.errors import translate_errors as translate_postgresql_errors
from exporter.backends.sqlite.errors import READING, translate_errors
from exporter.backends.sqlite.store_file import STORE_FILE, database_path, open_immutable
from exporter.errors import BackendRefusedError
from exporter.openfinops.otlp_requests import LAST_MICROS
from exporter.openfinops.v030_tables import TABLES, V030Table, Values
from exporter.query.times import TimeRange, time_micros
from exporter.time_units import MICROSECONDS_PER_SECOND
from exporter.transfer.pages import Page, paginate

_Fetch = Callable[[str, Sequence[object]], list[Values]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its id, its time in microseconds since 1970, and its values."""

    id: int
    micro: int
    values: Values


class V030Store:
    """An open database of openfinops 0.3.0.

    Args:
        location: where it is, for messages.
        fetch: runs one SELECT with bound values and returns its rows.
        placeholder: the placeholder of the driver for a bound value.
        exists_sql: a SELECT that has a row if the table with the bound name exists.
    """

    def __init__(self, location: str, fetch: _Fetch, *, placeholder: str, exists_sql: str) -> None:
        self.location = location
        self._fetch = fetch
        self._placeholder = placeholder
        self._exists_sql = exists_sql

    @property
    def tables(self) -> list[V030Table]:
        """The tables that exist."""
        return [table for table in TABLES if self._ask(self._exists_sql, table.name)]

    def count(self, table: V030Table) -> int:
        """The number of rows."""
        ((rows,),) = self._ask(f"SELECT COUNT(*) FROM {table.name}")  # noqa: S608
        return int(rows)

    def rows_with_invalid_time(self, table: V030Table) -> list[Values]:
        """(id, timestamp) of rows whose timestamp is outside the years 1970 to 2262."""
        return self._ask(
            f"SELECT id, timestamp FROM {table.name} "  # noqa: S608
            "WHERE NOT (timestamp >= {0} AND timestamp < {0}) OR timestamp IS NULL ORDER BY id",
            *_bounds(TimeRange(None, None)),
        )

    def pages(
        self, table: V030Table, wanted: TimeRange, *, after: int = 0, rows: int
    ) -> Iterator[Page[Row]]:
        """Pages of a table in the order of time, in bounded memory.

        Args:
            table: the table to read.
            wanted: the time range to read.
            after: microseconds since 1970; rows up to this time are skipped.
            rows: rows of a page; more when more rows share its last microsecond.
        """

        def read(some: TimeRange, most: int | None) -> list[Row]:
            return self._read(table, some, most)

        return paginate(read, lambda row: row.micro, wanted, after=after, rows=rows)

    def _read(self, table: V030Table, wanted: TimeRange, rows: int | None) -> list[Row]:
        columns = ", ".join(("id", *table.columns, table.metadata))
        statement = (
            f"SELECT {columns} FROM {table.name} "  # noqa: S608
            "WHERE timestamp >= {0} AND timestamp < {0} ORDER BY timestamp, id"
        )
        bound: list[object] = [*_bounds(wanted)]
        if rows is not None:
            statement += " LIMIT {0}"
            bound.append(rows)
        return [
            Row(row_id, time_micros(values[0], "timestamp"), tuple(values))
            for row_id, *values in self._ask(statement, *bound)
        ]

    def _ask(self, statement: str, *values: object) -> list[Values]:
        return self._fetch(statement.replace("{0}", self._placeholder), values)


def _bounds(wanted: TimeRange) -> tuple[float, float]:
    start = max(wanted.start_micros or 0, 1)
    after_all = LAST_MICROS + 1
    end = after_all if wanted.end_micros is None else min(wanted.end_micros, after_all)
    return _first_seconds(start), _first_seconds(end)


def _first_seconds(micro: int) -> float:
    """The smallest number of seconds that rounds to this microsecond or a later one."""
    seconds = (micro - 0.5) / MICROSECONDS_PER_SECOND
    while round(seconds * MICROSECONDS_PER_SECOND) >= micro:
        seconds = math.nextafter(seconds, -math.inf)
    while round(seconds * MICROSECONDS_PER_SECOND) < micro:
        seconds = math.nextafter(seconds, math.inf)
    return seconds


@contextmanager
def open_v030_store(backend: str, connection_string: str | None) -> Iterator[V030Store | None]:
    """Open a database of openfinops 0.3.0; yields None if it is anything else or does not exist.

    Args:
        backend: the name of the backend that the connection string is for.
        connection_string: the database; None for a backend without one.

    Raises:
        ConfigError: the connection string is invalid for the backend.
        BackendUnavailableError, BackendRefusedError: the database cannot be read.
    """
    if connection_string is None:
        yield None
    elif backend == "sqlite":
        with _open_file(database_path(connection_string)) as store:
            yield store
    elif backend in {"postgresql", "timescaledb"}:
        with _open_database(connection_string, backend) as store:
            yield store
    else:
        yield None


@contextmanager
def _open_file(path: Path) -> Iterator[V030Store | None]:
    if not path.is_file() or not _has_v030_tables(path):
        yield None
        return
    location = str(path)
    with (
        translate_errors(READING, location),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
    ):
        # Text that is not UTF-8 must not stop the import; its invalid bytes become U+FFFD.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")

        def fetch(statement: str, values: Sequence[object]) -> list[Values]:
            with translate_errors(READING, location):
                return connection.execute(statement, tuple(values)).fetchall()

        yield V030Store(
            location,
            fetch,
            placeholder="?",
            exists_sql="SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?",
        )


def _has_v030_tables(path: Path) -> bool:
    try:
        with open_immutable(path) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            if application_id == STORE_FILE.application_id:
                return False
            columns = connection.execute("SELECT name FROM pragma_table_info('system_metrics')")
            return ("cpu_usage",) in columns.fetchall()
    except BackendRefusedError:
        return False  # not a SQLite database; opening it as a backend reports why


@contextmanager
def _open_database(connection_string: str, backend: str) -> Iterator[V030Store | None]:
    parameters = parse_connection_string(connection_string, backend)
    location = describe_location(parameters)
    place = f"{backend} {location}"
    with translate_postgresql_errors("connecting", place):
        connection = connect_reader(parameters, place)
    with closing(connection):

        def fetch(statement: str, values: Sequence[object]) -> list[Values]:
            with translate_postgresql_errors(READING, place), transaction(connection) as cursor:
                cursor.execute(statement, tuple(values))
                return cursor.fetchall()

        has_v030_tables = fetch(
            "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('system_metrics') "
            "AND attname = 'cpu_usage' AND NOT attisdropped",
            (),
        )
        exists_sql = "SELECT 1 WHERE to_regclass(%s) IS NOT NULL"
        store = V030Store(location, fetch, placeholder="%s", exists_sql=exists_sql)
        yield store if has_v030_tables else None
