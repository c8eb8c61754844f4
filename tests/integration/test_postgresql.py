"""The backend `postgresql` on a real server: what goes wrong there, and what the errors say."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from engines.databases import Databases
from engines.dsn import database_of, with_database
from engines.postgresql import PostgreSQLServer
from engines.statements import execute
from kit.backends.reading import count, stored_points
from kit.backends.samples import NOW, SECOND, batch_of, exemplar, flood, histogram, point, series

from exporter.backends.migrations import load_migrations
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.postgresql.daily_partitions import DailyPartitions
from exporter.backends.postgresql.errors import translating
from exporter.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    ExporterError,
    RowRefusedError,
)
from exporter.model import Batch, Watermark, WriteResult

DAY = 86_400 * SECOND
AT_COMMIT = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.value = 13 THEN RAISE EXCEPTION 'thirteen, at last'; END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON system_metrics
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"""


@contextmanager
def started(dsn: str, **options: Any) -> Iterator[PostgreSQLBackend]:
    backend = PostgreSQLBackend(dsn, **options)
    backend.start()
    try:
        yield backend
    finally:
        backend.close()


def run(dsn: str, *statements: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        for statement in statements:
            execute(connection, statement)


def with_option(dsn: str, name: str, value: str) -> str:
    return f"{dsn}{'&' if '?' in dsn else '?'}options=-c{name}%3D{value}"


def of_role(dsn: str, role: str, password: str = "right") -> str:  # noqa: S107 - of a test's role
    parts = urlsplit(dsn)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{address}"))


@pytest.fixture
def role(postgresql_server: Databases, postgresql_database: str) -> Iterator[str]:
    """A role that may log in and nothing else."""
    name = f"role_of_{database_of(postgresql_database)}"
    run(postgresql_database, f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    yield name
    run(postgresql_database, f"DROP OWNED BY {name} CASCADE")
    run(postgresql_server.maintenance_dsn, f"DROP ROLE {name}")


def refused(backend: PostgreSQLBackend, kind: type[ExporterError] = BackendRefusedError) -> str:
    with pytest.raises(kind) as caught:
        backend.start()
    backend.close()
    return str(caught.value)


# --- starting


def test_the_key_value_form_works_as_well(postgresql_database: str) -> None:
    parts = urlsplit(postgresql_database)
    pairs = (
        f"host={parts.hostname} port={parts.port} user={parts.username} "
        f"password='{parts.password}' dbname={parts.path[1:]} sslmode=prefer"
    )
    with started(pairs) as backend:
        backend.write(batch_of(point(1)))
        assert count(backend) == 1
        assert backend.location == f"{parts.hostname}:{parts.port}/{parts.path[1:]}"


def test_a_database_that_is_not_there(postgresql_database: str) -> None:
    message = refused(PostgreSQLBackend(with_database(postgresql_database, "nowhere")))
    assert 'database "nowhere" does not exist' in message
    assert "createdb" in message


def test_a_wrong_password(postgresql_database: str, role: str) -> None:
    message = refused(PostgreSQLBackend(of_role(postgresql_database, role, "wrong")))
    assert "password authentication failed" in message
    assert "correct the password" in message


def test_a_role_that_is_not_there_is_not_told_from_a_wrong_password(
    postgresql_database: str,
) -> None:
    assert "28P01" in refused(PostgreSQLBackend(of_role(postgresql_database, "nobody_knows_me")))


def test_a_role_that_may_not_log_in(postgresql_database: str, role: str) -> None:
    run(postgresql_database, f"ALTER ROLE {role} NOLOGIN")
    message = refused(PostgreSQLBackend(of_role(postgresql_database, role)))
    assert "is not permitted to log in" in message
    assert "pg_hba.conf" in message


def test_a_role_that_may_not_connect(postgresql_database: str, role: str) -> None:
    database = database_of(postgresql_database)
    run(postgresql_database, f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    message = refused(PostgreSQLBackend(of_role(postgresql_database, role)))
    assert "permission denied for database" in message
    assert "grant the role what it lacks" in message


def test_a_role_that_may_not_create_tables(postgresql_database: str, role: str) -> None:
    message = refused(PostgreSQLBackend(of_role(postgresql_database, role)))
    assert "permission denied for schema public" in message
    assert "GRANT CREATE ON SCHEMA public" in message


def test_a_role_that_may_write_but_not_make_partitions(postgresql_database: str, role: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(batch_of(point(1)))
    run(postgresql_database, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    message = refused(PostgreSQLBackend(of_role(postgresql_database, role)))
    assert f'GRANT CREATE ON SCHEMA "public" TO "{role}"' in message

    run(postgresql_database, f"GRANT CREATE ON SCHEMA public TO {role}")
    message = refused(PostgreSQLBackend(of_role(postgresql_database, role)))
    assert "which belong to postgres" in message

    for (table,) in tables_of(postgresql_database):
        run(postgresql_database, f'ALTER TABLE "{table}" OWNER TO {role}')
    with started(of_role(postgresql_database, role)) as backend:
        assert backend.write(batch_of(point(1, NOW + DAY))) == WriteResult(stored=1)


def tables_of(dsn: str) -> list[tuple[str]]:
    with closing(psycopg2.connect(dsn)) as connection:
        return execute(
            connection,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p')",
        )


def test_nobody_listens() -> None:
    message = refused(
        PostgreSQLBackend("postgresql://127.0.0.1:1/costs?connect_timeout=2"),
        BackendUnavailableError,
    )
    assert "Connection refused" in message
    assert "check that the server runs" in message


def test_a_table_of_another_program_is_left_alone(postgresql_database: str) -> None:
    run(postgresql_database, "CREATE TABLE system_metrics (mine text)")
    message = refused(PostgreSQLBackend(postgresql_database))
    assert 'relation "system_metrics" already exists' in message
    assert "another program owns a table of this name" in message
    assert tables_of(postgresql_database) == [("system_metrics",)]


def test_it_lives_in_a_schema_of_its_own(postgresql_database: str) -> None:
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
            message = refused(PostgreSQLBackend(with_database(dsn, name)))
        finally:
            run(dsn, f"DROP DATABASE {name}")
    assert "encoding LATIN1" in message


def test_a_newer_schema_is_refused_and_left_as_it_is(postgresql_database: str) -> None:
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
        message = refused(PostgreSQLBackend(postgresql_database, read_only=read_only))
        assert f"its schema has version {newest + 2}" in message


def test_several_programs_start_on_an_empty_database_at_once(postgresql_database: str) -> None:
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


# --- reading only


def test_reading_needs_no_more_than_the_right_to_read(postgresql_database: str, role: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(batch_of(point(1, value=2.5), new_series=(series(1),)))
    run(postgresql_database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    with started(of_role(postgresql_database, role), read_only=True) as reader:
        assert stored_points(reader) == {(NOW // 1_000, 1): (2.5, None)}
        assert reader.sizes().series == 1
        for write in (lambda: reader.write(batch_of(point(1))), lambda: reader.delete_before(NOW)):
            with pytest.raises(BackendRefusedError, match="opened for reading only"):
                write()


def test_reading_a_database_without_our_tables(postgresql_database: str) -> None:
    message = refused(PostgreSQLBackend(postgresql_database, read_only=True))
    assert "there is nothing yet" in message
    assert tables_of(postgresql_database) == []


def test_a_database_that_takes_no_writes_can_be_read(postgresql_database: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(batch_of(point(1)))
    standby = with_option(postgresql_database, "default_transaction_read_only", "on")
    with started(standby, read_only=True) as reader:
        assert count(reader) == 1
        with pytest.raises(BackendRefusedError, match="only statements that read"):
            reader.fetch("DELETE FROM system_metrics")
    message = refused(PostgreSQLBackend(standby), BackendUnavailableError)
    assert "default_transaction_read_only is on" in message
    assert "find out where it was set" in message


# --- failures on the way


def test_a_statement_timeout_is_named_and_ends_with_the_batch(postgresql_database: str) -> None:
    large = Batch(points=flood(400_000))
    with started(with_option(postgresql_database, "statement_timeout", "60")) as backend:
        with pytest.raises(BackendUnavailableError, match=r"57014.*ALTER ROLE"):
            backend.write(large)
        assert count(backend) == 0
        assert backend.write(batch_of(point(1))) == WriteResult(stored=1)
        assert count(backend) == 1


def test_rights_that_are_taken_away_while_it_runs_are_waited_for(
    postgresql_database: str, role: str
) -> None:
    run(postgresql_database, f"GRANT CREATE ON SCHEMA public TO {role}")
    batch = batch_of(point(1))
    with started(of_role(postgresql_database, role)) as backend:
        run(postgresql_database, f"REVOKE INSERT ON system_metrics FROM {role}")
        with pytest.raises(BackendUnavailableError, match=r"42501.*grant the role"):
            backend.write(batch)
        run(postgresql_database, f"GRANT INSERT ON system_metrics TO {role}")
        assert backend.write(batch) == WriteResult(stored=1)


def test_a_password_that_is_changed_while_it_runs_is_waited_for(
    postgresql_database: str, role: str
) -> None:
    run(postgresql_database, f"GRANT CREATE ON SCHEMA public TO {role}")
    terminate = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"  # noqa: S608 - a test's role
    batch = batch_of(point(1))
    with started(of_role(postgresql_database, role)) as backend:
        run(postgresql_database, f"ALTER ROLE {role} PASSWORD 'other'", terminate)
        for _ in range(2):
            with pytest.raises(BackendUnavailableError):
                backend.write(batch)
        with pytest.raises(BackendUnavailableError, match="correct the password"):
            backend.fetch("SELECT 1")
        run(postgresql_database, f"ALTER ROLE {role} PASSWORD 'right'")
        assert backend.write(batch) == WriteResult(stored=1)
        assert count(backend) == 1


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_is_restarted(own_postgresql_server: PostgreSQLServer, mode: str) -> None:
    with (
        own_postgresql_server.databases.fresh() as dsn,
        started(dsn, pool_min_connections=3) as backend,
    ):
        batches = [batch_of(point(1, NOW + seconds * SECOND)) for seconds in range(3)]
        assert backend.write(batches[0]) == WriteResult(stored=1)
        own_postgresql_server.restart("fast" if mode == "fast" else "immediate")
        assert count(backend) == 1  # at once, although every connection of the pool is dead
        written_after_restart(backend, batches[1])
        own_postgresql_server.stop("fast" if mode == "fast" else "immediate")
        for call in (
            lambda: backend.write(batches[2]),
            lambda: backend.fetch("SELECT 1"),
            lambda: backend.delete_before(NOW),
            backend.sizes,
        ):
            with pytest.raises(BackendUnavailableError, match=r"failed: .*; "):
                call()
        own_postgresql_server.start()
        assert backend.write(batches[2]) == WriteResult(stored=1)
        assert count(backend) == 3


def written_after_restart(backend: PostgreSQLBackend, batch: Batch) -> None:
    with pytest.raises(BackendUnavailableError, match="storing a batch failed"):
        backend.write(batch)  # the writing connection is dead, too, and says so
    assert backend.write(batch) == WriteResult(stored=1)


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        ("08006", BackendUnavailableError, "check that the server runs"),
        ("40001", BackendUnavailableError, "another transaction"),
        ("40P01", BackendUnavailableError, "another transaction"),
        ("53100", BackendUnavailableError, "disk is full"),
        ("53300", BackendUnavailableError, "max_connections"),
        ("53200", BackendUnavailableError, "short of a resource"),
        ("55P03", BackendUnavailableError, "holds a lock"),
        ("57P03", BackendUnavailableError, "starting, stopping"),
        ("58030", BackendUnavailableError, "failed to access its files"),
        ("42501", BackendRefusedError, "grant the role"),
        ("XX001", BackendRefusedError, "damage"),
        ("22003", BackendRefusedError, None),
        ("P0001", BackendRefusedError, None),
    ],
)
def test_each_error_of_the_server_is_retryable_or_not(
    postgresql_database: str, code: str, kind: type[ExporterError], advice: str | None
) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'words' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(kind) as caught, translating("trying", "postgresql here"):
        run(postgresql_database, raising)
    assert str(caught.value).startswith(f"postgresql here: trying failed: words [{code}]")
    assert isinstance(caught.value.__cause__, psycopg2.Error)
    assert advice is None or advice in str(caught.value)


@pytest.mark.parametrize(
    ("code", "constraint", "kind"),
    [
        ("22003", "", RowRefusedError),
        ("23514", "positive", RowRefusedError),
        ("23505", "only_once", RowRefusedError),
        ("44000", "", RowRefusedError),
        ("54000", "", RowRefusedError),
        ("P0001", "", RowRefusedError),
        ("23514", "", BackendRefusedError),  # no partition was found for a row
        ("42P01", "", BackendRefusedError),
        ("0A000", "", BackendRefusedError),
        ("42501", "", BackendUnavailableError),
        ("40P01", "", BackendUnavailableError),
        ("53100", "", BackendUnavailableError),
    ],
)
def test_what_is_about_the_content_of_a_row_is_told_from_the_rest(
    postgresql_database: str, code: str, constraint: str, kind: type[ExporterError]
) -> None:
    using = f"ERRCODE = '{code}', CONSTRAINT = '{constraint}'"
    if not constraint:
        using = f"ERRCODE = '{code}'"
    with (
        pytest.raises(ExporterError) as caught,
        translating("storing a batch", "here", has_started=True),
    ):
        run(postgresql_database, f"DO $$ BEGIN RAISE EXCEPTION 'words' USING {using}; END $$")
    assert type(caught.value) is kind


def test_a_dry_run_finds_what_a_commit_would_be_refused_for(postgresql_database: str) -> None:
    good, bad = batch_of(point(1)), batch_of(point(1), point(1, NOW + SECOND, value=13.0))
    with started(postgresql_database) as backend:
        backend.dry_run(bad)
        run(postgresql_database, AT_COMMIT)
        for call in (backend.dry_run, backend.write):
            with pytest.raises(RowRefusedError, match="thirteen, at last"):
                call(bad)
        backend.dry_run(good)
        assert count(backend) == 0
        assert backend.write(good) == WriteResult(stored=1)


def test_a_database_of_the_first_version_keeps_its_marks(postgresql_database: str) -> None:
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
    assert "lacks version" in refused(PostgreSQLBackend(postgresql_database, read_only=True))
    with started(postgresql_database) as backend:
        assert backend.last_sequence("old") == 5
        assert backend.fetch("SELECT updated_at IS NOT NULL FROM ingest_ledger") == [(True,)]
        assert backend.write(batch_of(point(1), watermark=Watermark("old", 5))).already_stored


def test_an_error_does_not_quote_rows(postgresql_database: str) -> None:
    secret = exemplar(1, attributes='{"customer":"anna"')  # which is no JSON
    with started(postgresql_database) as backend:
        with pytest.raises(
            BackendRefusedError, match="invalid input syntax for type json"
        ) as caught:
            backend.write(Batch(exemplars=(secret,)))
        assert "anna" not in str(caught.value)


# --- reading at once


def test_reads_wait_for_a_connection_and_are_told_when_none_is_free(
    postgresql_database: str,
) -> None:
    with started(postgresql_database, pool_max_connections=2, pool_timeout_seconds=0.2) as backend:
        with ThreadPoolExecutor(6) as threads:
            reads = [threads.submit(backend.fetch, "SELECT pg_sleep(0.01)") for _ in range(12)]
            assert [len(read.result()) for read in reads] == [1] * 12
        with ThreadPoolExecutor(2) as threads:
            long_reads = [threads.submit(backend.fetch, "SELECT pg_sleep(1)") for _ in range(2)]
            while len(sleepers(postgresql_database)) < 2:
                pass
            with pytest.raises(BackendUnavailableError, match="one of 2 connections"):
                backend.fetch("SELECT 1")
            assert [len(read.result()) for read in long_reads] == [1] * 2
        assert backend.fetch("SELECT 1") == [(1,)]


def sleepers(dsn: str) -> list[tuple[int]]:
    asleep = """
        SELECT pid FROM pg_stat_activity
        WHERE query LIKE '%pg_sleep(1)%' AND state = 'active' AND pid <> pg_backend_pid()"""
    with closing(psycopg2.connect(dsn)) as connection:
        return execute(connection, asleep)


def test_a_connection_that_is_killed_between_reads_is_replaced(postgresql_database: str) -> None:
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with started(postgresql_database, pool_min_connections=4) as backend:
        for _ in range(3):
            run(postgresql_database, kill)
            assert backend.fetch("SELECT 1") == [(1,)]


def test_answers_come_as_the_query_module_expects_them(postgresql_database: str) -> None:
    with started(postgresql_database) as backend:
        [row] = backend.fetch(
            "SELECT '{\"b\": [1.5]}'::jsonb, 5::numeric, -2.50::numeric, NULL::numeric, "
            "ARRAY[1, 'NaN', '-Infinity', 1e300]::float8[], '{}'::float8[], NULL::float8[], "
            "ARRAY[18446744073709551615, 0]::numeric[], sum(n) FROM generate_series(1, 3) AS n"
        )
    assert row == (
        *('{"b": [1.5]}', 5, -2.5, None),
        *('[1.0,"NaN","-Infinity",1e+300]', "[]", None),
        *("[18446744073709551615,0]", 6),
    )
    assert [type(value) for value in row[1:3]] == [int, float]


def test_text_with_a_nul_finds_what_was_stored_for_it(postgresql_database: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(Batch(new_series=(series(1, metric_name="a\0b"),)))
        found = "SELECT series_id FROM metric_series WHERE metric_name = %s"
        assert backend.fetch(found, ["a\0b"]) == [(1,)]


def test_a_child_process_is_told_to_open_its_own(postgresql_database: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(batch_of(point(1)))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as answer:
                calls: list[Callable[[], object]] = [
                    lambda: backend.fetch("SELECT 1"),
                    lambda: backend.write(batch_of(point(2))),
                ]
                for call in calls:
                    try:
                        call()
                    except BackendRefusedError as error:
                        answer.write(f"{error}\n")
                backend.close()
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            lines = answer.read().splitlines()
        os.waitpid(child, 0)
        assert len(lines) == 2
        assert all("open it after forking" in line for line in lines)
        assert backend.write(batch_of(point(3))) == WriteResult(stored=1)
        assert count(backend) == 2


def test_what_is_logged_and_shown_has_no_password(
    postgresql_database: str, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(postgresql_database, f"GRANT CREATE ON SCHEMA public TO {role}")
    with (
        caplog.at_level(logging.DEBUG),
        started(of_role(postgresql_database, role, "right")) as backend,
    ):
        assert f"migrated the schema to version {len(load_migrations('postgresql'))}" in caplog.text
        backend.write(batch_of(point(1), histograms=(histogram(1),)))
        assert "right" not in caplog.text + backend.location + repr(backend)
