"""Where openfinops 0.3.0 keeps its tables: a file of SQLite's or a database of PostgreSQL's.

Told from ours by a column, opened for reading, and read in pages by time.
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
from exporter.backends.postgresql.errors import translating as translating_postgresql
from exporter.backends.sqlite.errors import READING, translating
from exporter.backends.sqlite.file import APPLICATION_ID, open_immutable, path_of
from exporter.errors import BackendRefusedError
from exporter.openfinops.otlp_requests import LAST_MICRO
from exporter.openfinops.v030_tables import TABLES, V030Table, Values
from exporter.query.filters import TimeRange
from exporter.query.times import time_micros
from exporter.transfer.pages import Page, paged

__all__ = ["Row", "V030Store", "open_v030_store"]

_Answer = Callable[[str, Sequence[object]], list[Values]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its id, its time in microseconds since 1970, and the row itself."""

    id: int
    micro: int
    values: Values


class V030Store:
    """A database of openfinops', open for reading.

    Args:
        location: where it is, for people.
        answer: runs one statement that reads.
        placeholder: what its driver takes for a bound value.
        find: a statement that has a row if there is a table of the bound name.
    """

    def __init__(self, location: str, answer: _Answer, *, placeholder: str, find: str) -> None:
        self.location = location
        self._answer = answer
        self._placeholder = placeholder
        self._find = find

    @property
    def tables(self) -> list[V030Table]:
        """Those that are there."""
        return [table for table in TABLES if self._ask(self._find, table.name)]

    def count(self, table: V030Table) -> int:
        """How many rows it has."""
        ((rows,),) = self._ask(f"SELECT COUNT(*) FROM {table.name}")  # noqa: S608
        return int(rows)

    def without_time(self, table: V030Table) -> list[Values]:
        """Id and timestamp of rows whose timestamp is not in the years that can be stored."""
        return self._ask(
            f"SELECT id, timestamp FROM {table.name} "  # noqa: S608
            "WHERE NOT (timestamp >= {0} AND timestamp < {0}) OR timestamp IS NULL ORDER BY id",
            *_bounds(TimeRange(None, None)),
        )

    def pages(
        self, table: V030Table, wanted: TimeRange, *, after: int = 0, rows: int
    ) -> Iterator[Page[Row]]:
        """Pages of about so many rows, in bounded memory.

        Args:
            table: what to read.
            wanted: which of its rows.
            after: microseconds; rows up to this time are left out.
            rows: of a page; more where more are of the very same microsecond.
        """

        def read(some: TimeRange, most: int | None) -> list[Row]:
            return self._read(table, some, most)

        return paged(read, lambda row: row.micro, wanted, after=after, rows=rows)

    def _read(self, table: V030Table, wanted: TimeRange, rows: int | None) -> list[Row]:
        columns = ", ".join(("id", *table.columns, table.others))
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
        return self._answer(statement.replace("{0}", self._placeholder), values)


def _bounds(wanted: TimeRange) -> tuple[float, float]:
    start = max(wanted.start_micros or 0, 1)
    after_all = LAST_MICRO + 1
    end = after_all if wanted.end_micros is None else min(wanted.end_micros, after_all)
    return _first_seconds(start), _first_seconds(end)


def _first_seconds(micro: int) -> float:
    """The least number of seconds that is rounded to this microsecond or a later one."""
    seconds = (micro - 0.5) / 1_000_000
    while round(seconds * 1_000_000) >= micro:
        seconds = math.nextafter(seconds, -math.inf)
    while round(seconds * 1_000_000) < micro:
        seconds = math.nextafter(seconds, math.inf)
    return seconds


@contextmanager
def open_v030_store(backend: str, connection_string: str | None) -> Iterator[V030Store | None]:
    """A database of openfinops', opened for reading; None if there is something else, or nothing.

    Args:
        backend: of ours, that would take the connection string.
        connection_string: where to look; None where the backend needs none.

    Raises:
        ConfigError: it is none of the backend's.
        BackendUnavailableError, BackendRefusedError: a database cannot be asked.
    """
    if connection_string is None:
        yield None
    elif backend == "sqlite":
        with _published_file(path_of(connection_string)) as store:
            yield store
    elif backend in {"postgresql", "timescaledb"}:
        with _published_database(connection_string, backend) as store:
            yield store
    else:
        yield None


@contextmanager
def _published_file(path: Path) -> Iterator[V030Store | None]:
    if not path.is_file() or not _is_published(path):
        yield None
        return
    location = str(path)
    with (
        translating(READING, location),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
    ):
        # Text that is no UTF-8 is shown as far as it is, rather than stopping everything.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")

        def answer(statement: str, values: Sequence[object]) -> list[Values]:
            with translating(READING, location):
                return connection.execute(statement, tuple(values)).fetchall()

        yield V030Store(
            location,
            answer,
            placeholder="?",
            find="SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?",
        )


def _is_published(path: Path) -> bool:
    try:
        with open_immutable(path) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            if application_id == APPLICATION_ID:
                return False
            columns = connection.execute("SELECT name FROM pragma_table_info('system_metrics')")
            return ("cpu_usage",) in columns.fetchall()
    except BackendRefusedError:
        return False  # no database; whoever opens it as one of ours says why


@contextmanager
def _published_database(connection_string: str, backend: str) -> Iterator[V030Store | None]:
    parameters = parse_connection_string(connection_string, backend)
    location = describe_location(parameters)
    place = f"{backend} {location}"
    with translating_postgresql("connecting", place):
        connection = connect_reader(parameters, place)
    with closing(connection):

        def answer(statement: str, values: Sequence[object]) -> list[Values]:
            with translating_postgresql(READING, place), transaction(connection) as cursor:
                cursor.execute(statement, tuple(values))
                return cursor.fetchall()

        is_published = answer(
            "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('system_metrics') "
            "AND attname = 'cpu_usage' AND NOT attisdropped",
            (),
        )
        find = "SELECT 1 WHERE to_regclass(%s) IS NOT NULL"
        store = V030Store(location, answer, placeholder="%s", find=find)
        yield store if is_published else None
