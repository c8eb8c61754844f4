"""A hot standby: the message at start, and a failover while batches are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from engines.dsn import database_of, with_database
from engines.postgresql import PostgreSQLServer
from engines.statements import execute
from kit.backends.samples import NOW, SECOND, batch_of, point, series
from kit.backends.stored_rows import count

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.errors import BackendUnavailableError
from exporter.model import Batch, Watermark, WriteResult

STANDBY_MESSAGE = (
    r"hot standby and accepts no writes .*name the primary .*when a standby is promoted"
)


def watermarked(sequence: int) -> Batch:
    return batch_of(
        point(1, NOW + sequence * SECOND),
        new_series=(series(1),) if sequence == 1 else (),
        watermark=Watermark("receiver-1", sequence),
    )


@pytest.fixture
def server(own_postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    yield own_postgresql_server
    if not own_postgresql_server.is_running:
        own_postgresql_server.start()
    with closing(psycopg2.connect(own_postgresql_server.dsn)) as connection:
        [(is_standby,)] = execute(connection, "SELECT pg_is_in_recovery()")
    if is_standby:  # the test has failed before it promoted the server
        own_postgresql_server.promote()


@pytest.fixture
def dsn(server: PostgreSQLServer) -> str:
    """A database with one batch."""
    made = server.databases.create()
    with closing(PostgreSQLBackend(made)) as backend:
        backend.start()
        backend.write(watermarked(1))
    return made


def test_a_standby_is_refused_for_writing_and_can_be_read(
    server: PostgreSQLServer, dsn: str
) -> None:
    server.demote()
    with closing(PostgreSQLBackend(dsn)) as backend:
        with pytest.raises(BackendUnavailableError, match=STANDBY_MESSAGE):
            backend.start()
        with closing(PostgreSQLBackend(dsn, read_only=True)) as reader:
            reader.start()
            assert count(reader) == 1
            assert reader.sizes().series == 1
            with closing(psycopg2.connect(dsn)) as connection:
                execute(connection, "SELECT pg_promote()")
            backend.start()
            assert backend.write(watermarked(2)) == WriteResult(stored=1)
            assert count(reader) == 2  # on the same connection


@pytest.mark.parametrize("attribute", ["read-write", "primary"])
def test_no_host_is_the_primary(server: PostgreSQLServer, dsn: str, attribute: str) -> None:
    server.demote()
    with (
        closing(PostgreSQLBackend(f"{dsn}?target_session_attrs={attribute}")) as backend,
        pytest.raises(BackendUnavailableError, match=r"25006.*wait for a failover to end"),
    ):
        backend.start()
    server.promote()


def test_a_demoted_server_accepts_the_batch_after_its_promotion(
    server: PostgreSQLServer, dsn: str
) -> None:
    with closing(PostgreSQLBackend(dsn)) as backend:
        backend.start()
        backend.write(watermarked(2))
        server.demote()
        with pytest.raises(BackendUnavailableError):
            backend.write(watermarked(3))
        calls: tuple[Callable[[], object], ...] = (
            lambda: backend.write(watermarked(3)),
            lambda: backend.dry_run(watermarked(3)),
            lambda: backend.last_sequence("receiver-1"),
        )
        for call in calls:
            with pytest.raises(BackendUnavailableError, match=STANDBY_MESSAGE):
                call()
        with pytest.raises(BackendUnavailableError, match=r"25006.*name the primary"):
            backend.delete_before(NOW + 10**6 * SECOND)
        assert count(backend) == 2
        server.promote()
        assert backend.write(watermarked(3)) == WriteResult(stored=1)
        assert count(backend) == 3


def test_a_server_is_fenced_while_a_connection_is_open(server: PostgreSQLServer, dsn: str) -> None:
    with (
        closing(PostgreSQLBackend(dsn)) as backend,
        closing(psycopg2.connect(server.dsn)) as administrator,
    ):
        administrator.autocommit = True
        backend.start()
        execute(administrator, "ALTER SYSTEM SET default_transaction_read_only = on")
        execute(administrator, "SELECT pg_reload_conf()")
        try:
            with pytest.raises(BackendUnavailableError, match="25006"):
                wait_for_refusal(backend)
            with pytest.raises(BackendUnavailableError, match="default_transaction_read_only is"):
                backend.write(watermarked(2))
        finally:
            execute(administrator, "SET default_transaction_read_only = off")
            execute(administrator, "ALTER SYSTEM RESET default_transaction_read_only")
            execute(administrator, "SELECT pg_reload_conf()")
        written = write_until_stored(backend, watermarked(2))
        assert written == WriteResult(stored=1)
        assert count(backend) == 2


def wait_for_refusal(backend: PostgreSQLBackend) -> None:
    # A session applies the new setting with its next statement or the one after.
    for _ in range(1_000):
        backend.dry_run(watermarked(2))


def write_until_stored(backend: PostgreSQLBackend, batch: Batch) -> WriteResult:
    for _ in range(1_000):
        try:
            return backend.write(batch)
        except BackendUnavailableError as error:
            assert "25006" in str(error)  # noqa: PT017 - other errors must fail the test
    raise AssertionError("it was never stored")


def test_batches_go_to_the_promoted_standby_after_a_failover(
    server: PostgreSQLServer, dsn: str, pytestconfig: pytest.Config
) -> None:
    major = pytestconfig.getoption("--pg-major")
    with PostgreSQLServer(major=major, primary=server) as standby:
        there = with_database(standby.dsn, database_of(dsn))
        with closing(PostgreSQLBackend(both(dsn, there))) as backend:
            backend.start()
            backend.write(watermarked(2))
            server.stop()  # it first sends the standby everything that was committed
            for _ in range(2):
                with pytest.raises(BackendUnavailableError):
                    backend.write(watermarked(3))
            standby.promote()
            assert backend.write(watermarked(3)) == WriteResult(stored=1)
            assert backend.write(watermarked(2)).already_stored
            assert count(backend) == 3


def both(first: str, second: str) -> str:
    """One connection string for two servers with the same role and database."""
    one, other = urlsplit(first), urlsplit(second)
    return urlunsplit(
        one._replace(
            netloc=f"{one.netloc},{other.netloc.rpartition('@')[2]}",
            query="target_session_attrs=read-write",
        )
    )
