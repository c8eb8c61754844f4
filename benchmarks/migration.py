"""`migrate`: a SQLite file into PostgreSQL, against a bare COPY of the same rows.

The baseline has the rows ready as binary streams, sorted, in pieces of the size of a page of
`migrate`, and copies them into the tables of the same migrations. Ours reads the file, and stores a
watermark with each page; then both are asked for counts and sums, and must not differ.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks.bare_copy import seconds_to_copy
from benchmarks.kinds import POSTGRESQL
from benchmarks.measure import Result
from benchmarks.options import Options
from benchmarks.servers import Databases, postgresql_databases, session, started
from benchmarks.stored import batches
from exporter.backends import open_backend
from exporter.backends.base import Backend
from exporter.backends.postgresql.binary_copy import binary_copy_streams
from exporter.model import Batch, Points
from exporter.transfer import copy, differences
from exporter.transfer.copier import ALL_TIMES, PAGE_ROWS

__all__ = ["run"]

# Fewer are copied several times, in turns with the baseline: a second of other work fell into one
# side alone and made 0.52 of 0.8.
_ROWS_ENOUGH: Final = 3_000_000
_FIRST: Final = np.zeros(1, np.intp)


def run(options: Options) -> list[Result]:
    """Copying alone, and with its proof."""
    rows = options.rows
    with (
        tempfile.TemporaryDirectory() as folder,
        postgresql_databases(options.pg_dsn) as databases,
        started(
            open_backend("sqlite", f"sqlite:///{folder}/from.db", max_memory_entries=0)
        ) as source,
    ):
        for batch in batches(rows):
            source.write(batch)
        turns = [
            (*_migrate(source, databases, rows), _bare(databases, rows))
            for _ in range(max(1, _ROWS_ENOUGH // rows))
        ]
    copying, proving, bare = map(min, zip(*turns, strict=True))
    name = "migrate SQLite to PostgreSQL"
    return [
        Result(name, rows, copying, "COPY", bare, 0.5),
        Result(f"{name}, proof included", rows, copying + proving, "COPY", bare, 0.5),
    ]


def _migrate(source: Backend, databases: Databases, rows: int) -> tuple[float, float]:
    """Seconds to copy, and to prove it."""
    with databases.fresh() as dsn, started(POSTGRESQL.open(dsn)) as target:
        began = time.perf_counter()
        copied = sum(one.rows for one in copy(source, target))
        copying = time.perf_counter() - began
        assert copied == rows
        began = time.perf_counter()
        assert not list(differences(source, target, ALL_TIMES))
        proving = time.perf_counter() - began
    return copying, proving


def _bare(databases: Databases, rows: int) -> float:
    seconds = 0.0
    with databases.fresh() as dsn:
        with started(POSTGRESQL.open(dsn)) as backend:  # makes the tables, and room for the days
            for batch in batches(rows):
                if batch.new_series:
                    backend.write(Batch(new_series=batch.new_series))
                backend.dry_run(Batch(points=batch.points.take(_FIRST)))
        with session(dsn) as cursor:
            for points in _pages(rows):
                seconds += seconds_to_copy(
                    cursor, [rows.read() for rows in binary_copy_streams(points)]
                )
            cursor.execute("SELECT count(*) FROM system_metrics")
            assert cursor.fetchall() == [(rows,)]
    return seconds


def _pages(rows: int) -> Iterator[Points]:
    waiting: list[Points] = []
    for batch in batches(rows):
        waiting.append(batch.points)
        if sum(map(len, waiting)) >= PAGE_ROWS:
            yield Points.concatenate(waiting)
            waiting = []
    yield Points.concatenate(waiting)
