"""Cost entries that are derived from points, against a bare COPY or INSERT of the same rows.

A tenth as many series as entries, totals with a known start: every batch locks and reads the
streams of its series, computes the amounts, and stores entries and streams. The baseline writes the
same rows of `cost_entries` into the same table with its indexes, in transactions of the same size.
"""

from __future__ import annotations

import io
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Final

import psycopg2

from benchmarks.databases import POSTGRESQL
from benchmarks.measure import Result
from benchmarks.options import Options
from benchmarks.servers import fresh_store
from exporter.backends.base import Backend
from exporter.backends.sqlite import SQLiteBackend
from exporter.backends.sqlite.rows import stored_columns
from exporter.model import Batch, CostBasis, CostSample
from exporter.tables import COST_ENTRIES

_START: Final = 1_790_000_000_000_000_000
_INTERVAL: Final = 60_000_000_000
_ROUNDS: Final = 10
_BATCH_ROWS: Final = 10_000
# The goal is entries a second, which the note has: 25,000 on PostgreSQL and 30,000 on SQLite.
_TARGET: Final = 0.0
_Cursor = psycopg2.extensions.cursor


def run(options: Options) -> list[Result]:
    """Return one result for SQLite and one for PostgreSQL."""
    return [_sqlite(options.entries), _postgresql(options)]


def _sqlite(entries: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "costs.db"
        with closing(SQLiteBackend(path)) as backend:
            backend.start()
            seconds = _seconds_to_derive(backend, entries)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            baseline = _seconds_to_insert(connection)
    return _result("SQLite", entries, seconds, "executemany, same batches", baseline)


def _postgresql(options: Options) -> Result:
    with fresh_store(POSTGRESQL, options.pg_dsn) as (backend, cursor):
        seconds = _seconds_to_derive(backend, options.entries)
        baseline = _seconds_to_copy(cursor)
    return _result("PostgreSQL", options.entries, seconds, "COPY, same batches", baseline)


def _result(name: str, entries: int, seconds: float, baseline: str, other: float) -> Result:
    note = f"{entries / seconds:,.0f} entries/s"
    return Result(f"{name}: cost entries", entries, seconds, baseline, other, _TARGET, note)


def _seconds_to_derive(backend: Backend, entries: int) -> float:
    batches = list(_batches(entries))
    backend.dry_run(batches[0])  # creates the partition
    began = time.perf_counter()
    for batch in batches:
        backend.write(batch)
    seconds = time.perf_counter() - began
    [(rows,)] = backend.fetch("SELECT count(*) FROM cost_entries")
    assert rows == entries
    return seconds


def _batches(entries: int) -> Iterator[Batch]:
    bases = [_basis(number) for number in range(entries // _ROUNDS)]
    samples: list[CostSample] = []
    for round_number in range(_ROUNDS):
        for series, basis in enumerate(bases):
            at = _START + round_number * _INTERVAL + series
            value = 1.25 * (round_number + 1) + series * 0.01
            samples.append(CostSample(series, at, _START - _INTERVAL, value, basis))
            if len(samples) == _BATCH_ROWS:
                yield Batch(cost_samples=tuple(samples))
                samples = []
    if samples:
        yield Batch(cost_samples=tuple(samples))


def _basis(number: int) -> CostBasis:
    return CostBasis(
        "cumulative",
        Decimal(1),
        600.0,
        resource_id=f"resource-{number % 1_000}",
        category="compute",
        currency="USD",
        node_id=f"node-{number % 50}",
        service_name="checkout",
        tags=f'{{"team":"team-{number % 20}"}}',
        source_name="spend",
    )


def _seconds_to_copy(cursor: _Cursor) -> float:
    stored = io.BytesIO()
    cursor.copy_expert("COPY (SELECT * FROM cost_entries) TO STDOUT", stored)
    lines = stored.getvalue().splitlines(keepends=True)
    cursor.execute("TRUNCATE cost_entries")
    began = time.perf_counter()
    for begin in range(0, len(lines), _BATCH_ROWS):
        part = io.BytesIO(b"".join(lines[begin : begin + _BATCH_ROWS]))
        cursor.copy_expert("COPY cost_entries FROM STDIN", part)
    return time.perf_counter() - began


def _seconds_to_insert(connection: sqlite3.Connection) -> float:
    columns = ", ".join(stored_columns(COST_ENTRIES))
    rows = connection.execute(f"SELECT {columns} FROM cost_entries").fetchall()  # noqa: S608
    connection.execute("DELETE FROM cost_entries")
    places = ", ".join("?" * len(stored_columns(COST_ENTRIES)))
    insert = f"INSERT INTO cost_entries ({columns}) VALUES ({places})"  # noqa: S608
    began = time.perf_counter()
    for begin in range(0, len(rows), _BATCH_ROWS):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows[begin : begin + _BATCH_ROWS])
        connection.execute("COMMIT")
    return time.perf_counter() - began
