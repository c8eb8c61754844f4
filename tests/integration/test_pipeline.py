"""The pipeline on real engines, with the faults that engines really have."""

import sqlite3
import threading
import time
from collections.abc import Callable
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
from exporter.pipeline import Pipeline

NOW = time.time_ns()


def request(points: int, *, series: int = 0, first_time: int = NOW) -> bytes:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name=f"m{series}")
    for at in range(points):
        metric.gauge.data_points.add(time_unix_nano=first_time + at * 1_000_000, as_double=at)
    return message.SerializeToString()


def balanced(pipeline: Pipeline) -> bool:
    now = pipeline.stats()
    settled = now.points_stored + now.points_failed + now.points_refused
    return now.points_accepted == settled + now.points_queued


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


def pipeline_to(path: Path, **options: float) -> Pipeline:
    backend = SQLiteBackend(f"sqlite:///{path}", busy_timeout_seconds=0.05)
    return Pipeline(backend, **options)  # type: ignore[arg-type]


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
    for _ in range(3):
        assert pipeline.submit(request(2, first_time=0)).total == 1
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


def test_a_batch_that_is_refused_for_good_does_not_block_the_next(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = pipeline_to(path, batch_size=1, batch_interval_seconds=3600.0)
    pipeline.start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("ALTER TABLE system_metrics RENAME TO hidden")
    pipeline.submit(request(5))
    eventually(lambda: pipeline.stats().points_failed == 5)
    other.execute("ALTER TABLE hidden RENAME TO system_metrics")
    other.close()
    pipeline.submit(request(4))
    assert pipeline.flush()
    assert pipeline.shutdown()
    assert stored(path) == 4
    assert balanced(pipeline)
    assert "5 data points could not be stored" in caplog.text
    # the definition went down with the first batch and came again with the second
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT metric_name FROM metric_series").fetchall() == [("m0",)]
    connection.close()


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
    pipeline = Pipeline(MemoryBackend(max_memory_entries=10), batch_size=1)
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


def test_a_refused_backend_error_is_not_retried() -> None:
    assert not BackendRefusedError.retryable
    assert QueueFullError.retryable
    assert ShuttingDownError.retryable
