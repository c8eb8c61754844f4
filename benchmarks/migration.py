"""`migrate`: a SQLite file into PostgreSQL, against a bare COPY of the same rows.

The baseline copies sorted, prepared binary streams, in pieces of the page size of `migrate`, into
tables of the same migrations. `migrate` reads the file and stores a watermark with each page. Then
counts and sums of both databases must be equal.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks.bare_copy import seconds_to_copy
from benchmarks.databases import POSTGRESQL
from benchmarks.measure import Result
from benchmarks.options import Options
from benchmarks.servers import Databases, postgresql_databases, session, started
from benchmarks.stored_rows import batches
from exporter.backends import open_backend
from exporter.backends.base import Backend
from exporter.backends.postgresql.binary_copy import binary_copy_streams
from exporter.model import Batch, Points
from exporter.transfer import copy, differences
from exporter.transfer.copier import ALL_TIMES, PAGE_ROWS

# Smaller tables are copied several times, in turns with the baseline: one second of other load
# during one side changed the ratio from 0.8 to 0.52.
_MIN_ROWS_COPIED: Final = 3_000_000
_FIRST: Final = np.zeros(1, np.intp)


def run(options: Options) -> list[Result]:
    """Measure the copy alone, and with its verification."""
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
            for _ in range(max(1, _MIN_ROWS_COPIED // rows))
        ]
    copy_seconds, verify_seconds, bare_seconds = map(min, zip(*turns, strict=True))
    name = "migrate SQLite to PostgreSQL"
    return [
        Result(name, rows, copy_seconds, "COPY", bare_seconds, 0.5),
        Result(
            f"{name}, proof included",
            rows,
            copy_seconds + verify_seconds,
            "COPY",
            bare_seconds,
            0.5,
        ),
    ]


def _migrate(source: Backend, databases: Databases, rows: int) -> tuple[float, float]:
    """Seconds to copy, and to verify the copy."""
    with databases.fresh() as dsn, started(POSTGRESQL.open(dsn)) as target:
        began = time.perf_counter()
        copied = sum(one.rows for one in copy(source, target))
        copy_seconds = time.perf_counter() - began
        assert copied == rows
        began = time.perf_counter()
        assert not list(differences(source, target, ALL_TIMES))
        verify_seconds = time.perf_counter() - began
    return copy_seconds, verify_seconds


def _bare(databases: Databases, rows: int) -> float:
    seconds = 0.0
    with databases.fresh() as dsn:
        with started(
            POSTGRESQL.open(dsn)
        ) as backend:  # creates the tables and the partitions of the days
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
