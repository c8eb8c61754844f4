"""What openfinops 0.3.0 has stored by itself comes into every backend, and nothing is invented."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.processes import DEADLINE_SECONDS, environment, run

from exporter import PersistenceConfig, StorageBackend
from exporter.backends.sqlite import SQLiteBackend
from exporter.errors import BackendUnavailableError
from exporter.model import Batch, WriteResult
from exporter.openfinops import PersistenceBackend, v030_import
from exporter.openfinops.otlp_requests import LAST_MICROS
from exporter.openfinops.v030_import import import_records, verify
from exporter.openfinops.v030_store import V030Store, open_v030_store
from exporter.openfinops.v030_tables import TABLES
from exporter.query.times import TimeRange, time_micros

ALL = TimeRange(None, None)
START = 1795000000.0

STORING = """
import json, sys
sys.path.append({folder!r})
from openfinops.observability.persistence import (
    PersistenceConfig, StorageBackend, create_persistence_backend)

store = create_persistence_backend(
    PersistenceConfig(StorageBackend({backend!r}), connection_string={place!r}))
for kind, records in json.load(sys.stdin).items():
    for record in records:
        getattr(store, "store_" + kind)(record)
store.close()
"""

NODES = [
    {
        "timestamp": START + at * 7.25,
        "cluster_id": "production",
        "node_id": f"node-{at % 3}",
        "cpu_usage": at + 0.5,
        "memory_usage": 63.0,
        "disk_usage": None,
        "gpu_usage": 0.1,
        "network_io": {"in": 12.5, "out": at},
        "throughput": 1e-9,
        "latency_p50": 1.5,
        "latency_p95": 9.25,
        "latency_p99": 20.125,
        "error_rate": 0.0,
        "cost_per_hour": 3.06,
        "health_status": "healthy",
        "temperature": 61.5,
        "labels": {"rack": "b7", "größe": ["1", None]},
    }
    for at in range(20)
]
SERVICES = [
    {
        "timestamp": START + at,
        "service_name": "trainer",
        "status": "up",
        "uptime": 5.0 * at,
        "request_rate": 10.0,
        "response_time": 3.0,
        "success_rate": 99.0,
        "training_jobs_active": 1,
        "restart_count": at,
        "dependency_health": {"db": "up"},
    }
    for at in range(5)
]
ALERTS = [
    {
        "timestamp": START + at,
        "type": "hot",
        "severity": "critical",
        "cluster_id": "production",
        "resource_id": "node-1",
        "value": 91.5,
        "description": "it is hot",
        "acknowledged": False,
        "resolved": bool(at),
        "threshold": 85.0,
    }
    for at in range(2)
]
COSTS = [
    {
        "entry_id": f"e-{at}",
        "timestamp": START - at,
        "resource_id": "i-1",
        "category": "gpu",
        "amount": amount,
        "currency": "USD",
        "region": "us-east-1",
        "tags": {"team": "search"},
        "description": "a card",
        "billing_period": "daily",
    }
    for at, amount in enumerate((1234567.89, 0.1, 0.2))
]
GIVEN: dict[str, list[dict[str, Any]]] = {
    "system_metric": NODES,
    "service_metric": SERVICES,
    "alert": ALERTS,
    "cost_entry": COSTS,
}
# What its statements for PostgreSQL leave out.
NOT_IN_POSTGRESQL = ("network_io", "latency_p50", "latency_p99", "temperature", "labels")


def store_with(openfinops: Path, backend: str, place: str, records: dict[str, Any]) -> None:
    """Let the published package store records in tables of its own."""
    program = STORING.format(folder=str(openfinops), backend=backend, place=place)
    subprocess.run(
        [sys.executable, "-c", program],
        env=environment(PYTHONWARNINGS="ignore"),
        input=json.dumps(records),
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In which an interface that stores in a server keeps its spool.
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def made_once(openfinops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "openfinops_telemetry.db"
    store_with(openfinops, "sqlite", f"sqlite:///{path}", GIVEN)
    return path


@pytest.fixture
def published(made_once: Path, tmp_path: Path) -> Path:
    """A file of openfinops' own, with all of GIVEN in it."""
    return Path(shutil.copy(made_once, tmp_path / "theirs.db"))


@pytest.fixture(params=["sqlite", "postgresql", "timescaledb"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[StorageBackend, str]:
    name: str = request.param
    if name == "sqlite":
        return StorageBackend.SQLITE, f"sqlite:///{tmp_path}/ours.db"
    return StorageBackend(name), request.getfixturevalue(f"{name}_database")


def migrate(
    tmp_path: Path, source: str, target: tuple[StorageBackend, str], *more: str
) -> tuple[int, str, str]:
    backend, place = target
    done = run(
        *("migrate", "--from", source, "--to", place, "--to-backend", backend.value, *more),
        cwd=tmp_path,
    )
    return done.returncode, done.stdout, done.stderr


def ours(tmp_path: Path) -> tuple[StorageBackend, str]:
    return StorageBackend.SQLITE, f"sqlite:///{tmp_path}/ours.db"


def stored(target: tuple[StorageBackend, str]) -> dict[str, list[dict[str, Any]]]:
    """What our own interface answers, oldest first, in the shape of GIVEN."""
    with PersistenceBackend(PersistenceConfig(*target, retention_days=36_500)) as backend:
        found = {
            "system_metric": backend.query_system_metrics(),
            "service_metric": backend.query_service_metrics(),
            "alert": backend.query_alerts(),
            "cost_entry": backend.query_cost_entries(),
        }
    return {kind: records[::-1] for kind, records in found.items()}


def assert_costs(found: list[dict[str, Any]], given: list[dict[str, Any]]) -> None:
    for entry, wanted in zip(found, sorted(given, key=lambda one: one["timestamp"]), strict=True):
        assert {name: entry[name] for name in wanted} == wanted


def test_every_field_of_every_record_comes_along(
    published: Path, tmp_path: Path, target: tuple[StorageBackend, str]
) -> None:
    before = published.read_bytes()
    code, said, notes = migrate(tmp_path, published.name, target)
    assert code == 0, notes
    assert notes.splitlines() == [
        f"{published} has the tables of openfinops itself",
        "system_metrics: 20 records copied",
        "service_metrics: 5 records copied",
        "alerts: 2 records copied",
        "cost_entries: 3 records copied",
    ]
    assert "Every day of every table has the same rows and sums in both." in said
    found = stored(target)
    for kind in ("system_metric", "service_metric", "alert"):
        assert found[kind] == GIVEN[kind]
    assert_costs(found["cost_entry"], COSTS)
    assert published.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("theirs.db*")) == ["theirs.db"]


@pytest.mark.parametrize("name", ["postgresql", "timescaledb"])
def test_its_databases_are_read_too(
    openfinops: Path, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue(f"{name}_database")
    store_with(openfinops, name, place, GIVEN)
    target = ours(tmp_path)
    code, _, notes = migrate(tmp_path, place, target, "--from-backend", name)
    assert code == 0, notes
    assert notes.splitlines()[1:] == [
        "system_metrics: 20 records copied",
        "cost_entries: 3 records copied",
    ]
    found = stored(target)
    for record, wanted in zip(found["system_metric"], NODES, strict=True):
        kept = {key: value for key, value in wanted.items() if key not in NOT_IN_POSTGRESQL}
        assert {key: record[key] for key in kept} == kept
    # The precision of its columns.
    assert [entry["amount"] for entry in found["cost_entry"]] == [0.2, 0.1, 1234567.9]


def test_numbers_are_gauges(published: Path, tmp_path: Path) -> None:
    assert migrate(tmp_path, published.name, ours(tmp_path))[0] == 0
    asked = run(
        *("query", "metrics", "--metric", "openfinops.system.network_io", "--attr", "key=out"),
        *("--db", "ours.db", "--start", "3000d", "--format", "json"),
        cwd=tmp_path,
    )
    assert asked.returncode == 0, asked.stderr
    assert sorted(row["value"] for row in json.loads(asked.stdout)) == list(range(20))


def test_run_again_it_copies_what_is_new(
    openfinops: Path, published: Path, tmp_path: Path, target: tuple[StorageBackend, str]
) -> None:
    assert migrate(tmp_path, published.name, target)[0] == 0
    more = {**NODES[0], "timestamp": START + 10_000}
    store_with(openfinops, "sqlite", f"sqlite:///{published}", {"system_metric": [more]})
    code, _, notes = migrate(tmp_path, published.name, target)
    assert code == 0
    assert [line.partition(": ")[2] for line in notes.splitlines()[1:]] == [
        "1 records copied",
        *["0 records copied"] * 3,
    ]
    assert stored(target)["system_metric"] == [*NODES, more]


def test_a_period_is_copied_alone(published: Path, tmp_path: Path) -> None:
    since, until = (str(START + seconds) for seconds in (14.5, 29))
    code, _, notes = migrate(
        tmp_path, published.name, ours(tmp_path), "--since", since, "--until", until
    )
    assert code == 0, notes
    assert stored(ours(tmp_path))["system_metric"] == NODES[2:4]


def test_rows_that_cannot_be_are_named_and_the_others_come(published: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(published)) as connection, connection:
        for change in (
            "UPDATE system_metrics SET metadata = '{' WHERE id = 2",
            "UPDATE system_metrics SET network_io = '[1]' WHERE id = 3",
            "UPDATE system_metrics SET timestamp = timestamp * 1000 WHERE id = 4",
            "UPDATE system_metrics SET timestamp = 'yesterday' WHERE id = 5",
            "UPDATE service_metrics SET timestamp = -1 WHERE id = 1",
            r"""UPDATE service_metrics SET metadata = '{"a": "\ud800"}' WHERE id = 2""",
            "UPDATE cost_entries SET currency = 'XQQ' WHERE id = 2",
            "UPDATE alerts SET alert_type = CAST(x'ff41' AS TEXT) WHERE id = 1",
        ):
            connection.execute(change)
    code, said, notes = migrate(tmp_path, published.name, ours(tmp_path))
    assert code == 1
    warnings = [line for line in notes.splitlines() if line.startswith("warning: ")]
    assert [line.removeprefix("warning: ").partition(": ")[0] for line in warnings] == [
        *(f"system_metrics, id {row_id}" for row_id in (4, 5, 2, 3)),
        "service_metrics, id 1",
        "cost_entries, id 2",
    ]
    assert "XQQ" in warnings[-1]
    assert "is not a number of seconds from 1970 to 2262" in warnings[0]
    assert "its metadata is not JSON" in warnings[2]
    assert "error: migrate: 6 rows of" in notes
    assert "system_metrics: 4, service_metrics: 1, cost_entries: 1" in notes
    assert "Every day of every table has the same rows and sums in both." in said
    found = stored(ours(tmp_path))
    assert found["system_metric"] == [NODES[0], *NODES[5:]]
    assert [record.get("a") for record in found["service_metric"]] == ["\ud800", None, None, None]
    assert [record["type"] for record in found["alert"]] == ["\N{REPLACEMENT CHARACTER}A", "hot"]
    assert len(found["cost_entry"]) == 2


def test_what_is_missing_at_the_end_is_told(published: Path, tmp_path: Path) -> None:
    assert migrate(tmp_path, published.name, ours(tmp_path))[0] == 0
    with closing(sqlite3.connect(tmp_path / "ours.db")) as connection, connection:
        connection.execute("UPDATE cost_entries SET amount_units = 1 WHERE entry_id = 'e-1'")
        connection.execute(
            "DELETE FROM metric_exemplars WHERE timestamp = (SELECT MIN(timestamp) "
            "FROM metric_exemplars)"
        )
    code, said, notes = migrate(tmp_path, published.name, ours(tmp_path))
    assert code == 1
    assert "days differ" in notes
    assert re.findall(r"(\w+) +│ +20\d\d", said) == [
        *("system_metrics", "service_metrics", "alerts", "cost_entries")
    ]


def test_its_tables_are_no_target(
    openfinops: Path, published: Path, tmp_path: Path, postgresql_database: str
) -> None:
    store_with(openfinops, "postgresql", postgresql_database, {})
    shutil.copy(published, tmp_path / "other.db")
    for place in (postgresql_database, "other.db"):
        done = run("migrate", "--from", published.name, "--to", place, cwd=tmp_path)
        assert done.returncode == 1
        assert re.search("another program owns a table|belongs to another program", done.stderr)
    with closing(psycopg2.connect(postgresql_database)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM system_metrics")
        assert cursor.fetchall() == [(0,)]


class Failing(SQLiteBackend):
    """Breaks when it is told to: before a page is stored, or just after."""

    breaks: Iterator[str]

    def write(self, batch: Batch) -> WriteResult:
        what = next(self.breaks)
        if what == "before":
            raise BackendUnavailableError("gone before the commit")
        result = super().write(batch)
        if what == "after":
            raise BackendUnavailableError("gone after the commit")
        return result


@pytest.mark.parametrize("how", ["before", "after"])
def test_an_interrupted_copy_goes_on_where_it_was(
    published: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(v030_import, "_PAGE_ROWS", 3)
    target = Failing(f"sqlite:///{tmp_path}/ours.db")
    attempts = 0
    with opened(published) as source, closing(target):
        target.start()
        while True:
            attempts += 1
            target.breaks = iter(["stored", "stored", how])
            try:
                list(import_records(source, target))
                break
            except BackendUnavailableError:
                continue
        assert list(verify(source, target)) == []
        rows = target.fetch("SELECT COUNT(*) FROM metric_exemplars")
    assert attempts > 3
    assert rows == [(len(NODES) + len(SERVICES) + len(ALERTS),)]
    assert stored(ours(tmp_path))["system_metric"] == NODES


def opened(path: Path) -> AbstractContextManager[Any]:
    return open_v030_store("sqlite", f"sqlite:///{path}")


NEAR = st.integers(1, 40).map(lambda quarter: START + quarter * 2.0**-22)
USABLE = st.one_of(NEAR, st.floats(1e-6, LAST_MICROS / 1e6))
# SQLite keeps a NaN as NULL, which its column refuses.
TIMES = st.one_of(USABLE, st.floats(allow_nan=False))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(TIMES, max_size=40),
    st.integers(1, 5),
    st.tuples(USABLE, USABLE),
)
def test_pages_hold_every_row_once_and_part_no_microsecond(
    times: list[float], rows: int, ends: tuple[float, float]
) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE service_metrics (id INTEGER PRIMARY KEY, timestamp REAL)")
        others = ("service_name", "status", "uptime", "request_rate", "response_time")
        for column in (*others, "success_rate", "training_jobs_active", "metadata"):
            connection.execute(f"ALTER TABLE service_metrics ADD COLUMN {column}")
        connection.executemany(
            "INSERT INTO service_metrics (timestamp) VALUES (?)", [(time,) for time in times]
        )

        def answer(statement: str, values: Any) -> list[tuple[Any, ...]]:
            return connection.execute(statement, tuple(values)).fetchall()

        source = V030Store("here", answer, placeholder="?", exists_sql="")
        (table,) = (table for table in TABLES if table.name == "service_metrics")
        pages = list(source.pages(table, ALL, rows=rows))
        found = [row.id for page in pages for row in page.rows]
        left_out = [row_id for row_id, _ in source.rows_with_invalid_time(table)]
        assert sorted(found + left_out) == list(range(1, len(times) + 1))
        micros = {row.id: row.micro for page in pages for row in page.rows}
        assert list(micros.values()) == sorted(micros.values())
        for page, later in pairwise(pages):
            assert page.last_micros < later.rows[0].micro
        start, end = sorted(time_micros(one, "end") for one in ends)
        some = [
            row.id
            for page in source.pages(table, TimeRange(start, end), rows=rows)
            for row in page.rows
        ]
        assert some == [row_id for row_id in found if start <= micros[row_id] < end]
