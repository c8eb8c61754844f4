"""The server of the tests' TimescaleDB, whose engine has one session."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg2
import pytest
from engines.databases import Databases
from engines.dsn import database_of
from engines.statements import Connection, copy_in, copy_out, execute
from engines.timescaledb import TimescaleDBServer
from psycopg2 import errors

TESTS: Final = Path(__file__).resolve().parents[1]


@pytest.fixture
def connect(own_timescaledb_server: TimescaleDBServer) -> Iterator[Callable[..., Connection]]:
    with own_timescaledb_server.databases.fresh() as dsn, ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(psycopg2.connect(dsn, **options)))


def test_a_login_role_keeps_its_user_and_may_copy(connect: Callable[..., Connection]) -> None:
    owner = connect()
    owner.autocommit = True
    execute(owner, "CREATE ROLE guest LOGIN; CREATE TABLE samples (value int)")
    execute(owner, "GRANT INSERT, SELECT ON samples TO guest")
    guest = connect(user="guest")
    guest.autocommit = True
    assert copy_in(guest, "COPY samples FROM STDIN", b"1\n2\n") == 2
    assert copy_out(guest, "COPY samples TO STDOUT") == b"1\n2\n"
    assert execute(owner, "SELECT session_user, current_user") == [("postgres", "postgres")]
    assert execute(guest, "SELECT session_user, current_user") == [("guest", "guest")]
    with pytest.raises(errors.InsufficientPrivilege):
        execute(guest, "CREATE TABLE more (value int)")


def test_a_connection_waits_for_the_transaction_of_another(
    connect: Callable[..., Connection],
) -> None:
    one, other = connect(), connect()
    other.autocommit = True
    answers: list[Any] = []
    execute(one, "CREATE TABLE samples (value int)")
    waiting = threading.Thread(
        target=lambda: answers.extend(execute(other, "SELECT count(*) FROM samples"))
    )
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    execute(one, "INSERT INTO samples VALUES (1)")
    one.commit()
    waiting.join()
    assert answers == [(1,)]


def test_a_timeout_names_the_client_that_holds_the_engine() -> None:
    with TimescaleDBServer(turn_timeout_seconds=0.1) as server:
        dsn = server.dsn
        with (
            closing(psycopg2.connect(dsn, application_name="holder")) as holder,
            closing(psycopg2.connect(dsn)) as other,
        ):
            execute(holder, "SELECT 1")
            with pytest.raises(errors.LockNotAvailable, match=r"client \d+ \(holder\)"):
                execute(other, "SELECT 1")
            other.rollback()
            holder.rollback()
            assert execute(other, "SELECT 1") == [(1,)]


def test_a_waiting_connection_can_be_cancelled(connect: Callable[..., Connection]) -> None:
    one, other = connect(), connect()
    failures: list[BaseException] = []
    execute(one, "SELECT 1")

    def wait() -> None:
        try:
            execute(other, "SELECT 1")
        except errors.QueryCanceled as error:
            failures.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while waiting.is_alive():
        other.cancel()
        waiting.join(0.1)
    assert len(failures) == 1
    other.rollback()
    one.rollback()
    assert execute(other, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stop_cuts_connections_and_keeps_committed_data(
    own_timescaledb_server: TimescaleDBServer, connect: Callable[..., Connection], mode: str
) -> None:
    connection = connect()
    execute(connection, "CREATE TABLE samples (value int)")
    connection.commit()
    execute(connection, "INSERT INTO samples VALUES (1)")
    own_timescaledb_server.stop("immediate" if mode == "immediate" else "fast")
    with pytest.raises(psycopg2.OperationalError):
        execute(connection, "SELECT 1")
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        connect()
    own_timescaledb_server.start()
    assert execute(connect(), "SELECT count(*) FROM samples") == [(0,)]


def test_a_copy_among_other_statements_is_refused(connect: Callable[..., Connection]) -> None:
    connection = connect()
    with pytest.raises(errors.FeatureNotSupported, match="must be the only statement"):
        execute(connection, "SELECT 1; COPY samples FROM STDIN")
    connection.rollback()
    assert execute(connection, "SELECT 1") == [(1,)]


def test_a_crash_affects_only_its_database(own_timescaledb_server: TimescaleDBServer) -> None:
    databases = own_timescaledb_server.databases
    dsn = databases.create()
    with closing(psycopg2.connect(dsn)) as connection:
        execute(connection, "SET client_encoding = 'LATIN1'")
        with pytest.raises(psycopg2.OperationalError):
            execute(connection, "SELECT 'é'")
    with pytest.raises(psycopg2.OperationalError, match="is gone: the test engine crashed"):
        psycopg2.connect(dsn)
    databases.drop(dsn)
    with databases.fresh() as another, closing(psycopg2.connect(another)) as connection:
        assert execute(connection, "SELECT 1") == [(1,)]


def test_a_dropped_database_is_restored_in_well_under_a_second(
    timescaledb_server: Databases,
) -> None:
    with timescaledb_server.fresh() as dsn, closing(psycopg2.connect(dsn)) as connection:
        execute(connection, "CREATE TABLE samples (at timestamptz NOT NULL, value float8)")
        execute(connection, "SELECT create_hypertable('samples', by_range('at'))")
        execute(
            connection,
            "INSERT INTO samples SELECT timestamptz '2024-01-01Z' + i * INTERVAL '1 minute', i"
            " FROM generate_series(1, 100000) i",
        )
        connection.commit()
    start = time.monotonic()
    with timescaledb_server.fresh() as dsn, closing(psycopg2.connect(dsn)) as connection:
        assert execute(connection, "SELECT to_regclass('samples')") == [(None,)]
        assert time.monotonic() - start < 1.0


class Wire:
    """A client for the extended protocol, which psycopg2 does not use."""

    def __init__(self, address: socket.socket, database: str) -> None:
        self._socket = address
        names = f"user\0postgres\0database\0{database}\0\0".encode()
        self._socket.sendall(struct.pack(">ii", 8 + len(names), 196608) + names)
        self.until("R")
        self.send("p", b"engines\0")
        self.until("Z")

    def send(self, kind: str, body: bytes = b"") -> None:
        self._socket.sendall(kind.encode() + struct.pack(">i", 4 + len(body)) + body)

    def until(self, last: str) -> list[tuple[str, bytes]]:
        received: list[tuple[str, bytes]] = []
        while not received or received[-1][0] != last:
            kind, length = struct.unpack(">ci", self._exactly(5))
            received.append((kind.decode(), self._exactly(length - 4)))
        return received

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self._socket.recv(count - len(data))
        return data


@pytest.fixture
def wire(own_timescaledb_server: TimescaleDBServer) -> Iterator[Wire]:
    with own_timescaledb_server.databases.fresh() as dsn:
        port = int(dsn.split(":")[-1].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as opened:
            yield Wire(opened, database_of(dsn))


BIND_41: Final = b"\0\0" + struct.pack(">hhi", 0, 1, 2) + b"41" + struct.pack(">h", 0)


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [(b"SELECT $1::int + 1", "12TDCZ"), (b"SELEC", "EZ"), (b"COPY t FROM STDIN", "EZ")],
    ids=["question", "syntax-error", "copy"],
)
def test_the_extended_protocol(wire: Wire, sql: bytes, kinds: str) -> None:
    for _ in range(2):  # the second round shows that the error has ended
        wire.send("P", b"\0" + sql + b"\0\0\0")
        wire.send("B", BIND_41)
        wire.send("D", b"P\0")
        wire.send("E", b"\0\0\0\0\0")
        wire.send("S")
        received = wire.until("Z")
        assert "".join(kind for kind, _ in received) == kinds
        assert received[-1] == ("Z", b"I")
        assert [body[-2:] for kind, body in received if kind == "D"] == [b"42"] * kinds.count("D")


PARENT = """
import sys
from engines.timescaledb import TimescaleDBServer
with TimescaleDBServer() as server:
    print(server.dsn, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_server_ends_when_its_parent_is_killed(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        dsn = starter.stdout.readline().strip()
        psycopg2.connect(dsn).close()
        started = psutil.Process(starter.pid).children(recursive=True)
        assert any("server.mjs" in " ".join(process.cmdline()) for process in started)
        starter.send_signal(number)
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
