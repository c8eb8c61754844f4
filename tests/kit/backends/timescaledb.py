"""A started backend `timescaledb`, and its policies, which run only when a test runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Final

import pytest
from engines.statements import Connection, execute

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend
from exporter.backends.timescaledb.extension import Capabilities, read_capabilities
from exporter.errors import BackendRefusedError
from exporter.model import Batch, TableSize
from kit.backends.postgresql import autocommitting
from kit.backends.samples import batch_of_every_kind, cost
from kit.backends.stored_rows import FACT_TABLES

COMPRESSING: Final = HypertableOptions(enable_compression=True, retention_days=30, rollups=False)
# Late points update cost entries, so these are not compressed.
COMPRESSED_TABLES: Final = [table for table in FACT_TABLES if table != "cost_entries"]
_DEFAULT_OPTIONS: Final = HypertableOptions()


@pytest.fixture
def connection(timescaledb_database: str) -> Iterator[Connection]:
    """A connection to the test's database that commits each statement."""
    with autocommitting(timescaledb_database) as opened:
        yield opened


@contextmanager
def started_timescaledb(
    dsn: str, options: HypertableOptions = _DEFAULT_OPTIONS
) -> Iterator[PostgreSQLBackend]:
    """A started backend, closed at the end."""
    with closing(timescaledb_backend(dsn, options=options)) as backend:
        backend.start()
        yield backend


def row_of_every_table(time: int) -> Batch:
    """One row for each fact table."""
    return batch_of_every_kind(time, costs=(cost(f"e-{time}", "1", time_unix_nano=time),))


def fact_sizes(backend: PostgreSQLBackend) -> tuple[TableSize, ...]:
    """The sizes of the fact tables."""
    return backend.sizes().tables[: len(FACT_TABLES)]


def points_size(backend: PostgreSQLBackend) -> TableSize:
    """The size of `system_metrics`."""
    return fact_sizes(backend)[0]


def capabilities_of(connection: Connection) -> Capabilities:
    """What the extension of the database offers."""
    with connection.cursor() as cursor:
        found = read_capabilities(cursor)
    assert found is not None
    return found


def policy_ages(connection: Connection, table: str) -> dict[str, timedelta]:
    """The age in each policy of a table, by its procedure."""
    return dict(
        execute(
            connection,
            "SELECT proc_name, coalesce(config ->> 'drop_after', config ->> 'compress_after')"
            "::interval FROM timescaledb_information.jobs WHERE hypertable_name = %s"
            " AND proc_name IN ('policy_retention', 'policy_compression')",
            (table,),
        )
    )


def run_policy(connection: Connection, table: str, procedure: str) -> None:
    """Run the job of a policy, as the background workers of a server would."""
    [(job,)] = execute(
        connection,
        "SELECT job_id FROM timescaledb_information.jobs"
        " WHERE hypertable_name = %s AND proc_name = %s",
        (table, procedure),
    )
    execute(connection, f"CALL run_job({job})")


def assert_start_fails(dsn: str, match: str, *, read_only: bool = False) -> None:
    """`start` refuses the database with this message."""
    backend = timescaledb_backend(dsn, read_only=read_only)
    with closing(backend), pytest.raises(BackendRefusedError, match=match):
        backend.start()
