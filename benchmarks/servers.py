"""Servers to measure on: the named one, or the PostgreSQL of the tests with durable commits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg2

from benchmarks.databases import Database
from exporter.backends.base import Backend

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from engines.databases import Databases
from engines.postgresql import PostgreSQLServer

# Background jobs would compress and refresh during a measurement.
_STOP_JOBS: Final = """
    SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs
    WHERE hypertable_name IS NOT NULL"""
# The size of a small production server. No checkpoint may start during one side of a comparison.
_SETTINGS: Final = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}


@contextmanager
def postgresql_databases(dsn: str | None) -> Iterator[Databases]:
    """Temporary databases on the named server, or on one that is started for the block.

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
    """The backend, started inside the block."""
    backend.start()
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def session(dsn: str) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor of a new connection with autocommit."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor


@contextmanager
def fresh_store(
    database: Database, server: str | None
) -> Iterator[tuple[Backend, psycopg2.extensions.cursor]]:
    """A started backend on a new database, and a cursor; jobs of TimescaleDB are off."""
    with (
        postgresql_databases(server) as databases,
        databases.fresh() as dsn,
        started(database.open(dsn)) as backend,
        session(dsn) as cursor,
    ):
        if database.is_compressed:
            cursor.execute(_STOP_JOBS)
        yield backend, cursor
