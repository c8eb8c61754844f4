"""Starting while the database is away: all requests are stored once when it is back."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from engines.postgresql import PostgreSQLServer
from engines.timescaledb import TimescaleDBServer
from kit.backends.postgresql import run
from kit.pipelines import (
    abandon,
    build_pipeline,
    locked,
    pipeline_to,
    query_file,
    request,
    spool_beside,
    spooled_pipeline_to,
    started,
    stored,
    wait_until,
)

from exporter.backends.base import Backend
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.timescaledb import timescaledb_backend
from exporter.errors import BackendRefusedError, BackendUnavailableError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def create_store(path: Path) -> None:
    """Make a store and a spool, both empty."""
    pipeline = started(spooled_pipeline_to(path))
    assert pipeline.shutdown()


def crash_with_pending(path: Path, requests: int) -> None:
    """Store a request, and crash with so many more in the spool."""
    crashed = started(spooled_pipeline_to(path, batch_size=1000))
    crashed.submit(request(5, 0))
    assert crashed.flush()
    for at in range(1, requests + 1):
        crashed.submit(request(5, at))
    abandon(crashed, path)


def test_requests_are_accepted_and_stored_when_the_database_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_store(path)
    pipeline = spooled_pipeline_to(path)
    with locked(path):
        pipeline.start()
        for at in range(20):
            assert pipeline.submit(request(5, at, series=at % 3)).total == 0
        assert pipeline.is_accepting
        assert not pipeline.flush(0.3)
        now = pipeline.stats()
        assert (now.points_queued, now.spool_requests, now.is_balanced) == (100, 20, True)
        pipeline.submit(request(5, 3))
        assert pipeline.stats().requests_deduplicated == 1
        with pytest.raises(BackendUnavailableError, match="holds the lock"):
            pipeline.require_backend()
    assert pipeline.flush()
    pipeline.require_backend()
    pipeline.submit(request(5, 100))
    assert pipeline.shutdown()
    assert stored(path) == 105
    now = pipeline.stats()
    assert (now.points_stored, now.points_replayed, now.is_balanced) == (105, 0, True)
    [warning] = [line for line in caplog.messages if "cannot be reached" in line]
    assert str(path) in warning
    assert str(path.with_suffix(".spool")) in warning
    assert "opening the database failed, trying again in" in caplog.text


def test_requests_of_the_last_run_are_stored_first_and_once(path: Path) -> None:
    crash_with_pending(path, 10)
    pipeline = spooled_pipeline_to(path)
    with locked(path):
        pipeline.start()
        pipeline.submit(request(5, 100))
        pipeline.submit(request(5, 10))  # its sender got no reply before the crash
        now = pipeline.stats()
        assert (now.points_accepted, now.points_replayed, now.points_queued) == (55, 50, 55)
        assert now.requests_deduplicated == 1
        assert now.is_balanced
    assert pipeline.flush()
    now = pipeline.stats()
    assert (now.points_stored, now.points_queued, now.is_balanced) == (55, 0, True)
    assert pipeline.shutdown()
    assert stored(path) == 60
    assert query_file(path, "SELECT last_sequence FROM ingest_ledger") == [(12,)]


def test_the_ledger_says_which_spooled_requests_are_stored(path: Path) -> None:
    crash_with_pending(path, 3)
    spool = path.with_suffix(".spool")
    shutil.copy(spool, spool.with_suffix(".copy"))
    storing = started(spooled_pipeline_to(path))
    assert storing.shutdown()
    assert stored(path) == 20
    # As after a crash right after the commit: the spool has not been told of it.
    shutil.move(spool.with_suffix(".copy"), spool)
    pipeline = spooled_pipeline_to(path)
    with locked(path):
        pipeline.start()
        pipeline.submit(request(5, 100))
        assert pipeline.stats().points_queued == 20
    assert pipeline.flush()
    now = pipeline.stats()
    assert (now.points_stored, now.points_queued, now.is_balanced) == (20, 0, True)
    assert pipeline.shutdown()
    assert stored(path) == 25


def test_repeated_starts_without_a_database_lose_nothing(path: Path) -> None:
    crash_with_pending(path, 2)
    with locked(path):
        for run in range(3):
            pipeline = started(spooled_pipeline_to(path))
            assert pipeline.stats().points_replayed == 10 + 5 * run
            pipeline.submit(request(5, 100 + run))
            assert not pipeline.shutdown()
            assert pipeline.stats().points_queued == 15 + 5 * run
    pipeline = started(spooled_pipeline_to(path))
    assert pipeline.stats().points_replayed == 25
    assert pipeline.flush()
    assert pipeline.shutdown()
    assert stored(path) == 30


def put_back_an_older_copy(path: Path) -> None:
    """Let the ledger be at 30, and the spool at 10 with no pending requests."""
    spool = path.with_suffix(".spool")
    for at, first in enumerate((0, 10)):
        pipeline = started(spooled_pipeline_to(path))
        for number in range(10 + 10 * at):
            pipeline.submit(request(5, first + number))
        assert pipeline.shutdown()
        if not at:
            shutil.copy(spool, spool.with_suffix(".copy"))
    shutil.move(spool.with_suffix(".copy"), spool)


@pytest.mark.parametrize("requests", [5, 20, 40])
@pytest.mark.parametrize("starts", [1, 2])
def test_a_ledger_that_is_ahead_does_not_hide_new_requests(
    path: Path, requests: int, starts: int, caplog: pytest.LogCaptureFixture
) -> None:
    put_back_an_older_copy(path)
    pipeline = spooled_pipeline_to(path)
    with locked(path):
        for start in range(starts):
            pipeline = started(spooled_pipeline_to(path))
            for number in range(requests):
                pipeline.submit(request(5, 1000 * (start + 1) + number))
            if start < starts - 1:
                assert not pipeline.shutdown()
    assert pipeline.flush()
    assert pipeline.stats().is_balanced
    pipeline.submit(request(5, 5000))
    assert pipeline.shutdown()
    assert stored(path) == 5 * (30 + requests * starts + 1)
    assert "an older copy of the file was put back" in caplog.text
    again = started(spooled_pipeline_to(path))
    assert again.stats().points_replayed == 0
    assert again.shutdown()


def test_a_run_without_the_ledger_followed_by_a_ledger_that_is_ahead(path: Path) -> None:
    put_back_an_older_copy(path)
    with locked(path):
        killed = started(spooled_pipeline_to(path))
        for number in range(25):  # past the watermark at 30
            killed.submit(request(5, 1000 + number))
        assert not killed.shutdown()
    pipeline = started(spooled_pipeline_to(path))
    assert pipeline.stats().points_replayed == 125
    assert pipeline.flush()
    assert pipeline.shutdown()
    assert stored(path) == 5 * (30 + 25)


@pytest.mark.parametrize("is_ahead", [False, True], ids=["earlier watermark", "watermark ahead"])
def test_concurrent_requests_while_the_database_comes_back(path: Path, *, is_ahead: bool) -> None:
    if is_ahead:
        put_back_an_older_copy(path)
    else:
        crash_with_pending(path, 29)
    before = 150
    pipeline = spooled_pipeline_to(path, batch_size=50, batch_interval_seconds=0.01)
    is_over = threading.Event()
    sent = [0] * 8
    unbalanced: list[object] = []

    def send(series: int) -> None:
        while not is_over.is_set():
            pipeline.submit(request(5, 1000 + sent[series], series=series + 1))
            sent[series] += 1
            now = pipeline.stats()
            if not now.is_balanced:
                unbalanced.append(now)

    with locked(path):
        pipeline.start()
        threads = [threading.Thread(target=send, args=(series,)) for series in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: min(sent) > 3)
    wait_until(lambda: pipeline.stats().batches_written > 3)
    is_over.set()
    for thread in threads:
        thread.join()
    assert pipeline.flush()
    assert pipeline.shutdown()
    assert stored(path) == before + 5 * sum(sent)
    assert unbalanced == []
    assert pipeline.stats().points_queued == 0


def test_an_outage_from_the_start_fills_the_spool_and_not_memory(path: Path) -> None:
    create_store(path)
    pipeline = spooled_pipeline_to(path, max_queued_entries=20)
    with locked(path):
        pipeline.start()
        for at in range(50):
            pipeline.submit(request(5, at))
        assert pipeline._queue.memory_entries == 0  # noqa: SLF001 - nobody else says
    assert pipeline.flush()
    assert pipeline.shutdown()
    assert stored(path) == 250


def test_shutdown_without_a_database_is_quick_and_keeps_all_in_the_spool(path: Path) -> None:
    crash_with_pending(path, 1)
    with locked(path):
        pipeline = started(spooled_pipeline_to(path))
        pipeline.submit(request(5, 100))
        began = time.monotonic()
        assert not pipeline.shutdown(timeout_seconds=25.0)
        assert time.monotonic() - began < 10  # of the 25 s that it was given
        assert not pipeline.is_accepting
        assert not pipeline.shutdown()
    spool = spool_beside(path)
    spool.start()  # the lock is free
    assert spool.state.pending_requests == 2
    spool.close()


def test_shutdown_without_a_database_and_without_requests(path: Path) -> None:
    create_store(path)
    with locked(path):
        pipeline = started(spooled_pipeline_to(path))
        assert pipeline.flush()  # nothing to write
        assert pipeline.shutdown()


def test_expired_rows_are_deleted_once_the_database_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeping = started(spooled_pipeline_to(path))
    keeping.submit(request(5, -10 * 86_400))
    assert keeping.shutdown()
    pipeline = spooled_pipeline_to(path, retention_days=1.0)
    with locked(path):
        pipeline.start()
        pipeline.submit(request(5, 0))
        assert not pipeline.flush(0.5)
    wait_until(lambda: pipeline.stats().rows_expired == 5)
    assert "cleanup failed" not in caplog.text
    assert pipeline.shutdown()
    assert stored(path) == 5


def test_without_a_spool_a_database_that_is_away_is_an_error(path: Path) -> None:
    create_store(path)
    pipeline = pipeline_to(path)
    before = threading.active_count()
    with locked(path), pytest.raises(BackendUnavailableError):
        pipeline.start()
    assert threading.active_count() == before
    assert not pipeline.is_accepting


def test_a_permanent_error_ends_the_start_with_a_spool_too(path: Path) -> None:
    path.write_text("not a database, but long enough to look like something" * 100)
    pipeline = spooled_pipeline_to(path)
    before = threading.active_count()
    with pytest.raises(BackendRefusedError, match="not a SQLite database"):
        pipeline.start()
    assert threading.active_count() == before
    assert pipeline.shutdown()


COUNT = "SELECT count(*) FROM system_metrics"


def backend_of(kind: str, dsn: str) -> Backend:
    return PostgreSQLBackend(dsn) if kind == "postgresql" else timescaledb_backend(dsn)


def assert_survives(
    server: PostgreSQLServer | TimescaleDBServer, kind: str, dsn: str, folder: Path
) -> None:
    """Start with the server and without it, on one spool, and count what is stored."""
    first = build_pipeline(backend_of(kind, dsn), spool_beside(folder / kind), batch_size=1)
    first.start()
    first.submit(request(5, 0))
    assert first.flush(30.0)
    server.stop()
    first.submit(request(5, 1))
    assert not first.shutdown(0.5)
    second = build_pipeline(backend_of(kind, dsn), spool_beside(folder / kind), batch_size=1)
    second.start()
    second.submit(request(5, 2))
    assert second.stats().points_queued >= 10
    server.start()
    assert second.flush(60.0)
    assert second.stats().is_balanced
    assert second.shutdown()
    assert run(dsn, COUNT) == [(15,)]


def test_a_postgresql_that_is_away(own_postgresql_server: PostgreSQLServer, tmp_path: Path) -> None:
    with own_postgresql_server.databases.fresh() as dsn:
        assert_survives(own_postgresql_server, "postgresql", dsn, tmp_path)


def test_a_timescaledb_that_is_away(
    own_timescaledb_server: TimescaleDBServer, tmp_path: Path
) -> None:
    with own_timescaledb_server.databases.fresh() as dsn:
        run(dsn, "CREATE EXTENSION IF NOT EXISTS timescaledb")
        assert_survives(own_timescaledb_server, "timescaledb", dsn, tmp_path)


def test_a_server_that_comes_back_without_the_database_is_retried(
    own_postgresql_server: PostgreSQLServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    parts = urlsplit(own_postgresql_server.dsn)
    dsn = urlunsplit(parts._replace(path="/yet_to_be_restored"))
    own_postgresql_server.stop()
    pipeline = started(build_pipeline(PostgreSQLBackend(dsn), spool_beside(tmp_path / "store")))
    pipeline.submit(request(5, 0))
    own_postgresql_server.start()
    wait_until(lambda: "create the database" in caplog.text)
    levels = {one.levelno for one in caplog.records if "create the database" in one.message}
    assert levels == {logging.ERROR}
    assert pipeline.is_accepting
    pipeline.submit(request(5, 1))
    server_dsn = own_postgresql_server.dsn
    run(server_dsn, "CREATE DATABASE yet_to_be_restored TEMPLATE template0")
    assert pipeline.flush(60.0)
    assert pipeline.shutdown()
    assert run(dsn, COUNT) == [(10,)]
    run(server_dsn, "DROP DATABASE yet_to_be_restored")
