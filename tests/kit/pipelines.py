"""Pipelines into a SQLite file with a spool beside it, and the requests that are sent to them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from exporter.assembly import pipeline_for
from exporter.backends.base import Backend
from exporter.backends.sqlite import SQLiteBackend
from exporter.config import load
from exporter.pipeline import Pipeline
from exporter.spool import Spool

NOW = time.time_ns()
DAY_SECONDS = 86_400
# A batch interval that no test waits for.
NEVER_SECONDS = 3600.0

_SETTINGS = replace(load(None, {}).exporter, max_future_days=36_500.0)


def request(
    points: int, seconds: float = 0, *, series: int = 0, first_unix_nano: int | None = None
) -> bytes:
    """A request with points of one gauge, a millisecond apart.

    Args:
        points: how many.
        seconds: of the first one, after NOW.
        series: number of the gauge.
        first_unix_nano: time of the first one, instead of `seconds`.
    """
    first = NOW + round(seconds * 10**9) if first_unix_nano is None else first_unix_nano
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name=f"m{series}")
    for index in range(points):
        time_unix_nano = first + index * 1_000_000
        metric.gauge.data_points.add(time_unix_nano=time_unix_nano, as_double=index)
    return message.SerializeToString()


def spool_beside(path: Path, max_bytes: int = 10**9) -> Spool:
    """The spool of the store at this path."""
    return Spool(path.with_suffix(".spool"), max_bytes=max_bytes, retry_window_seconds=3600.0)


def build_pipeline(backend: Backend, spool: Spool | None = None, **settings: Any) -> Pipeline:
    """A pipeline with these settings, and the defaults of all others.

    Points may have any time, and neither retention nor the memory limit counts unless it is set.
    """
    return pipeline_for(
        replace(_SETTINGS, **settings),
        backend,
        spool,
        memory_limited="memory_limit_mib" in settings,
        deletes_expired="retention_days" in settings,
    )


def pipeline_to(path: Path, spool: Spool | None = None, **settings: Any) -> Pipeline:
    """A pipeline into the file at this path; writes when a batch is full, and when it is told to.

    It soon gives up waiting for a lock of the file.
    """
    backend = SQLiteBackend(f"sqlite:///{path}", busy_timeout_seconds=0.05)
    settings = {"batch_interval_seconds": NEVER_SECONDS, **settings}
    return build_pipeline(backend, spool, **settings)


def spooled_pipeline_to(path: Path, **settings: Any) -> Pipeline:
    """A pipeline of that kind with its spool beside the file."""
    return pipeline_to(path, spool_beside(path), **settings)


def started(pipeline: Pipeline) -> Pipeline:
    """Start a pipeline and return it."""
    pipeline.start()
    return pipeline


def query_file(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in the SQLite file at this path, commit, and return its rows."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def stored(path: Path, table: str = "system_metrics") -> int:
    """The number of rows in a table of the store at this path."""
    [(rows,)] = query_file(path, f"SELECT count(*) FROM {table}")  # noqa: S608 - a test's table
    return int(rows)


@contextmanager
def write_locked(path: Path) -> Iterator[None]:
    """Hold the write lock of a database, as another program may."""
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the database, so that it can neither be read nor written."""
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("CREATE TABLE held (a)")
        yield
        holder.execute("ROLLBACK")


def abandon(pipeline: Pipeline, path: Path) -> None:
    """Stop a pipeline as a crash does: what it has not written yet stays unwritten."""
    with write_locked(path):
        assert not pipeline.shutdown(timeout_seconds=0.5)


def wait_until(condition: Callable[[], bool], timeout_seconds: float = 30.0) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)
