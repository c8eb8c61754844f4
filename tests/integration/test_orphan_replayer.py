"""`serve` stores the orphaned spools of embedded pipelines exactly once, whatever is killed."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.durability.stores import Store, postgresql_store, sqlite_store
from kit.pipelines import query_file, wait_until
from kit.pipelines import stored as rows_in
from kit.processes import DEADLINE_SECONDS, Program, environment, run_command
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from exporter import config
from exporter.embedded import EmbeddedPipeline, OrphanReplayer
from exporter.spool import Spool

TESTS = Path(__file__).parents[1]
REQUESTS, POINTS = 100, 500
START_MICRO = 1_790_000_000_000_000
WAITING = {"OPENFINOPS_BATCH_INTERVAL_SECONDS": "3600", "OPENFINOPS_BATCH_SIZE": "1000000"}

# Acknowledged points stay in the spool, because the batch is not due, until the process is killed.
PROGRAM = """
import os, signal, sys
sys.path[:0] = {paths!r}
from test_orphan_replayer import one_request, pipeline_in_process
pipeline = pipeline_in_process()
for number in range({first}, {first} + {requests}):
    assert not pipeline.submit(one_request(number, {points})).counts
os.kill(os.getpid(), signal.SIGKILL)
"""


def one_request(number: int, points: int) -> bytes:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="left")
    for at in range(points):
        micro = START_MICRO + number * 1_000_000 + at
        metric.gauge.data_points.add(time_unix_nano=micro * 1_000, as_int=at)
    return message.SerializeToString()


def pipeline_in_process() -> EmbeddedPipeline:
    """The pipeline of a program that is configured by its environment."""
    return EmbeddedPipeline(config.load(None, config.process_environment()).exporter)


def kill_with_pending(
    store: Store, folder: Path, *, first: int = 0, requests: int = 3, points: int = 10
) -> set[int]:
    """Kill a process with accepted, unstored requests; returns the times of the points."""
    paths = [str(TESTS), str(TESTS / "integration")]
    program = PROGRAM.format(paths=paths, first=first, requests=requests, points=points)
    env = environment(**{**store.settings, **WAITING})
    done = run_command(sys.executable, "-c", program, cwd=folder, env=env)
    assert done.returncode == -signal.SIGKILL, done.stderr
    numbers = range(first, first + requests)
    return {START_MICRO + number * 1_000_000 + at for number in numbers for at in range(points)}


def serving(store: Store, folder: Path, **settings: str) -> Program:
    env = environment(**{**store.settings, **settings})
    return Program("serve", "--endpoint", "localhost:0", cwd=folder, env=env)


def stored(store: Store) -> Counter[int]:
    """The number of stored rows for each time."""
    return Counter(micro for _, micro in store.points().elements())


def once(times: set[int]) -> Counter[int]:
    return Counter(dict.fromkeys(times, 1))


def slots(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix[1:].isdecimal())


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return sqlite_store(tmp_path)
    return postgresql_store(request.getfixturevalue("postgresql_database"), tmp_path)


def test_serve_stores_the_spool_of_a_killed_process(store: Store, tmp_path: Path) -> None:
    times = kill_with_pending(store, tmp_path)
    (slot,) = slots(tmp_path)
    assert (stored(store), rows_in(slot, "requests")) == (Counter(), 3)
    with serving(store, tmp_path) as program:
        line = program.wait_for_line("stored the orphaned spool").string
        assert str(slot) in line
        assert "points_stored=30 " in line
        assert program.stop() == 0, program.log
    assert (stored(store), rows_in(slot, "requests")) == (once(times), 0)
    with serving(store, tmp_path) as program:
        program.wait_until_listening()
        assert program.stop() == 0, program.log
    assert "stored the orphaned spool" not in program.log
    assert stored(store) == once(times)


def test_requests_that_were_stored_before_the_kill_are_not_stored_again(
    store: Store, tmp_path: Path
) -> None:
    times = kill_with_pending(store, tmp_path)
    (slot,) = slots(tmp_path)
    copies = {path: path.read_bytes() for path in tmp_path.glob(f"{slot.name}*")}
    with serving(store, tmp_path) as program:
        program.wait_for_line("stored the orphaned spool")
        assert program.stop() == 0, program.log
    # The same files as after a kill between the commit and the release in the spool.
    for path in tmp_path.glob(f"{slot.name}*"):
        path.unlink()
    for path, content in copies.items():
        path.write_bytes(content)
    with serving(store, tmp_path) as program:
        program.wait_for_line("stored the orphaned spool")
        assert program.stop() == 0, program.log
    assert (stored(store), rows_in(slot, "requests")) == (once(times), 0)


def test_a_spool_in_use_is_not_touched(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {**store.settings, **WAITING}.items():
        monkeypatch.setenv(name, text)
    alive = pipeline_in_process()
    alive.submit(one_request(100, 10))
    (held,) = slots(tmp_path)
    times = kill_with_pending(store, tmp_path)
    with serving(store, tmp_path) as program:
        # Slots are scanned in the order of their numbers, so slot 1 was scanned before.
        program.wait_for_line(r"stored the orphaned spool .*\.2:")
        assert stored(store) == once(times)
        assert rows_in(held, "requests") == 1
        alive.submit(one_request(101, 10))
        assert alive.shutdown(DEADLINE_SECONDS)
        assert program.stop() == 0, program.log
    more = {START_MICRO + number * 1_000_000 + at for number in (100, 101) for at in range(10)}
    assert stored(store) == once(times | more)


def test_kill_9_of_serve_during_a_replay_loses_and_doubles_nothing(
    store: Store, tmp_path: Path
) -> None:
    times = kill_with_pending(store, tmp_path, requests=REQUESTS, points=POINTS)
    dice = random.Random(7)
    small = {"OPENFINOPS_MEMORY_LIMIT_MIB": "128"}  # makes batches of 8,192 at most
    for kill in range(3):
        before = len(stored(store))
        with serving(store, tmp_path, **small) as program:
            program.wait_for_line("wait in .* and are stored now|listening for")
            if kill % 2:
                time.sleep(dice.uniform(0.0, 0.1))
            else:  # kill between two batches, or after the last one
                wait_until(lambda: before < len(stored(store)) or before == len(times))  # noqa: B023
            program.send(signal.SIGKILL)
        found = stored(store)
        assert found == once(set(found))
    with serving(store, tmp_path, **small) as program:
        program.wait_until_listening()
        wait_until(lambda: len(stored(store)) == len(times))
        assert program.stop() == 0, program.log
    assert stored(store) == once(times)
    (slot,) = slots(tmp_path)
    wait_until(lambda: rows_in(slot, "requests") == 0)


@pytest.fixture
def file(tmp_path: Path) -> Store:
    return sqlite_store(tmp_path)


@pytest.fixture
def replayer(file: Store) -> Iterator[OrphanReplayer]:
    settings = config.load(None, file.settings).exporter
    one = OrphanReplayer(settings, scan_every_seconds=0.05)
    yield one
    assert one.shutdown(DEADLINE_SECONDS)


def test_orphans_of_a_later_crash_are_found(
    file: Store, tmp_path: Path, replayer: OrphanReplayer
) -> None:
    first = kill_with_pending(file, tmp_path)
    replayer.start()
    wait_until(lambda: stored(file) == once(first))
    second = kill_with_pending(file, tmp_path, first=10)
    wait_until(lambda: stored(file) == once(first | second))


def test_a_failure_is_logged_once_and_retried(
    file: Store, tmp_path: Path, replayer: OrphanReplayer, caplog: pytest.LogCaptureFixture
) -> None:
    times = kill_with_pending(file, tmp_path)
    database, away = tmp_path / "store.db", tmp_path / "away"
    for path in tmp_path.glob("store.db*"):
        if "spool" not in path.name:
            path.rename(str(path).replace(str(database), str(away)))
    query_file(database, "CREATE TABLE theirs (x)")
    replayer.start()
    wait_until(lambda: "could not be stored and is tried again" in caplog.text)
    time.sleep(0.5)
    assert caplog.text.count("could not be stored and is tried again") == 1
    database.unlink()
    for path in tmp_path.glob("away*"):
        path.rename(str(path).replace(str(away), str(database)))
    wait_until(lambda: stored(file) == once(times))


def test_shutdown_leaves_unstored_requests_in_the_spool(
    file: Store, tmp_path: Path, replayer: OrphanReplayer, caplog: pytest.LogCaptureFixture
) -> None:
    times = kill_with_pending(file, tmp_path)
    (slot,) = slots(tmp_path)
    database = tmp_path / "store.db"
    query_file(database, "ALTER TABLE system_metrics RENAME TO away")
    replayer.start()
    wait_until(lambda: "write failed, trying again" in caplog.text)
    assert replayer.shutdown(DEADLINE_SECONDS)
    assert rows_in(slot, "requests") == 3
    query_file(database, "ALTER TABLE away RENAME TO system_metrics")
    again = OrphanReplayer(config.load(None, file.settings).exporter)
    again.start()
    wait_until(lambda: rows_in(slot, "requests") == 0)
    assert again.shutdown(DEADLINE_SECONDS)
    assert stored(file) == once(times)


def test_an_empty_spool_is_not_opened_again(
    file: Store, tmp_path: Path, replayer: OrphanReplayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_with_pending(file, tmp_path)
    (slot,) = slots(tmp_path)
    opened = []
    start = Spool.start

    def counted(spool: Spool) -> None:
        opened.append(spool.path)
        start(spool)

    monkeypatch.setattr(Spool, "start", counted)
    replayer.start()
    wait_until(lambda: rows_in(slot, "requests") == 0)
    time.sleep(1)
    assert len(opened) <= 5  # by the scan, by its pipeline, and by the scan that finds it empty


def test_the_backend_memory_has_no_spools_to_scan(tmp_path: Path) -> None:
    settings = config.load(None, {"OPENFINOPS_BACKEND": "memory"}).exporter
    one = OrphanReplayer(settings)
    one.start()
    assert one.shutdown(DEADLINE_SECONDS)
    assert list(tmp_path.iterdir()) == []
