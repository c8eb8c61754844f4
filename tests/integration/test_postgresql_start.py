"""The start of the backend `postgresql`: roles, schemas, versions, and what it refuses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2
import pytest
from engines.databases import Databases
from engines.dsn import database_of, with_database
from engines.statements import execute
from kit.backends.postgresql import login_role, run, start_error, started, with_option, with_role
from kit.backends.samples import NOW, SECOND, batch_of, histogram, point, series
from kit.backends.stored_rows import count, stored_points

from exporter.backends.migration_files import load_migrations
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.postgresql.daily_partitions import DailyPartitions
from exporter.errors import BackendRefusedError, BackendUnavailableError
from exporter.model import Watermark, WriteResult

DAY = 86_400 * SECOND


@pytest.fixture
def role(postgresql_server: Databases, postgresql_database: str) -> Iterator[str]:
    with login_role(postgresql_server, postgresql_database) as name:
        yield name


def test_a_connection_string_of_key_value_pairs(postgresql_database: str) -> None:
    parts = urlsplit(postgresql_database)
    pairs = (
        f"host={parts.hostname} port={parts.port} user={parts.username} "
        f"password='{parts.password}' dbname={parts.path[1:]} sslmode=prefer"
    )
    with started(pairs) as backend:
        backend.write(batch_of(point(1)))
        assert count(backend) == 1
        assert backend.location == f"{parts.hostname}:{parts.port}/{parts.path[1:]}"


def test_a_role_without_login(postgresql_database: str, role: str) -> None:
    run(postgresql_database, f"ALTER ROLE {role} NOLOGIN")
    message = start_error(PostgreSQLBackend(with_role(postgresql_database, role)))
    assert "is not permitted to log in" in message
    assert "pg_hba.conf" in message


def test_a_role_without_connect(postgresql_database: str, role: str) -> None:
    database = database_of(postgresql_database)
    run(postgresql_database, f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    message = start_error(PostgreSQLBackend(with_role(postgresql_database, role)))
    assert "permission denied for database" in message
    assert "grant the role what it lacks" in message


def test_a_role_without_create_on_the_schema(postgresql_database: str, role: str) -> None:
    message = start_error(PostgreSQLBackend(with_role(postgresql_database, role)))
    assert "permission denied for schema public" in message
    assert "GRANT CREATE ON SCHEMA public" in message


def test_a_role_that_may_write_but_not_create_partitions(
    postgresql_database: str, role: str
) -> None:
    with started(postgresql_database) as backend:
        backend.write(batch_of(point(1)))
    run(postgresql_database, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    message = start_error(PostgreSQLBackend(with_role(postgresql_database, role)))
    assert f'GRANT CREATE ON SCHEMA "public" TO "{role}"' in message

    run(postgresql_database, f"GRANT CREATE ON SCHEMA public TO {role}")
    message = start_error(PostgreSQLBackend(with_role(postgresql_database, role)))
    assert "which belong to postgres" in message

    for (table,) in tables_of(postgresql_database):
        run(postgresql_database, f'ALTER TABLE "{table}" OWNER TO {role}')
    with started(with_role(postgresql_database, role)) as backend:
        assert backend.write(batch_of(point(1, NOW + DAY))) == WriteResult(stored=1)


def tables_of(dsn: str) -> list[tuple[str]]:
    with closing(psycopg2.connect(dsn)) as connection:
        return execute(
            connection,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p')",
        )


def test_a_table_of_another_program_is_refused_and_unchanged(postgresql_database: str) -> None:
    run(postgresql_database, "CREATE TABLE system_metrics (mine text)")
    message = start_error(PostgreSQLBackend(postgresql_database))
    assert 'relation "system_metrics" already exists' in message
    assert "another program owns a table of this name" in message
    assert tables_of(postgresql_database) == [("system_metrics",)]


def test_tables_in_a_separate_schema(postgresql_database: str) -> None:
    run(postgresql_database, "CREATE SCHEMA metrics", "CREATE TABLE system_metrics (mine text)")
    with started(with_option(postgresql_database, "search_path", "metrics")) as backend:
        backend.write(batch_of(point(1), point(1, NOW + DAY), new_series=(series(1),)))
        assert count(backend) == 2
        assert backend.delete_before(NOW + DAY) == 1
        assert [table.partitions for table in backend.sizes().tables] == [1, 0, 0, 0, 0, None]
    assert tables_of(postgresql_database) == [("system_metrics",)]


def test_a_database_of_another_encoding(postgresql_server: Databases) -> None:
    with postgresql_server.fresh("template0") as dsn:
        name = f"{database_of(dsn)}_latin"
        run(dsn, f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
        try:
            message = start_error(PostgreSQLBackend(with_database(dsn, name)))
        finally:
            run(dsn, f"DROP DATABASE {name}")
    assert "encoding LATIN1" in message


def test_a_newer_schema_is_refused_and_unchanged(postgresql_database: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(batch_of(point(1)))
    newest = len(load_migrations("postgresql"))
    run(
        postgresql_database,
        "INSERT INTO schema_migrations (version) "
        "SELECT max(version) + next FROM schema_migrations, generate_series(1, 2) AS next "
        "GROUP BY next",
    )
    for read_only in (False, True):
        message = start_error(PostgreSQLBackend(postgresql_database, read_only=read_only))
        assert f"its schema has version {newest + 2}" in message


def test_six_programs_start_on_an_empty_database_at_once(postgresql_database: str) -> None:
    barrier = threading.Barrier(6, timeout=60)

    def start(index: int) -> int:
        barrier.wait()
        with started(postgresql_database) as backend:
            return backend.write(batch_of(point(index), new_series=(series(index),))).stored

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(start, range(6))) == [1] * 6
    with started(postgresql_database) as backend:
        assert count(backend) == count(backend, "metric_series") == 6
        assert backend.fetch("SELECT version FROM schema_migrations ORDER BY version") == [
            (migration.version,) for migration in load_migrations("postgresql")
        ]


def test_the_migration_from_the_first_version_keeps_watermarks(postgresql_database: str) -> None:
    first = load_migrations("postgresql")[0].sql.replace(
        "{{partitioned}}", DailyPartitions.partition_clause
    )
    run(
        postgresql_database,
        "CREATE TABLE schema_migrations (version integer PRIMARY KEY, applied_at timestamptz)",
        first,
        "INSERT INTO schema_migrations VALUES (1, now())",
        "INSERT INTO ingest_ledger (receiver_id, last_sequence) VALUES ('old', 5)",
    )
    assert "lacks version" in start_error(PostgreSQLBackend(postgresql_database, read_only=True))
    with started(postgresql_database) as backend:
        assert backend.last_sequence("old") == 5
        assert backend.fetch("SELECT updated_at IS NOT NULL FROM ingest_ledger") == [(True,)]
        assert backend.write(batch_of(point(1), watermark=Watermark("old", 5))).already_stored


def test_a_reader_needs_only_select(postgresql_database: str, role: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(batch_of(point(1, value=2.5), new_series=(series(1),)))
    run(postgresql_database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    with started(with_role(postgresql_database, role), read_only=True) as reader:
        assert stored_points(reader) == {(NOW // 1_000, 1): (2.5, None)}
        assert reader.sizes().series == 1
        for write in (lambda: reader.write(batch_of(point(1))), lambda: reader.delete_before(NOW)):
            with pytest.raises(BackendRefusedError, match="opened for reading only"):
                write()


def test_a_reader_of_a_database_without_tables(postgresql_database: str) -> None:
    message = start_error(PostgreSQLBackend(postgresql_database, read_only=True))
    assert "there is nothing yet" in message
    assert tables_of(postgresql_database) == []


def test_a_read_only_database_can_be_read(postgresql_database: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(batch_of(point(1)))
    standby = with_option(postgresql_database, "default_transaction_read_only", "on")
    with started(standby, read_only=True) as reader:
        assert count(reader) == 1
        with pytest.raises(BackendRefusedError, match="only statements that read"):
            reader.fetch("DELETE FROM system_metrics")
    message = start_error(PostgreSQLBackend(standby), BackendUnavailableError)
    assert "default_transaction_read_only is on" in message
    assert "find out where it was set" in message


def test_log_and_location_contain_no_password(
    postgresql_database: str, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(postgresql_database, f"GRANT CREATE ON SCHEMA public TO {role}")
    with (
        caplog.at_level(logging.DEBUG),
        started(with_role(postgresql_database, role, "right")) as backend,
    ):
        assert f"migrated the schema to version {len(load_migrations('postgresql'))}" in caplog.text
        backend.write(batch_of(point(1), histograms=(histogram(1),)))
        assert "right" not in caplog.text + backend.location + repr(backend)
