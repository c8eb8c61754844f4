"""The tables that openfinops 0.3.0 itself keeps: recognised, and read as the records it was given.

Each row has a column for every usual field and the rest as JSON in `metadata`. Times are Unix
seconds. Its PostgreSQL has two of the four tables, and of them stores some columns only
(docs/openfinops.md).
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from exporter.backends.postgresql.connecting import (
    connect_reader,
    location_of,
    parameters_of,
    transaction,
)
from exporter.backends.postgresql.errors import translating as translating_postgresql
from exporter.backends.sqlite_errors import READING, translating
from exporter.backends.sqlite_file import APPLICATION_ID, looking_into, path_of
from exporter.errors import BackendRefusedError, RecordRefusedError
from exporter.openfinops.encoding import LAST_MICRO, cost_request, record_request
from exporter.query.selection import TimeRange
from exporter.query.times import time_micros

__all__ = ["TABLES", "Page", "PublishedStore", "PublishedTable", "Row", "published_store"]

_Values = tuple[Any, ...]
_Answer = Callable[[str, Sequence[object]], list[_Values]]


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One of its tables.

    Attributes:
        name: of the table.
        metrics: the names of ours that its records become begin with it; "" where they are costs.
        columns: fields of a record, as far as they have a column.
        request: a record as an OTLP request.
        others: the column with fields that have none of their own, as SQL.
        json: which columns hold JSON.
        flags: which hold 0 or 1 for a truth value.
        fields: what a column is called in a record, where that differs.
    """

    name: str
    metrics: str
    columns: tuple[str, ...]
    request: Callable[[Mapping[str, Any]], bytes]
    others: str = "metadata"
    json: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    fields: Mapping[str, str] = field(default_factory=dict)

    def record(self, values: _Values) -> dict[str, Any]:
        """The record that a row was made of.

        Args:
            values: of `columns` and of `others`.


        Raises:
            RecordRefusedError: what should be JSON is none.
        """
        *own, others = values
        record = dict(zip(self.columns, own, strict=True))
        record.update((column, _json(column, record[column])) for column in self.json)
        record.update((column, bool(record[column])) for column in self.flags)
        for column, name in self.fields.items():
            record[name] = record.pop(column)
        return {**(_json("metadata", others) or {}), **record}


def _json(column: str, text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordRefusedError(f"its {column} is no JSON: {error}") from error
    if value is not None and not isinstance(value, Mapping):
        raise RecordRefusedError(f"its {column} is no JSON object: {text[:100]}")
    return value


TABLES: Final = (
    PublishedTable(
        "system_metrics",
        "openfinops.system",
        (
            *("timestamp", "cluster_id", "node_id", "cpu_usage", "memory_usage", "disk_usage"),
            *("gpu_usage", "network_io", "throughput", "latency_p50", "latency_p95"),
            *("latency_p99", "error_rate", "cost_per_hour", "health_status"),
        ),
        partial(record_request, "system"),
        json=frozenset({"network_io"}),
    ),
    PublishedTable(
        "service_metrics",
        "openfinops.service",
        (
            *("timestamp", "service_name", "status", "uptime", "request_rate", "response_time"),
            *("success_rate", "training_jobs_active"),
        ),
        partial(record_request, "service"),
    ),
    PublishedTable(
        "alerts",
        "openfinops.alert",
        (
            *("timestamp", "alert_type", "severity", "cluster_id", "resource_id", "value"),
            *("description", "acknowledged", "resolved"),
        ),
        partial(record_request, "alert"),
        flags=frozenset({"acknowledged", "resolved"}),
        fields={"alert_type": "type"},
    ),
    PublishedTable(
        "cost_entries",
        "",
        (
            *("timestamp", "entry_id", "resource_id", "category", "amount", "currency", "region"),
            *("tags", "description", "billing_period"),
        ),
        cost_request,
        others="NULL",
        json=frozenset({"tags"}),
    ),
)
"""All of them; a store need not have each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its id, its time in microseconds since 1970, and the row itself."""

    id: int
    micro: int
    values: _Values


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order of time; `last_micro` is that of the last, and no later page has it."""

    rows: list[Row]
    last_micro: int


class PublishedStore:
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

    def has(self, table: PublishedTable) -> bool:
        """Whether the table is there."""
        return bool(self._ask(self._find, table.name))

    def count(self, table: PublishedTable) -> int:
        """How many rows it has."""
        ((rows,),) = self._ask(f"SELECT COUNT(*) FROM {table.name}")  # noqa: S608
        return int(rows)

    def without_time(self, table: PublishedTable) -> list[_Values]:
        """Id and timestamp of rows whose timestamp is not in the years that can be stored."""
        return self._ask(
            f"SELECT id, timestamp FROM {table.name} "  # noqa: S608
            "WHERE NOT (timestamp >= {0} AND timestamp < {0}) OR timestamp IS NULL ORDER BY id",
            *_bounds(TimeRange(None, None)),
        )

    def pages(
        self, table: PublishedTable, wanted: TimeRange, *, after: int = 0, rows: int
    ) -> Iterator[Page]:
        """Pages of about so many rows, in bounded memory.

        Args:
            table: what to read.
            wanted: which of its rows.
            after: microseconds; rows up to this time are left out.
            rows: of a page; more where more are of the very same microsecond.
        """
        at = max(wanted.start_micros or 1, after + 1)
        while wanted.end_micros is None or at < wanted.end_micros:
            found = self._read(table, TimeRange(at, wanted.end_micros), rows)
            if not found:
                return
            is_last = len(found) < rows
            if not is_last:
                found = self._whole_times(table, found)
            yield Page(found, found[-1].micro)
            if is_last:
                return
            at = found[-1].micro + 1

    def _whole_times(self, table: PublishedTable, found: list[Row]) -> list[Row]:
        first, last = found[0].micro, found[-1].micro
        if first == last:
            return self._read(table, TimeRange(last, last + 1), None)
        return [row for row in found if row.micro < last]

    def _read(self, table: PublishedTable, wanted: TimeRange, rows: int | None) -> list[Row]:
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

    def _ask(self, statement: str, *values: object) -> list[_Values]:
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
def published_store(backend: str, connection_string: str | None) -> Iterator[PublishedStore | None]:
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
def _published_file(path: Path) -> Iterator[PublishedStore | None]:
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

        def answer(statement: str, values: Sequence[object]) -> list[_Values]:
            with translating(READING, location):
                return connection.execute(statement, tuple(values)).fetchall()

        yield PublishedStore(
            location,
            answer,
            placeholder="?",
            find="SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?",
        )


def _is_published(path: Path) -> bool:
    try:
        with looking_into(path) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            if application_id == APPLICATION_ID:
                return False
            columns = connection.execute("SELECT name FROM pragma_table_info('system_metrics')")
            return ("cpu_usage",) in columns.fetchall()
    except BackendRefusedError:
        return False  # no database; whoever opens it as one of ours says why


@contextmanager
def _published_database(connection_string: str, backend: str) -> Iterator[PublishedStore | None]:
    parameters = parameters_of(connection_string, backend)
    location = location_of(parameters)
    place = f"{backend} {location}"
    with translating_postgresql("connecting", place):
        connection = connect_reader(parameters, place)
    with closing(connection):

        def answer(statement: str, values: Sequence[object]) -> list[_Values]:
            with translating_postgresql(READING, place), transaction(connection) as cursor:
                cursor.execute(statement, tuple(values))
                return cursor.fetchall()

        is_published = answer(
            "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('system_metrics') "
            "AND attname = 'cpu_usage' AND NOT attisdropped",
            (),
        )
        find = "SELECT 1 WHERE to_regclass(%s) IS NOT NULL"
        store = PublishedStore(location, answer, placeholder="%s", find=find)
        yield store if is_published else None
