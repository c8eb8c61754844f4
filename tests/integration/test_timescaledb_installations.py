"""Installations of TimescaleDB: older versions, the Apache license, and no extension at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Final

import psycopg2
import pytest
from engines.databases import Databases
from engines.statements import Connection, execute
from engines.timescaledb import WITHOUT_EXTENSION
from kit.backends.postgresql import autocommitting, run
from kit.backends.samples import NOW, SECOND, batch_of, flood, point
from kit.backends.stored_rows import count, stored
from kit.backends.timescaledb import (
    COMPRESSING,
    assert_start_fails,
    capabilities_of,
    points_size,
    policy_ages,
    row_of_every_table,
    run_policy,
    started_timescaledb,
)

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.postgresql.schema import migrate
from exporter.backends.timescaledb import timescaledb_backend
from exporter.backends.timescaledb.extension import require_extension
from exporter.backends.timescaledb.hypertable_setup import configure_hypertables
from exporter.errors import BackendRefusedError, NothingStoredError
from exporter.model import Batch

DAY: Final = 86_400 * SECOND


SETUP_LOG: Final = "exporter.backends.timescaledb.hypertable_setup"


MISSING_CAPABILITIES: Final[Sequence[dict[str, bool]]] = (
    {"has_by_range": False},
    {"has_columnstore_names": False},
    {"has_by_range": False, "has_columnstore_names": False, "has_direct_compress_copy": False},
)


@pytest.mark.parametrize("lacking", MISSING_CAPABILITIES, ids="-".join)
def test_statements_for_older_versions_have_the_same_effect(
    timescaledb_database: str, connection: Connection, lacking: dict[str, bool]
) -> None:
    capabilities = replace(capabilities_of(connection), **lacking)
    with closing(psycopg2.connect(timescaledb_database)) as setting_up:
        migrate(setting_up, "here", partition_clause="")
        configure_hypertables(setting_up, capabilities, COMPRESSING, "here")
        configure_hypertables(setting_up, capabilities, COMPRESSING, "here")
    with started_timescaledb(timescaledb_database, COMPRESSING) as backend:
        backend.write(Batch(points=flood(1_000)))
        run_policy(connection, "system_metrics", "policy_compression")
        assert points_size(backend).compressed_partitions == 1
        assert count(backend) == 1_000
    assert policy_ages(connection, "system_metrics") == {
        "policy_retention": timedelta(days=30),
        "policy_compression": timedelta(days=1),
    }


def test_the_apache_license_stores_reads_deletes_and_warns_once(
    timescaledb_apache_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, SETUP_LOG),
        started_timescaledb(timescaledb_apache_database, COMPRESSING) as backend,
    ):
        backend.write(row_of_every_table(NOW))
        backend.write(row_of_every_table(NOW + 3 * DAY))
        backend.write(Batch(points=flood(20_000, time=NOW + 3 * DAY + SECOND)))
        points = points_size(backend)
        assert (points.rows, points.partitions, points.compressed_partitions) == (20_002, 2, None)
        assert backend.delete_before(NOW + 2 * DAY) == 5
        assert count(backend) == 20_001
    assert len(caplog.messages) == 1
    assert "Apache license" in caplog.messages[0]


def test_a_server_without_timescaledb_is_refused(postgresql_database: str) -> None:
    assert_start_fails(
        postgresql_database, "server has no TimescaleDB.*superuser run CREATE EXTENSION"
    )
    with autocommitting(postgresql_database) as connection:
        assert execute(connection, "SELECT to_regclass('system_metrics')") == [(None,)]


def test_a_server_without_timescaledb_is_refused_for_reading(postgresql_database: str) -> None:
    with closing(PostgreSQLBackend(postgresql_database)) as backend:
        backend.start()
    assert_start_fails(postgresql_database, "server has no TimescaleDB", read_only=True)


def test_an_available_extension_is_created(timescaledb_server: Databases) -> None:
    with timescaledb_server.fresh(WITHOUT_EXTENSION) as dsn:
        with autocommitting(dsn) as connection:
            execute(connection, "DROP ROLE IF EXISTS openfinops_test_clerk")
            execute(connection, "CREATE ROLE openfinops_test_clerk")
            execute(connection, "SET ROLE openfinops_test_clerk")
            connection.autocommit = False
            with pytest.raises(
                BackendRefusedError, match=r"permission denied.*superuser.*run CREATE EXTENSION"
            ):
                require_extension(connection, "here")
            connection.rollback()
            execute(connection, "RESET ROLE")
            connection.commit()
            with pytest.raises(BackendRefusedError, match="opened for reading only"):
                require_extension(connection, "here", may_create=False)
        with started_timescaledb(dsn) as backend:
            backend.write(batch_of(point(1)))
            assert points_size(backend).partitions == 1


def test_a_reader_refuses_tables_that_are_not_hypertables(timescaledb_database: str) -> None:
    with closing(PostgreSQLBackend(timescaledb_database)) as backend:
        backend.start()
    assert_start_fails(
        timescaledb_database, r"system_metrics.* must be converted to hypertables", read_only=True
    )


def test_a_reader_reads_and_does_not_write(timescaledb_database: str) -> None:
    with started_timescaledb(timescaledb_database) as backend:
        backend.write(row_of_every_table(NOW))
        reader = timescaledb_backend(timescaledb_database, read_only=True)
        reader.start()
        assert stored(reader) == stored(backend)
        assert points_size(reader).rows == 1
        with pytest.raises(BackendRefusedError, match="reading only"):
            reader.write(row_of_every_table(NOW))
        reader.close()


def test_errors_name_the_backend(timescaledb_database: str) -> None:
    backend = timescaledb_backend(timescaledb_database)
    name = f"^timescaledb {backend.location}: "
    with pytest.raises(BackendRefusedError, match=f"{name}it is not open"):
        backend.fetch("SELECT 1")
    reader = timescaledb_backend(timescaledb_database, read_only=True)
    with pytest.raises(NothingStoredError, match=f"{name}there is nothing yet"):
        reader.start()
    with started_timescaledb(timescaledb_database) as backend:
        with pytest.raises(BackendRefusedError, match=f"{name}reading failed: relation"):
            backend.fetch("SELECT * FROM nowhere")
        with pytest.raises(BackendRefusedError, match=f"{name}reading failed: .* a semicolon"):
            backend.fetch("SELECT 1; SELECT 2")
        run(timescaledb_database, "INSERT INTO schema_migrations (version) VALUES (99)")
    assert_start_fails(timescaledb_database, f"{name}its schema has version 99")
