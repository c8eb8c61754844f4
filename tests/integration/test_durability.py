"""Acknowledged points are stored once, whatever is killed in between; real processes."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from engines.postgresql import PostgreSQLServer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from kit.backends.proxy import Break, proxied
from kit.durability.senders import Sender, assert_stored_once, sending
from kit.durability.stores import Store, free_port, postgresql_store, sqlite_store
from kit.pipelines import wait_until
from kit.processes import DEADLINE_SECONDS, Program, environment, run
from psycopg2.extensions import make_dsn


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return sqlite_store(tmp_path)
    return postgresql_store(request.getfixturevalue("postgresql_database"), tmp_path)


def program(
    store: Store, address: str, folder: Path, prefix: Sequence[str] = (), **settings: str
) -> Program:
    env = environment(**{**store.settings, **settings})
    return Program("serve", "--endpoint", address, cwd=folder, env=env, prefix=prefix)


def acknowledged(senders: list[Sender]) -> int:
    return sum(len(sender.acknowledged) for sender in senders)


def stop_all(senders: list[Sender]) -> None:
    for sender in senders:
        sender.stop()


def assert_healthy(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=20)
    assert answer.status == HealthCheckResponse.SERVING


def store_pending(store: Store, folder: Path) -> None:
    """Start the program once more, and stop it when it has replayed the spool."""
    with program(store, "localhost:0", folder) as running:
        running.wait_until_listening()
        if "from before" in running.log and "caught up" not in running.log:
            running.wait_for_line("caught up")
        assert running.stop() == 0


def test_kill_9_at_any_moment_loses_and_duplicates_nothing(
    store: Store, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    kills: int = pytestconfig.getoption("--kills")
    rng = random.Random(7)
    address = f"localhost:{free_port()}"
    with sending(address) as senders:
        for kill in range(kills):
            with program(store, address, tmp_path) as running:
                if kill % 5 == 4:  # sometimes before it listens, or while it replays
                    time.sleep(rng.uniform(0.3, 1.2))
                else:
                    running.wait_until_listening()
                    time.sleep(rng.uniform(0.0, 0.6))
                running.send(signal.SIGKILL)
        with program(store, address, tmp_path) as running:
            running.wait_until_listening()
            time.sleep(0.5)
            stop_all(senders)
            assert running.stop() == 0
    assert assert_stored_once(senders, store.points()) > kills * 20


def test_requests_are_acknowledged_while_the_database_is_away(
    own_postgresql_server: PostgreSQLServer, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    outage_seconds: float = pytestconfig.getoption("--outage-seconds")
    address = f"localhost:{free_port()}"
    with own_postgresql_server.databases.fresh() as url:
        store = postgresql_store(url, tmp_path)
        with (
            program(store, address, tmp_path) as running,
            sending(running.wait_until_listening(), pause_seconds=0.02) as senders,
        ):
            time.sleep(1)
            own_postgresql_server.stop()
            running.wait_for_line("write failed, trying again")
            before = acknowledged(senders)
            time.sleep(outage_seconds)
            during = acknowledged(senders) - before
            own_postgresql_server.start()
            time.sleep(1)
            stop_all(senders)
            assert running.stop() == 0
        assert during > 100 * outage_seconds
        assert_stored_once(senders, store.points())


def test_a_connection_that_breaks_during_a_commit_duplicates_nothing(
    postgresql_database: str, tmp_path: Path
) -> None:
    with proxied(postgresql_database) as (proxy, url):
        store = postgresql_store(url, tmp_path)
        with (
            program(store, "localhost:0", tmp_path) as running,
            sending(running.wait_until_listening()) as senders,
        ):
            time.sleep(1)  # the first transactions are not those of batches
            for how in [*Break] * 5:
                proxy.next_commit = how
                running.wait_for_line("write succeeded after")
            stop_all(senders)
            assert running.stop() == 0
            assert "stopped: " in running.log
        direct = postgresql_store(postgresql_database, tmp_path)
        assert_stored_once(senders, direct.points())


def test_a_full_disk_refuses_requests_and_loses_nothing(store: Store, tmp_path: Path) -> None:
    # A limit of the file size acts as a full disk and needs no rights: 1,000 blocks of 512 bytes.
    full = ("sh", "-c", 'ulimit -f 1000; exec "$@"', "sh")
    with (
        program(store, "localhost:0", tmp_path, prefix=full) as running,
        sending(running.wait_until_listening()) as senders,
    ):
        running.wait_for_line("file size limits|make room")
        time.sleep(1)
        stop_all(senders)
        running.stop()
    assert acknowledged(senders) > 0
    store_pending(store, tmp_path)
    assert_stored_once(senders, store.points())


def test_stopping_during_an_outage_keeps_everything_in_the_spool(
    own_postgresql_server: PostgreSQLServer, tmp_path: Path
) -> None:
    with own_postgresql_server.databases.fresh() as url:
        store = postgresql_store(url, tmp_path)
        settings = {"OPENFINOPS_SHUTDOWN_TIMEOUT_SECONDS": "3"}
        with (
            program(store, "localhost:0", tmp_path, **settings) as running,
            sending(running.wait_until_listening()) as senders,
        ):
            own_postgresql_server.stop()
            running.wait_for_line("write failed, trying again")
            time.sleep(1)
            began = time.monotonic()
            code = running.stop()
            took_seconds = time.monotonic() - began
            stop_all(senders)
        assert took_seconds < 3 + 5  # a loaded machine may be slow to end a process
        assert code == 0
        assert "wait in the spool" in running.log
        own_postgresql_server.start()
        store_pending(store, tmp_path)
        assert_stored_once(senders, store.points())


def test_a_receiver_that_starts_without_its_database_accepts_requests(
    own_postgresql_server: PostgreSQLServer, tmp_path: Path
) -> None:
    with own_postgresql_server.databases.fresh() as url:
        store = postgresql_store(url, tmp_path)
        address = f"localhost:{free_port()}"
        with sending(address, pause_seconds=0.02) as senders:
            with program(store, address, tmp_path) as running:
                running.wait_until_listening()
                time.sleep(1)
                own_postgresql_server.stop()
                running.wait_for_line("write failed, trying again")
                running.send(signal.SIGKILL)
            for _ in range(2):  # killed again before the database is back
                with program(store, address, tmp_path) as running:
                    running.wait_for_line("WARNING the database at .* cannot be reached; req")
                    running.wait_until_listening()
                    assert_healthy(address)
                    before = acknowledged(senders)
                    wait_until(
                        lambda before=before: acknowledged(senders) > before + 1000,
                        DEADLINE_SECONDS,
                    )
                    running.send(signal.SIGKILL)
            with program(store, address, tmp_path) as running:
                running.wait_for_line("WARNING opening the database failed, trying again in")
                own_postgresql_server.start()
                running.wait_for_line("the database is reached: .* are stored now")
                running.wait_for_line("caught up")
                stop_all(senders)
                assert running.stop() == 0
                assert "stopped: " in running.log
        assert_stored_once(senders, store.points())


def test_stopping_before_the_database_is_back_keeps_everything_in_the_spool(
    own_postgresql_server: PostgreSQLServer, tmp_path: Path
) -> None:
    with own_postgresql_server.databases.fresh() as url:
        store = postgresql_store(url, tmp_path)
        own_postgresql_server.stop()
        with (
            program(store, "localhost:0", tmp_path) as running,
            sending(running.wait_until_listening()) as senders,
        ):
            wait_until(lambda: acknowledged(senders) > 1000, DEADLINE_SECONDS)
            began = time.monotonic()
            code = running.stop()
            took_seconds = time.monotonic() - began
            stop_all(senders)
        assert took_seconds < 20  # of the 25 s of shutdown_timeout_seconds
        assert code == 0
        assert "wait in the spool" in running.log
        counters = json.loads((tmp_path / "requests.spool.status.json").read_text())["counters"]
        assert counters["points_queued"] == counters["points_accepted"] > 0
        own_postgresql_server.start()
        store_pending(store, tmp_path)
        assert_stored_once(senders, store.points())


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"password": "wrong"}, "correct the password in connection_string"),
        ({"dbname": "no_such_database"}, "create the database"),
    ],
    ids=["password", "database"],
)
def test_a_permanent_error_ends_the_program_at_once(
    postgresql_database: str, tmp_path: Path, parts: dict[str, str], words: str
) -> None:
    store = postgresql_store(make_dsn(postgresql_database, **parts), tmp_path)
    result = run(
        "serve", "--endpoint", "localhost:0", cwd=tmp_path, env=environment(**store.settings)
    )
    assert result.returncode == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith("error: postgresql ")
    assert words in error
    assert "listening" not in result.stderr


def test_without_a_spool_a_database_that_is_away_ends_the_program(
    own_postgresql_server: PostgreSQLServer, tmp_path: Path
) -> None:
    store = postgresql_store(own_postgresql_server.dsn, tmp_path)
    own_postgresql_server.stop()
    env = environment(**store.settings, OPENFINOPS_SPOOL="off")
    result = run("serve", "--endpoint", "localhost:0", cwd=tmp_path, env=env)
    assert result.returncode == 1
    assert "check that the server runs" in result.stderr.splitlines()[-1]
    assert "listening" not in result.stderr
