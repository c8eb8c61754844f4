"""How `serve` starts, runs and stops; real processes."""

import json
import logging
import queue
import re
import signal
import sqlite3
import stat
import threading
import time
from contextlib import closing
from itertools import count
from pathlib import Path

import grpc
import pytest
from kit.pipelines import request, write_locked
from kit.processes import Program, environment, run
from kit.receiver import send as send_data

from exporter.cli.serve import is_loopback, report_counters
from exporter.stats import Snapshot

FILE = "openfinops_telemetry.db"
STAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
POINTS = 10
# Between requests: their points are a millisecond apart, and must not overlap.
SPACING_NANO = POINTS * 1_000_000


def export(channel: grpc.Channel, first_unix_nano: int) -> None:
    data = request(POINTS, first_unix_nano=first_unix_nano)
    assert send_data(channel, data) == b"", "partial_success is set"


def send(address: str, *, requests: int = 1) -> None:
    with grpc.insecure_channel(address) as channel:
        for number in range(requests):
            export(channel, 1_700_000_000_000_000_000 + number * SPACING_NANO)


def stored(folder: Path) -> int:
    with closing(sqlite3.connect(folder / FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (rows,) = connection.execute("SELECT count(*) FROM system_metrics").fetchone()
    return int(rows)


def test_the_log_says_where_data_is_stored_and_what_it_listens_on(tmp_path: Path) -> None:
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
        address = program.wait_until_listening()
        assert program.stop() == 0
    first, second = program.lines[0], next(line for line in program.lines if "listening" in line)
    assert re.match(STAMP + "INFO keeping data in sqlite ", first)
    assert f" {tmp_path / FILE} (configuration: built-in defaults, command line)" in first
    assert re.match(STAMP + "INFO listening for OTLP/gRPC on ", second)
    assert second.endswith(f" {address}, storing into sqlite {tmp_path / FILE}")
    host, _, port = address.rpartition(":")
    assert host == "localhost"
    assert 1024 < int(port) < 65536


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_acknowledged_points_are_stored_when_a_signal_stops_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    # The batch is neither full nor due, so only the shutdown writes it.
    env = environment(OPENFINOPS_BATCH_SIZE="1000", OPENFINOPS_BATCH_INTERVAL_SECONDS="3600")
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path, env=env) as program:
        send(program.wait_until_listening(), requests=3)
        assert stored(tmp_path) == 0
        assert program.stop(number) == 0
    assert stored(tmp_path) == 3 * POINTS
    assert f"INFO {number.name}: stopping" in program.log
    assert "INFO stopped: requests=3 points_accepted=30 points_stored=30" in program.log
    assert not list(tmp_path.glob("*-wal")), "the file was not closed"


def test_stopping_under_load_loses_nothing(tmp_path: Path) -> None:
    under_load = threading.Event()
    acknowledged: list[int] = []
    endings: list[grpc.StatusCode] = []
    clients = 4

    def client(index: int, address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            for number in count(1):
                try:
                    export(channel, (index * 1_000_000 + number) * SPACING_NANO)
                except grpc.RpcError as error:
                    endings.append(error.code())
                    return
                acknowledged.append(number)
                if len(acknowledged) > 300:
                    under_load.set()

    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
        address = program.wait_until_listening()
        threads = [
            threading.Thread(target=client, args=(index, address)) for index in range(clients)
        ]
        for thread in threads:
            thread.start()
        assert under_load.wait(60)
        assert program.stop() == 0
        for thread in threads:
            thread.join(60)
    # Both tell an OTLP client to send the same again later.
    assert set(endings) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert len(endings) == clients
    # A request whose reply was lost may be stored too: one for each client.
    surplus = stored(tmp_path) - len(acknowledged) * POINTS
    assert 0 <= surplus <= clients * POINTS


@pytest.mark.parametrize("delay_seconds", [0.0, 0.1, 0.2, 0.4, 0.8])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_cleanly(
    number: signal.Signals, delay_seconds: float, tmp_path: Path
) -> None:
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
        time.sleep(delay_seconds)
        code = program.stop(number)
    # Before its signal handler is installed, the program ends as any process does.
    assert code in {0, -number} or (number is signal.SIGINT and "KeyboardInterrupt" in program.log)
    if code == 0:
        assert "INFO stopped" in program.log
    if (tmp_path / FILE).exists():
        with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
            program.wait_until_listening()
            assert program.stop() == 0
        assert stored(tmp_path) == 0


def test_a_signal_while_the_database_is_locked_ends_it_before_it_listens(tmp_path: Path) -> None:
    start_and_stop(tmp_path)
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
        with write_locked(tmp_path / FILE):
            program.wait_for_line("keeping data in")
            program.send(signal.SIGTERM)
        assert program.wait() == 0
    assert "listening" not in program.log
    assert "INFO stopped: nothing was received" in program.log


def start_and_stop(folder: Path) -> None:
    with Program("serve", "--endpoint", "localhost:0", cwd=folder) as program:
        program.wait_until_listening()
        assert program.stop() == 0


@pytest.mark.parametrize("spool", ["on", "off"])
def test_points_that_are_not_stored_in_time_are_counted(tmp_path: Path, spool: str) -> None:
    env = environment(OPENFINOPS_SHUTDOWN_TIMEOUT_SECONDS="1", OPENFINOPS_SPOOL=spool)
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path, env=env) as program:
        send(program.wait_until_listening(), requests=3)
        with write_locked(tmp_path / FILE):
            assert program.stop() == (0 if spool == "on" else 1)
    if spool == "on":
        assert "30 data points wait in the spool" in program.log
    else:
        assert "the spool is off" in program.log
        assert "30 accepted data points could not be written" in program.log


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(second: signal.Signals, tmp_path: Path) -> None:
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
        send(program.wait_until_listening())
        with write_locked(tmp_path / FILE):
            program.send(signal.SIGTERM)
            program.wait_for_line("SIGTERM: stopping, at most 25 s")
            began = time.monotonic()
            assert program.stop(second) == 128 + second
            assert time.monotonic() - began < 5


def test_nohup_keeps_it_running_after_sighup(tmp_path: Path) -> None:
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path, prefix=["nohup"]) as program:
        address = program.wait_until_listening()
        program.send(signal.SIGHUP)
        send(address)
        assert program.stop() == 0
    assert stored(tmp_path) == POINTS


def test_a_taken_port_is_an_error_with_its_address(tmp_path: Path) -> None:
    with Program("serve", "--endpoint", "127.0.0.1:0", cwd=tmp_path) as first:
        address = first.wait_until_listening()
        second = run("serve", "--endpoint", address, "--db", "other.db", cwd=tmp_path)
        assert first.stop() == 0
    assert second.returncode == 1
    error = second.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert address in error
    assert "Traceback" not in second.stderr


def test_a_foreign_file_is_an_error_and_stays_unchanged(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("not a database, but long enough to look like something" * 100)
    before = foreign.read_bytes()
    result = run("serve", "--endpoint", "localhost:0", "--db", "notes.txt", cwd=tmp_path)
    assert result.returncode == 1
    assert f"error: sqlite {foreign}" in result.stderr
    assert foreign.read_bytes() == before


def test_it_warns_if_other_machines_can_reach_it(tmp_path: Path) -> None:
    arguments = ("serve", "--endpoint", "0.0.0.0:0", "--backend", "memory")
    with Program(*arguments, cwd=tmp_path) as program:
        address = program.wait_until_listening()
        program.wait_for_line(rf"WARNING {re.escape(address)} can be reached from other machines")
        assert program.stop() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_file_is_read_only_with_config(tmp_path: Path) -> None:
    (tmp_path / "otel-config.yaml").write_text("exporters: {openfinops: {backend: memory}}")
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
        program.wait_for_line("keeping data in sqlite")
        program.wait_for_line("otel-config.yaml in this folder is not read; to use it: serve --con")
        program.wait_until_listening()
        assert program.stop() == 0
    arguments = ("serve", "--config", "otel-config.yaml", "--endpoint", "localhost:0")
    with Program(*arguments, cwd=tmp_path) as program:
        program.wait_for_line(r"keeping data in memory \(configuration: otel-config.yaml, command")
        program.wait_until_listening()
        assert program.stop() == 0


def test_connection_limits_of_the_file_reach_grpc(tmp_path: Path) -> None:
    (tmp_path / "otel.yaml").write_text(
        "receivers: {otlp: {protocols: {grpc: {endpoint: 'localhost:0', max_concurrent_streams: 5, "
        "keepalive: {server_parameters: {max_connection_idle: 300ms, time: 10s, timeout: 5s}, "
        "enforcement_policy: {min_time: 5s, permit_without_stream: true}}}}}}"
    )
    states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
    with Program("serve", "--config", "otel.yaml", cwd=tmp_path) as program:
        with grpc.insecure_channel(program.wait_until_listening()) as channel:
            channel.subscribe(states.put)
            assert states.get(timeout=30) is grpc.ChannelConnectivity.IDLE
            export(channel, 1_700_000_000_000_000_000)
            while states.get(timeout=30) is not grpc.ChannelConnectivity.READY:
                pass
            # The receiver closes the idle connection.
            assert states.get(timeout=30) is grpc.ChannelConnectivity.IDLE
        assert program.stop() == 0


def test_log_level_hides_lower_levels(tmp_path: Path) -> None:
    env = environment(OPENFINOPS_NO_SUCH_KEY="1")
    arguments = ("serve", "--endpoint", "localhost:0", "--log-level")
    with Program(*arguments, "warning", cwd=tmp_path, env=env) as program:
        program.wait_for_line(STAMP + "WARNING OPENFINOPS_NO_SUCH_KEY")
        assert program.stop() == 0
    assert "INFO" not in program.log


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("localhost:4317", True),
        ("LocalHost:4317", True),
        ("127.0.0.1:4317", True),
        ("127.1.2.3:0", True),
        ("[::1]:4317", True),
        ("unix:///run/otlp.sock", True),
        ("0.0.0.0:4317", False),
        ("[::]:4317", False),
        (":4317", False),
        ("10.0.0.1:4317", False),
        ("collector.example.com:4317", False),
    ],
)
def test_loopback_endpoints(endpoint: str, *, expected: bool) -> None:
    assert is_loopback(endpoint) is expected


def test_counters_are_logged_only_if_they_have_changed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    # At 0 s, then every 5 s; lines may come at 10, 20, 30 and 40 s.
    snapshots = [Snapshot(requests=number) for number in (0, 0, 0, 1, 2, 2, 2, 5, 5)]
    taken: list[Snapshot] = []
    published: list[Snapshot] = []

    def wait(seconds: float) -> bool:
        assert seconds == 5.0
        return len(taken) == len(snapshots)

    def stats() -> Snapshot:
        taken.append(snapshots[len(taken)])
        return taken[-1]

    report_counters(wait, stats, 10.0, published.append)
    assert caplog.messages == ["requests=2", "requests=5"]
    assert published == snapshots


def test_stats_shows_the_counters_of_a_receiver_that_cannot_reach_its_database(
    tmp_path: Path,
) -> None:
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path) as program:
        with grpc.insecure_channel(program.wait_until_listening()) as channel:
            export(channel, 10**18)
        status = tmp_path / f"{FILE}.spool.status.json"
        until = time.monotonic() + 30
        while '"requests": 1' not in status.read_text():
            assert time.monotonic() < until
            time.sleep(0.1)
        shown = run("stats", cwd=tmp_path).stdout
        assert "points_queued" in shown
        answer = json.loads(run("stats", "--format", "json", cwd=tmp_path).stdout)
        assert answer["receiver"]["pid"] == program.pid
        assert answer["receiver"]["counters"]["points_accepted"] == POINTS
        assert program.stop() == 0
    answer = json.loads(run("stats", "--format", "json", cwd=tmp_path).stdout)
    assert answer["receiver"]["counters"]["points_stored"] == POINTS
    assert stat.S_IMODE(status.stat().st_mode) == 0o600
