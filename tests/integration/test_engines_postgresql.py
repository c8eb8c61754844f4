"""The temporary PostgreSQL server of the tests: stop, crash, restart and removal."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
from engines.postgresql import PostgreSQLServer
from engines.statements import execute

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_committed_data_survives_a_restart(
    own_postgresql_server: PostgreSQLServer, mode: str
) -> None:
    dsn = own_postgresql_server.databases.create()
    with closing(psycopg2.connect(dsn)) as connection:
        execute(connection, "CREATE TABLE samples (value int)")
        connection.commit()
        execute(connection, "INSERT INTO samples VALUES (1)")
        own_postgresql_server.restart("immediate" if mode == "immediate" else "fast")
        with pytest.raises(psycopg2.OperationalError):
            execute(connection, "SELECT 1")
    with closing(psycopg2.connect(dsn)) as connection:
        assert execute(connection, "SELECT count(*) FROM samples") == [(0,)]


def test_stop_and_start_keep_the_address(own_postgresql_server: PostgreSQLServer) -> None:
    own_postgresql_server.stop()
    assert not own_postgresql_server.is_running
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(own_postgresql_server.dsn)
    own_postgresql_server.start()
    with closing(psycopg2.connect(own_postgresql_server.dsn)) as connection:
        assert execute(connection, "SELECT 1") == [(1,)]


def test_the_socket_needs_no_password(own_postgresql_server: PostgreSQLServer) -> None:
    with closing(psycopg2.connect(own_postgresql_server.socket_dsn)) as connection:
        assert execute(connection, "SELECT inet_server_addr()") == [(None,)]


def test_major_version_fsync_and_settings() -> None:
    with (
        PostgreSQLServer(major=18, fsync=True, settings={"work_mem": "5MB"}) as server,
        closing(psycopg2.connect(server.dsn)) as connection,
    ):
        assert connection.server_version >= 180000
        question = "SELECT current_setting('fsync'), current_setting('work_mem')"
        assert execute(connection, question) == [("on", "5MB")]


PARENT = """
import sys
from engines.postgresql import PostgreSQLServer
with PostgreSQLServer() as server:
    print(server.dsn, flush=True)
    print(server.socket_dsn, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_when_its_parent_is_killed(number: signal.Signals) -> None:
    before = set(psutil.pids())
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
        folder = Path(starter.stdout.readline().split("host=")[1].split("&")[0])
        psycopg2.connect(dsn).close()
        started = processes_with_argument(folder, before)
        starter.send_signal(number)
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert not folder.exists()


def processes_with_argument(folder: Path, but: set[int]) -> Sequence[psutil.Process]:
    found = [
        process
        for process in psutil.process_iter(["pid", "cmdline"])
        if process.pid not in but and str(folder) in " ".join(process.info["cmdline"] or ())
    ]
    assert len(found) >= 2  # the server and its watchdog
    return found
