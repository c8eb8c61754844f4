"""Failures of a running backend `postgresql`: which it retries, and what the errors say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import psycopg2
import pytest
from engines.databases import Databases
from engines.postgresql import PostgreSQLServer
from kit.backends.postgresql import login_role, run, started, with_option, with_role
from kit.backends.samples import NOW, SECOND, batch_of, exemplar, flood, point
from kit.backends.stored_rows import count

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.postgresql.errors import translate_errors
from exporter.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    ExporterError,
    RowRefusedError,
)
from exporter.model import Batch, WriteResult

DEFERRED_TRIGGER = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.value = 13 THEN RAISE EXCEPTION 'thirteen, at last'; END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON system_metrics
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"""


@pytest.fixture
def role(postgresql_server: Databases, postgresql_database: str) -> Iterator[str]:
    with login_role(postgresql_server, postgresql_database) as name:
        yield name


def test_a_statement_timeout_rolls_the_batch_back_and_is_named(postgresql_database: str) -> None:
    large = Batch(points=flood(400_000))
    with started(with_option(postgresql_database, "statement_timeout", "60")) as backend:
        with pytest.raises(BackendUnavailableError, match=r"57014.*ALTER ROLE"):
            backend.write(large)
        assert count(backend) == 0
        assert backend.write(batch_of(point(1))) == WriteResult(stored=1)
        assert count(backend) == 1


def test_a_revoked_privilege_is_retried(postgresql_database: str, role: str) -> None:
    run(postgresql_database, f"GRANT CREATE ON SCHEMA public TO {role}")
    batch = batch_of(point(1))
    with started(with_role(postgresql_database, role)) as backend:
        run(postgresql_database, f"REVOKE INSERT ON system_metrics FROM {role}")
        with pytest.raises(BackendUnavailableError, match=r"42501.*grant the role"):
            backend.write(batch)
        run(postgresql_database, f"GRANT INSERT ON system_metrics TO {role}")
        assert backend.write(batch) == WriteResult(stored=1)


def test_a_changed_password_is_retried(postgresql_database: str, role: str) -> None:
    run(postgresql_database, f"GRANT CREATE ON SCHEMA public TO {role}")
    terminate = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"  # noqa: S608 - a test's role
    batch = batch_of(point(1))
    with started(with_role(postgresql_database, role)) as backend:
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
def test_a_restart_of_the_server(own_postgresql_server: PostgreSQLServer, mode: str) -> None:
    with (
        own_postgresql_server.databases.fresh() as dsn,
        started(dsn, pool_min_connections=3) as backend,
    ):
        batches = [batch_of(point(1, NOW + seconds * SECOND)) for seconds in range(3)]
        assert backend.write(batches[0]) == WriteResult(stored=1)
        own_postgresql_server.restart("fast" if mode == "fast" else "immediate")
        assert (
            count(backend) == 1
        )  # without an error, although every connection of the pool is broken
        write_after_restart(backend, batches[1])
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


def write_after_restart(backend: PostgreSQLBackend, batch: Batch) -> None:
    with pytest.raises(BackendUnavailableError, match="storing a batch failed"):
        backend.write(batch)  # the connection for writing is broken as well
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
def test_which_errors_of_the_server_are_retryable(
    postgresql_database: str, code: str, kind: type[ExporterError], advice: str | None
) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'words' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(kind) as caught, translate_errors("trying", "postgresql here"):
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
        ("23514", "", BackendRefusedError),  # a row without a partition
        ("42P01", "", BackendRefusedError),
        ("0A000", "", BackendRefusedError),
        ("42501", "", BackendUnavailableError),
        ("40P01", "", BackendUnavailableError),
        ("53100", "", BackendUnavailableError),
    ],
)
def test_which_errors_are_about_the_content_of_a_row(
    postgresql_database: str, code: str, constraint: str, kind: type[ExporterError]
) -> None:
    using = f"ERRCODE = '{code}', CONSTRAINT = '{constraint}'"
    if not constraint:
        using = f"ERRCODE = '{code}'"
    with (
        pytest.raises(ExporterError) as caught,
        translate_errors("storing a batch", "here", has_started=True),
    ):
        run(postgresql_database, f"DO $$ BEGIN RAISE EXCEPTION 'words' USING {using}; END $$")
    assert type(caught.value) is kind


def test_a_dry_run_checks_deferred_constraints(postgresql_database: str) -> None:
    good, bad = batch_of(point(1)), batch_of(point(1), point(1, NOW + SECOND, value=13.0))
    with started(postgresql_database) as backend:
        backend.dry_run(bad)
        run(postgresql_database, DEFERRED_TRIGGER)
        for call in (backend.dry_run, backend.write):
            with pytest.raises(RowRefusedError, match="thirteen, at last"):
                call(bad)
        backend.dry_run(good)
        assert count(backend) == 0
        assert backend.write(good) == WriteResult(stored=1)


def test_an_error_does_not_quote_rows(postgresql_database: str) -> None:
    secret = exemplar(1, attributes='{"customer":"anna"')  # not valid JSON
    with started(postgresql_database) as backend:
        with pytest.raises(
            BackendRefusedError, match="invalid input syntax for type json"
        ) as caught:
            backend.write(Batch(exemplars=(secret,)))
        assert "anna" not in str(caught.value)


def test_use_after_a_fork_is_refused(postgresql_database: str) -> None:
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
        assert all("open the backend after forking" in line for line in lines)
        assert backend.write(batch_of(point(3))) == WriteResult(stored=1)
        assert count(backend) == 2
