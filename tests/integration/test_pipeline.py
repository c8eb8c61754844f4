"""The pipeline on real engines, with the faults that engines really have."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.backends.memory import MemoryBackend
from exporter.backends.sqlite import SQLiteBackend
from exporter.errors import (
    BackendRefusedError,
    DecodeError,
    ExporterError,
    QueueFullError,
    ShuttingDownError,
)
from exporter.pipeline import Pipeline, build_pipeline
from exporter.spool import Spool

NOW = time.time_ns()


def request(points: int, *, series: int = 0, first_time: int = NOW) -> bytes:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name=f"m{series}")
    for at in range(points):
        metric.gauge.data_points.add(time_unix_nano=first_time + at * 1_000_000, as_double=at)
    return message.SerializeToString()


def balanced(pipeline: Pipeline) -> bool:
    return pipeline.stats().is_balanced


def eventually(condition: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def stored(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM system_metrics").fetchone()[0])
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def pipeline_to(path: Path, *, spooled: bool = False, **options: float) -> Pipeline:
    backend = SQLiteBackend(f"sqlite:///{path}", busy_timeout_seconds=0.05)
    spool = spool_beside(path) if spooled else None
    return build_pipeline(backend, spool, **options)  # type: ignore[arg-type]


def spool_beside(path: Path, max_bytes: int = 10**9) -> Spool:
    return Spool(path.with_suffix(".spool"), max_bytes=max_bytes, retry_window_seconds=3600.0)


def test_a_full_batch_is_written_at_once(path: Path) -> None:
    pipeline = pipeline_to(path, batch_size=10, batch_interval_seconds=3600.0)
    pipeline.start()
    pipeline.submit(request(10))
    eventually(lambda: stored(path) == 10)
    assert pipeline.shutdown()


def test_a_small_batch_waits_no_longer_than_the_interval(path: Path) -> None:
    pipeline = pipeline_to(path, batch_size=1000, batch_interval_seconds=0.1)
    pipeline.start()
    pipeline.submit(request(3))
    eventually(lambda: stored(path) == 3)
    assert pipeline.shutdown()


def test_flush_writes_what_was_accepted_before_it(path: Path) -> None:
    pipeline = pipeline_to(path, batch_size=1000, batch_interval_seconds=3600.0)
    pipeline.start()
    pipeline.submit(request(3))
    assert pipeline.flush()
    assert stored(path) == 3
    assert pipeline.flush()  # nothing to do is done
    assert pipeline.shutdown()


def test_shutdown_writes_what_has_gathered_and_refuses_what_comes(path: Path) -> None:
    pipeline = pipeline_to(path, batch_size=1000, batch_interval_seconds=3600.0)
    pipeline.start()
    pipeline.submit(request(7))
    assert pipeline.shutdown()
    assert stored(path) == 7
    with pytest.raises(ShuttingDownError):
        pipeline.submit(request(1))
    assert pipeline.shutdown()
    assert balanced(pipeline)


def test_before_start_nothing_is_taken(path: Path) -> None:
    pipeline = pipeline_to(path)
    with pytest.raises(ShuttingDownError):
        pipeline.submit(request(1))
    assert pipeline.shutdown()


def test_a_backend_that_cannot_open_starts_nothing(tmp_path: Path) -> None:
    pipeline = pipeline_to(tmp_path / "missing" / "store.db")
    before = threading.active_count()
    with pytest.raises(ExporterError, match="missing"):
        pipeline.start()
    assert threading.active_count() == before
    assert pipeline.shutdown()


def test_an_undecodable_request_is_counted_and_harms_nothing(path: Path) -> None:
    pipeline = pipeline_to(path, batch_interval_seconds=3600.0)
    pipeline.start()
    with pytest.raises(DecodeError):
        pipeline.submit(b"\xff\xff")
    pipeline.submit(request(2))
    assert pipeline.shutdown()
    assert stored(path) == 2
    assert pipeline.stats().requests_undecodable == 1


def test_rejections_are_counted_each_and_logged_once_a_minute(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = pipeline_to(path, batch_interval_seconds=3600.0)
    pipeline.start()
    for at in range(3):
        wrong = request(2, first_time=0)
        assert pipeline.submit(wrong + request(1, series=at)).total == 1
    assert pipeline.stats().points_rejected == 3
    assert caplog.text.count("1 because time_unix_nano is 0 (m0)") == 1
    assert pipeline.shutdown()


def test_a_locked_file_is_tried_again_until_it_is_free(path: Path) -> None:
    pipeline = pipeline_to(path, batch_size=1, batch_interval_seconds=3600.0)
    pipeline.start()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    pipeline.submit(request(5))
    eventually(lambda: pipeline.stats().write_retries >= 2)
    pipeline.submit(request(5, series=1))
    assert stored(path) == 0
    assert balanced(pipeline)
    holder.execute("ROLLBACK")
    holder.close()
    assert pipeline.flush()
    assert stored(path) == 10
    assert pipeline.shutdown()


def test_while_the_backend_is_stuck_the_queue_is_bounded(path: Path) -> None:
    pipeline = pipeline_to(path, batch_size=1, max_queued_entries=10)
    pipeline.start()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    pipeline.submit(request(6))
    pipeline.submit(request(6, series=1))
    with pytest.raises(QueueFullError, match="12 data points wait"):
        pipeline.submit(request(1, series=2))
    assert pipeline.stats().requests_turned_away == 1
    holder.execute("ROLLBACK")
    holder.close()
    assert pipeline.flush()
    pipeline.submit(request(1, series=2))
    assert pipeline.shutdown()
    assert stored(path) == 13
    assert balanced(pipeline)


def test_shutdown_gives_up_at_its_deadline_and_says_so(path: Path) -> None:
    pipeline = pipeline_to(path, batch_size=1)
    pipeline.start()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    pipeline.submit(request(5))
    assert not pipeline.shutdown(timeout_seconds=0.5)
    assert pipeline.stats().points_queued == 5
    holder.execute("ROLLBACK")
    holder.close()


def test_a_database_that_needs_its_operator_loses_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = pipeline_to(path, batch_size=1, batch_interval_seconds=3600.0)
    pipeline.start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("ALTER TABLE system_metrics RENAME TO hidden")
    pipeline.submit(request(5))
    eventually(lambda: pipeline.stats().write_retries >= 2)
    assert pipeline.stats().points_queued == 5
    assert "no such table" in caplog.text
    other.execute("ALTER TABLE hidden RENAME TO system_metrics")
    other.close()
    pipeline.submit(request(4, first_time=NOW + 10**9))
    assert pipeline.flush()
    assert pipeline.shutdown()
    assert stored(path) == 9
    assert balanced(pipeline)


def refuse_value(path: Path, value: float) -> None:
    """Let a trigger of the database's owner refuse points of one value."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        "CREATE TRIGGER no_such_value BEFORE INSERT ON system_metrics "
        f"WHEN new.value = {value} BEGIN SELECT raise(ABORT, 'not this value'); END"
    )
    connection.close()


@pytest.mark.parametrize("with_spool", [False, True], ids=["memory", "spool"])
def test_a_row_that_is_refused_goes_among_the_dead_letters_and_the_rest_is_stored(
    path: Path, *, with_spool: bool
) -> None:
    pipeline = pipeline_to(path, spooled=with_spool, batch_size=1, batch_interval_seconds=3600.0)
    pipeline.start()
    refuse_value(path, 3.0)
    pipeline.submit(request(10))
    assert pipeline.flush()
    pipeline.submit(request(2, first_time=NOW + 10**9))
    assert pipeline.flush()
    now = pipeline.stats()
    assert (now.points_stored, now.points_dead, now.points_queued) == (11, 1, 0)
    assert now.is_balanced
    assert pipeline.shutdown()
    connection = sqlite3.connect(path)
    [(kind, reason)] = connection.execute("SELECT kind, reason FROM dead_letters").fetchall()
    connection.close()
    assert kind == "point"
    assert "not this value" in reason


def test_points_older_than_the_retention_go_at_start(path: Path) -> None:
    day = 86_400 * 10**9
    keeping = pipeline_to(path)
    keeping.start()
    keeping.submit(request(2, first_time=NOW - 40 * day))
    keeping.submit(request(3, first_time=NOW - 20 * day))
    assert keeping.shutdown()
    assert stored(path) == 5
    cleaning = pipeline_to(path, retention_days=30.0)
    cleaning.start()
    eventually(lambda: cleaning.stats().rows_expired == 2)
    assert cleaning.shutdown()
    assert stored(path) == 3


def test_memory_that_is_full_lets_the_oldest_go_and_counts_them() -> None:
    pipeline = build_pipeline(MemoryBackend(max_memory_entries=10), batch_size=1)
    pipeline.start()
    for at in range(10):
        pipeline.submit(request(5, series=at, first_time=NOW + at * 10**9))
    assert pipeline.flush()
    now = pipeline.stats()
    assert (now.points_stored, now.rows_evicted) == (50, 40)
    assert pipeline.shutdown()


def test_many_threads_submit_at_once_and_nothing_is_lost(path: Path) -> None:
    pipeline = pipeline_to(path, batch_size=50, batch_interval_seconds=0.01)
    pipeline.start()

    def send(series: int) -> None:
        for at in range(40):
            pipeline.submit(request(5, series=series, first_time=NOW + at * 10**9))

    threads = [threading.Thread(target=send, args=(series,)) for series in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pipeline.shutdown()
    assert stored(path) == 8 * 40 * 5
    assert pipeline.stats().points_stored == 8 * 40 * 5


@pytest.mark.parametrize("with_spool", [False, True], ids=["memory", "spool"])
def test_the_same_bytes_again_are_answered_the_same_and_stored_once(
    path: Path, *, with_spool: bool
) -> None:
    pipeline = pipeline_to(path, spooled=with_spool, batch_interval_seconds=3600.0)
    pipeline.start()
    data = request(3) + request(1, series=1, first_time=0)
    assert pipeline.submit(data).total == 1
    assert pipeline.submit(data).total == 1
    assert pipeline.flush()
    assert pipeline.submit(data).total == 1
    now = pipeline.stats()
    assert (now.points_accepted, now.requests_deduplicated) == (3, 2)
    assert pipeline.shutdown()
    assert stored(path) == 3
    assert now.is_balanced


def test_what_was_acknowledged_waits_in_the_spool_for_the_next_start(path: Path) -> None:
    crashed = pipeline_to(path, spooled=True, batch_size=1000, batch_interval_seconds=3600.0)
    crashed.start()
    for at in range(20):
        crashed.submit(request(5, first_time=NOW + at * 10**9))
    assert stored(path) == 0
    abandon(crashed, path)
    again = pipeline_to(path, spooled=True, batch_interval_seconds=3600.0)
    again.start()
    assert again.stats().points_replayed == 100
    assert again.flush()
    assert stored(path) == 100
    assert again.submit(request(5, first_time=NOW)).total == 0
    assert again.stats().requests_deduplicated == 1
    assert again.shutdown()
    assert again.stats().is_balanced
    assert stored(path) == 100


def test_a_write_that_fails_at_the_last_moment_leaves_nothing_open(path: Path) -> None:
    backend = SQLiteBackend(f"sqlite:///{path}", busy_timeout_seconds=0.5)
    pipeline = build_pipeline(backend, spool_beside(path), batch_interval_seconds=3600.0)
    pipeline.start()
    pipeline.submit(request(5))
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert not pipeline.shutdown(timeout_seconds=0.1)
    again = pipeline_to(path, spooled=True)
    again.start()
    assert again.shutdown()
    assert stored(path) == 5


def abandon(pipeline: Pipeline, path: Path) -> None:
    """Stop a pipeline as a crash does: with nothing written that was not written before."""
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert not pipeline.shutdown(timeout_seconds=1.0)
    holder.execute("ROLLBACK")
    holder.close()


def test_a_batch_that_was_stored_before_the_crash_is_not_stored_again(path: Path) -> None:
    first = pipeline_to(path, spooled=True, batch_interval_seconds=3600.0)
    first.start()
    first.submit(request(5))
    assert first.flush()
    first.submit(request(5, first_time=NOW + 10**9))
    abandon(first, path)
    # The second half of a crash: the spool has not heard of the commit.
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute("SELECT last_sequence FROM ingest_ledger").fetchall() == [(1,)]
    connection.close()
    again = pipeline_to(path, spooled=True, batch_interval_seconds=3600.0)
    again.start()
    assert again.stats().points_replayed == 5
    assert again.shutdown()
    assert stored(path) == 10


def test_an_outage_costs_disk_and_not_memory(path: Path) -> None:
    pipeline = pipeline_to(
        path, spooled=True, batch_size=1, max_queued_entries=20, batch_interval_seconds=3600.0
    )
    pipeline.start()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for at in range(50):
        pipeline.submit(request(5, series=at % 7, first_time=NOW + at * 10**9))
    assert pipeline.stats().points_queued == 250
    assert pipeline.stats().spool_requests == 50
    assert stored(path) == 0
    holder.execute("ROLLBACK")
    holder.close()
    # New data while the writer catches up keeps its place in the order.
    for at in range(50, 100):
        pipeline.submit(request(5, series=at % 7, first_time=NOW + at * 10**9))
    assert pipeline.flush()
    assert stored(path) == 500
    connection = sqlite3.connect(path)
    [(series,)] = connection.execute("SELECT count(*) FROM metric_series").fetchall()
    connection.close()
    assert series == 7
    assert pipeline.shutdown()
    assert balanced(pipeline)


def test_a_full_spool_turns_senders_away_until_there_is_room(path: Path) -> None:
    backend = SQLiteBackend(f"sqlite:///{path}", busy_timeout_seconds=0.05)
    pipeline = build_pipeline(backend, spool_beside(path, max_bytes=2_000), batch_size=1)
    pipeline.start()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for at in range(100):
        if not pipeline.is_accepting:
            break
        pipeline.submit(request(20, first_time=NOW + at * 10**9))
    with pytest.raises(QueueFullError, match="spool_max_size_mib"):
        pipeline.submit(request(1, series=1))
    taken = pipeline.stats().points_accepted
    holder.execute("ROLLBACK")
    holder.close()
    assert pipeline.flush()
    assert pipeline.is_accepting
    pipeline.submit(request(20, first_time=NOW + 10**12))
    assert pipeline.shutdown()
    assert stored(path) == taken + 20


def test_requests_that_wait_too_long_turn_senders_away(path: Path) -> None:
    backend = SQLiteBackend(f"sqlite:///{path}", busy_timeout_seconds=0.05)
    pipeline = build_pipeline(
        backend, spool_beside(path), batch_interval_seconds=3600.0, spool_max_age_seconds=1e-6
    )
    pipeline.start()
    pipeline.submit(request(1))
    with pytest.raises(QueueFullError, match="spool_max_age_seconds"):
        pipeline.submit(request(1, series=1))
    assert pipeline.shutdown()
    assert stored(path) == 1


def test_too_many_series_are_rejected_by_name_and_known_ones_stay(path: Path) -> None:
    pipeline = pipeline_to(path, spooled=True, max_series=3, batch_interval_seconds=3600.0)
    pipeline.start()
    for at in range(3):
        assert pipeline.submit(request(1, series=at)).total == 0
    rejections = pipeline.submit(request(2, series=3))
    assert rejections.total == 2
    assert "max_series" in rejections.message()
    assert pipeline.submit(request(1, series=1, first_time=NOW + 10**9)).total == 0
    abandon(pipeline, path)
    again = pipeline_to(path, spooled=True, max_series=1)
    again.start()  # what was accepted under a higher limit is stored
    assert again.shutdown()
    assert stored(path) == 4


def test_too_little_memory_turns_senders_away_only_while_something_waits(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = pipeline_to(path, batch_interval_seconds=3600.0, memory_limit_bytes=1)
    pipeline.start()
    pipeline.submit(request(1))
    assert caplog.text.count("clearing the cache of known series") == 1
    with pytest.raises(QueueFullError, match="memory_limit_mib"):
        pipeline.submit(request(1, series=1))
    assert pipeline.flush()
    pipeline.submit(request(1, series=2))
    assert caplog.text.count("clearing the cache of known series") == 1  # not for each message
    assert pipeline.shutdown()
    assert stored(path) == 2


def test_too_little_memory_is_said_before_a_message_is_received(path: Path) -> None:
    pipeline = pipeline_to(path, batch_interval_seconds=3600.0, memory_limit_bytes=1)
    pipeline.start()
    with pipeline.admit():
        # With one under way it may be the requests that fill the memory.
        with pytest.raises(QueueFullError, match="memory_limit_mib"):
            pipeline.admit()
        pipeline.submit(request(1))
    with pytest.raises(QueueFullError, match="memory_limit_mib"):
        pipeline.admit()
    assert pipeline.flush()
    with pipeline.admit():
        pipeline.submit(request(1, series=2))
    assert pipeline.shutdown()
    counts = pipeline.stats()
    assert (counts.requests, counts.requests_turned_away) == (4, 2)
    assert stored(path) == 2


def test_a_clock_that_jumps_loses_and_doubles_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset_nano = 0
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + offset_nano)
    pipeline = pipeline_to(path, spooled=True, batch_size=50, batch_interval_seconds=0.05)
    pipeline.start()
    day = 86_400 * 10**9
    sent = []
    for at in range(60):
        offset_nano = (0, -400 * day, 3 * day, -1, 7_200 * 10**9)[at % 5]
        sent.append(request(5, series=at % 3, first_time=NOW + at * 10**9))
        pipeline.submit(sent[-1])
        pipeline.submit(sent[at // 2])  # a second attempt
    assert pipeline.flush()
    assert pipeline.stats().points_accepted == 300
    assert pipeline.shutdown()
    assert stored(path) == 300
    assert balanced(pipeline)


def test_many_threads_share_the_syncs_of_a_spool(path: Path) -> None:
    pipeline = pipeline_to(path, spooled=True, batch_size=50, batch_interval_seconds=0.01)
    pipeline.start()

    def send(series: int) -> None:
        for at in range(40):
            pipeline.submit(request(5, series=series, first_time=NOW + at * 10**9))

    threads = [threading.Thread(target=send, args=(series,)) for series in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pipeline.shutdown()
    assert stored(path) == 8 * 40 * 5
    assert balanced(pipeline)


def test_a_refused_backend_error_is_not_retried() -> None:
    assert not BackendRefusedError.retryable
    assert QueueFullError.retryable
    assert ShuttingDownError.retryable
