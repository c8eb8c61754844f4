"""Migration 0004 on stores of version 3 with costs: new columns of entries, streams of cursors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg2
import pytest
from engines.databases import Databases
from kit.backends.kinds import KINDS
from kit.backends.postgresql import autocommitting
from kit.backends.timescaledb import capabilities_of

from exporter.backends.base import Backend
from exporter.backends.migration_files import Migration, load_migrations
from exporter.backends.postgresql.connection import Connection
from exporter.backends.postgresql.daily_partitions import DailyPartitions, create_partitions
from exporter.backends.timescaledb.hypertables import create_hypertable
from exporter.backends.timescaledb.rollups import create_rollups
from exporter.query.reader import Reader
from exporter.time_units import SECONDS_PER_DAY, from_micros

T: Final = 1_700_000_000_000_000  # the first time, in microseconds
START: Final = T - 3_600_000_000
LATER_START: Final = T + 500_000
SECOND: Final = 1_000_000
DAY: Final = SECONDS_PER_DAY * SECOND

Row = tuple[Any, ...]
Insert = Callable[[str, dict[str, object]], None]


@dataclass(frozen=True)
class OldSeries:
    """A series of a store of version 3, with its cursor.

    Attributes:
        definition: metric_type, temporality and is_monotonic; None without a row in metric_series.
        points: (time, start, value) of the entries that are kept.
        first: time of the first point, if retention has deleted it.
        last: the last point, if retention has deleted it.
    """

    definition: tuple[str, str | None, bool | None] | None
    points: tuple[tuple[int, int | None, float], ...]
    first: int | None = None
    last: tuple[int, int | None, float] | None = None


COUNTER: Final = ("sum", "cumulative", True)
SERIES: Final = {
    1: OldSeries(COUNTER, ((T, START, 1.0), (T + DAY, START, 3.0))),
    2: OldSeries(COUNTER, (), T, (T + SECOND, START, 4.0)),
    3: OldSeries(COUNTER, ((T, START, 5.0), (T + SECOND, START, 6.0)), T - DAY),
    4: OldSeries(COUNTER, ((T, START, 7.0), (T + SECOND, LATER_START, 1.0)), T - DAY),
    5: OldSeries(("gauge", None, None), ((T, None, 0.5), (T + SECOND, None, 0.25)), T - DAY),
    6: OldSeries(("sum", "cumulative", False), ((T, START, 8.0),)),
    7: OldSeries(("summary", None, None), ((T, START, 9.0),)),
    8: OldSeries(("sum", "delta", True), ((T, START, 10.0),)),
    9: OldSeries(COUNTER, ((T, T, 11.0),)),
    10: OldSeries(None, ((T, START, 12.0),)),
    11: OldSeries(("gauge", None, None), ((T, START, 13.0),)),
}
# (series, stream_start): earliest and latest start; last point; closing point.
STREAMS: Final[dict[tuple[int, int], tuple[Row | None, Row | None, Row | None]]] = {
    (1, 0): (None, None, None),
    (1, START): ((START, START), (T + DAY, START, 3.0), None),
    (2, 0): (None, None, (T + SECOND, START, 4.0)),
    (2, START): ((START, START), (T + SECOND, START, 4.0), (T + SECOND, START, 4.0)),
    (3, 0): (None, None, (T, START, 5.0)),
    (3, START): ((START, START), (T + SECOND, START, 6.0), (T, START, 5.0)),
    (4, 0): (None, None, (T, START, 7.0)),
    (4, START): ((START, START), (T, START, 7.0), (T, START, 7.0)),
    (4, LATER_START): ((LATER_START, LATER_START), (T + SECOND, LATER_START, 1.0), None),
    (5, 0): (None, (T + SECOND, None, 0.25), (T, None, 0.5)),
    (6, 0): (None, (T, START, 8.0), None),
    (6, START): ((START, START), (T, START, 8.0), None),
    (7, 0): (None, None, None),
    (7, START): ((START, START), (T, START, 9.0), None),
    (8, 0): (None, (T, START, 10.0), None),
    (9, 0): (None, (T, T, 11.0), None),
    (10, 0): (None, (T, START, 12.0), None),
    (11, 0): (None, (T, START, 13.0), None),
}
STREAMS_OF_ENTRIES: Final = {
    ("complete", T): None,
    ("entry-1", T): START,
    ("entry-1", T + DAY): START,
    ("entry-3", T): START,
    ("entry-3", T + SECOND): START,
    ("entry-4", T): START,
    ("entry-4", T + SECOND): LATER_START,
    ("entry-5", T): 0,
    ("entry-5", T + SECOND): 0,
    ("entry-6", T): START,
    ("entry-7", T): START,
    ("entry-8", T): 0,
    ("entry-9", T): 0,
    ("entry-10", T): 0,
    ("entry-11", T): 0,
}


def released() -> tuple[Migration, ...]:
    return load_migrations("postgresql")[:3]


def fill(insert: Insert, *, amount: Callable[[str], dict[str, object]]) -> None:
    """The rows of the old store; times are microseconds."""
    entry = {
        "resource_id": "vm-1",
        "category": "compute",
        "currency": "USD",
        "cluster_id": "default",
        "node_id": "default",
        "tags": "{}",
        "description": "",
        "billing_period": "2023-11",
    }
    complete = {"timestamp": T, "entry_id": "complete", "source": "log", **amount("-0.000000001")}
    insert("cost_entries", entry | complete)
    for series_id, old in SERIES.items():
        if old.definition is not None:
            insert("metric_series", definition(series_id, old.definition))
        for time, start, value in old.points:
            point = {"series_id": series_id, "start_timestamp": start, "value": value}
            key = {"timestamp": time, "entry_id": f"entry-{series_id}", "source": "metric"}
            insert("cost_entries", entry | key | point | amount(str(value)))
        last_time, last_start, last_value = old.last or old.points[-1]
        cursor = {
            "series_id": series_id,
            "first_timestamp": old.first or old.points[0][0],
            "last_timestamp": last_time,
            "last_start_timestamp": last_start,
            "last_value": last_value,
        }
        insert("cost_cursors", cursor)


def definition(series_id: int, kind: tuple[str, str | None, bool | None]) -> dict[str, object]:
    texts = ("unit", "description", "resource_schema_url", "scope_schema_url")
    documents = ("resource", "scope", "attributes")
    return (
        {"series_id": series_id, "metric_name": f"spend-{series_id}"}
        | dict(zip(("metric_type", "temporality", "is_monotonic"), kind, strict=True))
        | {"cluster_id": "default", "node_id": "default"}
        | dict.fromkeys(texts, "")
        | dict.fromkeys(documents, "{}")
    )


@contextmanager
def old_sqlite(folder: Path) -> Iterator[Backend]:
    with closing(sqlite3.connect(folder / "store.db")) as connection, connection:
        dump = Path(__file__).parent / "sqlite_0003.sql"
        connection.executescript(dump.read_text(encoding="utf-8"))
        for table in ("metric_series", "cost_entries", "cost_cursors"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - fixed names

        def insert(table: str, row: dict[str, object]) -> None:
            marks = ", ".join("?" * len(row))
            connection.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})",  # noqa: S608
                tuple(row.values()),
            )

        fill(insert, amount=units_and_nanos)
    yield KINDS["sqlite"].make(str(folder))


def units_and_nanos(amount: str) -> dict[str, object]:
    units, nanos = divmod(int(Decimal(amount).scaleb(9)), 10**9)
    return {"amount_units": units, "amount_nanos": nanos}


@contextmanager
def old_postgresql(dsn: str) -> Iterator[Backend]:
    with autocommitting(dsn) as connection:
        create_schema(connection, DailyPartitions.partition_clause)
    with closing(psycopg2.connect(dsn)) as connection:
        create_partitions(connection, "cost_entries", [T // DAY, T // DAY + 1])
    with autocommitting(dsn) as connection:
        fill(inserting(connection), amount=lambda amount: {"amount": amount})
    yield KINDS["postgresql"].make(dsn)


@contextmanager
def old_timescaledb(dsn: str) -> Iterator[Backend]:
    with autocommitting(dsn) as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        create_schema(connection, "")
        capabilities = capabilities_of(connection)
        with connection.cursor() as cursor:
            for table in ("cost_entries", "system_metrics"):
                create_hypertable(cursor, capabilities, table, SECONDS_PER_DAY)
            create_rollups(cursor, capabilities)
        fill(inserting(connection), amount=lambda amount: {"amount": amount})
    yield KINDS["timescaledb"].make(dsn)


def create_schema(connection: Connection, partition_clause: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE schema_migrations (version integer PRIMARY KEY,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for migration in released():
            cursor.execute(migration.sql.replace("{{partitioned}}", partition_clause))
            cursor.execute("INSERT INTO schema_migrations VALUES (%s)", (migration.version,))


def inserting(connection: Connection) -> Insert:
    def insert(table: str, row: dict[str, object]) -> None:
        values = [
            from_micros(value) if name.endswith("timestamp") and isinstance(value, int) else value
            for name, value in row.items()
        ]
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join(["%s"] * len(row))
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)  # noqa: S608

    return insert


@pytest.fixture(params=["sqlite", "postgresql", "timescaledb"])
def migrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    make = {"postgresql": old_postgresql, "timescaledb": old_timescaledb}
    if request.param == "sqlite":
        with old_sqlite(tmp_path) as backend, closing(backend):
            backend.start()
            yield backend
        return
    databases: Databases = request.getfixturevalue(f"{request.param}_server")
    with databases.fresh() as dsn, make[request.param](dsn) as backend, closing(backend):
        backend.start()
        yield backend


def selected(backend: Backend, table: str, columns: Iterable[str]) -> list[Row]:
    """The rows of a table, times in microseconds."""
    times = ("timestamp", "start", "earliest", "latest")
    expressions = [
        backend.dialect.micros.format(time=name)
        if name.startswith("period_") or name.endswith((*times, "_start"))
        else name
        for name in columns
    ]
    return list(backend.fetch(f"SELECT {', '.join(expressions)} FROM {table}"))  # noqa: S608


def test_entries_get_their_stream_period_and_source(migrated: Backend) -> None:
    columns = ("entry_id", "timestamp", "stream_start", "source_name", "period_start", "period_end")
    rows = selected(migrated, "cost_entries", columns)
    assert {row[:2]: row[2] for row in rows} == STREAMS_OF_ENTRIES
    for entry_id, time, _, source_name, *period in rows:
        _, _, series_id = entry_id.partition("-")
        has_definition = entry_id not in {"complete", "entry-10"}
        assert source_name == (f"spend-{series_id}" if has_definition else "")
        assert period == [None, time]
    assert selected(migrated, "cost_entries", ("point_count", "basis")) == [(None, None)] * 15


def test_amounts_are_those_of_the_old_store(migrated: Backend) -> None:
    reader = Reader(migrated)
    assert [(row["amount"], row["entries"]) for row in reader.cost_totals()] == [
        (Decimal("86.749999999"), 15)
    ]
    [complete] = [row for row in reader.query_historical_costs() if row["entry_id"] == "complete"]
    assert complete["amount"] == -1e-9


def test_cursors_become_streams(migrated: Backend) -> None:
    points = [
        (f"{kind}_timestamp", f"{kind}_start_timestamp", f"{kind}_value")
        for kind in ("last", "closed")
    ]
    starts = ("earliest_start", "latest_start")
    columns = ("series_id", "stream_start", *starts, *points[0], *points[1])
    assert {
        row[:2]: tuple(None if part[0] is None else part for part in (row[2:4], row[4:7], row[7:]))
        for row in selected(migrated, "cost_streams", columns)
    } == STREAMS
    others = ("has_fall", "is_split", "last_count", "closed_count", "zero_length_points")
    assert set(selected(migrated, "cost_streams", (*others, "lone_start"))) == {
        (False, False, None, None, 0, None)
    }
