"""Servers to measure on: the caller's, or the tests' own PostgreSQL with commits that are durable.

The `engines` of the tests are borrowed; nothing else of the tests is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg2

from benchmarks.kinds import Kind
from exporter.backends.base import Backend

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from engines.databases import Databases
from engines.postgresql import PostgreSQLServer

__all__ = ["Databases", "fresh_store", "postgresql_databases", "session", "started"]

# They would compress and refresh what a benchmark does as well.
_STOP_JOBS: Final = """
    SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs
    WHERE hypertable_name IS NOT NULL"""
# What a small production server has. No checkpoint falls into one side of a comparison only.
_SETTINGS: Final = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}


@contextmanager
def postgresql_databases(dsn: str | None) -> Iterator[Databases]:
    """Throw-away databases on the named server, or on one that lives as long as the block.

    Raises:
        EngineError: the server cannot be started or does not answer.
    """
    if dsn is not None:
        yield Databases(dsn)
        return
    with PostgreSQLServer(fsync=True, settings=_SETTINGS) as server:
        yield server.databases


@contextmanager
def started(backend: Backend) -> Iterator[Backend]:
    """The backend, open for the length of the block."""
    backend.start()
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def session(dsn: str) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor of a connection of one's own, every statement a transaction."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor


@contextmanager
def fresh_store(
    kind: Kind, server: str | None
) -> Iterator[tuple[Backend, psycopg2.extensions.cursor]]:
    """A started backend on a new database, and a cursor beside it; no job of TimescaleDB runs."""
    with (
        postgresql_databases(server) as databases,
        databases.fresh() as dsn,
        started(kind.open(dsn)) as backend,
        session(dsn) as cursor,
    ):
        if kind.is_compressed:
            cursor.execute(_STOP_JOBS)
        yield backend, cursor
