"""The pipeline into SQLite files, with the faults that databases have."""

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from kit.backends.samples import SECOND, cost
from kit.pipelines import (
    DAY_SECONDS,
    NEVER_SECONDS,
    abandon,
    build_pipeline,
    pipeline_to,
    query_file,
    request,
    spool_beside,
    spooled_pipeline_to,
    started,
    stored,
    wait_until,
    write_locked,
)

from exporter.backends.memory import MemoryBackend
from exporter.backends.sqlite import SQLiteBackend
from exporter.errors import DecodeError, ExporterError, QueueFullError, ShuttingDownError
from exporter.model import Batch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_a_full_batch_is_written_at_once(path: Path) -> None:
    pipeline = started(pipeline_to(path, batch_size=10))
    pipeline.submit(request(10))
    wait_until(lambda: stored(path) == 10)
    assert pipeline.shutdown()


def test_a_small_batch_waits_no_longer_than_the_interval(path: Path) -> None:
    pipeline = started(pipeline_to(path, batch_size=1000, batch_interval_seconds=0.1))
    pipeline.submit(request(3))
    wait_until(lambda: stored(path) == 3)
    assert pipeline.shutdown()


def test_flush_writes_what_was_accepted_before_it(path: Path) -> None:
    pipeline = started(pipeline_to(path, batch_size=1000))
    pipeline.submit(request(3))
    assert pipeline.flush()
    assert stored(path) == 3
    assert pipeline.flush()  # nothing to do is done
    assert pipeline.shutdown()


def test_shutdown_writes_what_waits_and_refuses_new_requests(path: Path) -> None:
    pipeline = started(pipeline_to(path, batch_size=1000))
    pipeline.submit(request(7))
    assert pipeline.shutdown()
    assert stored(path) == 7
    with pytest.raises(ShuttingDownError):
        pipeline.submit(request(1))
    assert pipeline.shutdown()
    assert pipeline.stats().is_balanced


def test_before_start_requests_are_refused(path: Path) -> None:
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


def test_an_undecodable_request_is_counted_and_leaves_the_rest_alone(path: Path) -> None:
    pipeline = started(pipeline_to(path))
    with pytest.raises(DecodeError):
        pipeline.submit(b"\xff\xff")
    pipeline.submit(request(2))
    assert pipeline.shutdown()
    assert stored(path) == 2
    assert pipeline.stats().requests_undecodable == 1


def test_each_rejection_is_counted_and_one_a_minute_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = started(pipeline_to(path))
    for at in range(3):
        wrong = request(2, first_unix_nano=0)
        assert pipeline.submit(wrong + request(1, series=at)).total == 1
    assert pipeline.stats().points_rejected == 3
    assert caplog.text.count("1 because time_unix_nano is 0 (m0)") == 1
    assert pipeline.shutdown()


def test_a_write_to_a_locked_file_is_retried_until_it_is_free(path: Path) -> None:
    pipeline = started(pipeline_to(path, batch_size=1))
    with write_locked(path):
        pipeline.submit(request(5))
        wait_until(lambda: pipeline.stats().write_retries >= 2)
        pipeline.submit(request(5, series=1))
        assert stored(path) == 0
        assert pipeline.stats().is_balanced
    assert pipeline.flush()
    assert stored(path) == 10
    assert pipeline.shutdown()


def test_the_queue_is_bounded_while_the_backend_cannot_write(path: Path) -> None:
    pipeline = started(pipeline_to(path, batch_size=1, max_queued_entries=10))
    with write_locked(path):
        pipeline.submit(request(6))
        pipeline.submit(request(6, series=1))
        with pytest.raises(QueueFullError, match="12 data points wait"):
            pipeline.submit(request(1, series=2))
        assert pipeline.stats().requests_turned_away == 1
    assert pipeline.flush()
    pipeline.submit(request(1, series=2))
    assert pipeline.shutdown()
    assert stored(path) == 13
    assert pipeline.stats().is_balanced


def test_shutdown_ends_at_its_deadline_and_returns_false(path: Path) -> None:
    pipeline = started(pipeline_to(path, batch_size=1))
    with write_locked(path):
        pipeline.submit(request(5))
        assert not pipeline.shutdown(timeout_seconds=0.5)
        assert pipeline.stats().points_queued == 5


def test_a_permanent_error_of_the_database_loses_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = started(pipeline_to(path, batch_size=1))
    query_file(path, "ALTER TABLE system_metrics RENAME TO hidden")
    pipeline.submit(request(5))
    wait_until(lambda: pipeline.stats().write_retries >= 2)
    assert pipeline.stats().points_queued == 5
    assert "no such table" in caplog.text
    query_file(path, "ALTER TABLE hidden RENAME TO system_metrics")
    pipeline.submit(request(4, seconds=1))
    assert pipeline.flush()
    assert pipeline.shutdown()
    assert stored(path) == 9
    assert pipeline.stats().is_balanced


@pytest.mark.parametrize("with_spool", [False, True], ids=["memory", "spool"])
def test_a_refused_row_becomes_a_dead_letter_and_the_rest_is_stored(
    path: Path, *, with_spool: bool
) -> None:
    pipeline = started(pipeline_to(path, spool_beside(path) if with_spool else None, batch_size=1))
    query_file(
        path,
        "CREATE TRIGGER no_such_value BEFORE INSERT ON system_metrics "
        "WHEN new.value = 3.0 BEGIN SELECT raise(ABORT, 'not this value'); END",
    )
    pipeline.submit(request(10))
    assert pipeline.flush()
    pipeline.submit(request(2, seconds=1))
    assert pipeline.flush()
    now = pipeline.stats()
    assert (now.points_stored, now.points_dead, now.points_queued) == (11, 1, 0)
    assert now.is_balanced
    assert pipeline.shutdown()
    [(kind, reason)] = query_file(path, "SELECT kind, reason FROM dead_letters")
    assert kind == "point"
    assert "not this value" in reason


def test_expired_points_are_deleted_at_start(path: Path) -> None:
    keeping = started(pipeline_to(path))
    keeping.submit(request(2, seconds=-40 * DAY_SECONDS))
    keeping.submit(request(3, seconds=-20 * DAY_SECONDS))
    assert keeping.shutdown()
    assert stored(path) == 5
    cleaning = started(pipeline_to(path, retention_days=30.0))
    wait_until(lambda: cleaning.stats().rows_expired == 2)
    assert cleaning.shutdown()
    assert stored(path) == 3


def test_expired_costs_are_deleted_later_than_points_and_bills_never(path: Path) -> None:
    days_ago = {"kept": 1_000, "expired": 1_200, "bill": 1_200}
    entries = (
        cost(
            name,
            time_unix_nano=time.time_ns() - days * DAY_SECONDS * SECOND,
            source="focus" if name == "bill" else "log",
        )
        for name, days in days_ago.items()
    )
    with closing(SQLiteBackend(path)) as backend:
        backend.start()
        backend.write(Batch(costs=tuple(entries)))
    cleaning = started(pipeline_to(path, retention_days=30.0))
    wait_until(lambda: cleaning.stats().rows_expired == 1)
    assert cleaning.shutdown()
    left = query_file(path, "SELECT entry_id FROM cost_entries ORDER BY entry_id")
    assert left == [("bill",), ("kept",)]


def test_a_full_memory_backend_evicts_the_oldest_and_counts_them() -> None:
    pipeline = started(build_pipeline(MemoryBackend(max_memory_entries=10), batch_size=1))
    for at in range(10):
        pipeline.submit(request(5, series=at, seconds=at))
    assert pipeline.flush()
    now = pipeline.stats()
    assert (now.points_stored, now.rows_evicted) == (50, 40)
    assert pipeline.shutdown()


@pytest.mark.parametrize("with_spool", [False, True], ids=["memory", "spool"])
def test_concurrent_requests_are_all_stored(path: Path, *, with_spool: bool) -> None:
    spool = spool_beside(path) if with_spool else None
    pipeline = started(pipeline_to(path, spool, batch_size=50, batch_interval_seconds=0.01))

    def send(series: int) -> None:
        for at in range(40):
            pipeline.submit(request(5, series=series, seconds=at))

    threads = [threading.Thread(target=send, args=(series,)) for series in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pipeline.shutdown()
    assert stored(path) == 8 * 40 * 5
    assert pipeline.stats().points_stored == 8 * 40 * 5
    assert pipeline.stats().is_balanced


@pytest.mark.parametrize("with_spool", [False, True], ids=["memory", "spool"])
def test_the_same_bytes_again_get_the_same_reply_and_are_stored_once(
    path: Path, *, with_spool: bool
) -> None:
    pipeline = started(pipeline_to(path, spool_beside(path) if with_spool else None))
    data = request(3) + request(1, series=1, first_unix_nano=0)
    assert pipeline.submit(data).total == 1
    assert pipeline.submit(data).total == 1
    assert pipeline.flush()
    assert pipeline.submit(data).total == 1
    now = pipeline.stats()
    assert (now.points_accepted, now.requests_deduplicated) == (3, 2)
    assert pipeline.shutdown()
    assert stored(path) == 3
    assert now.is_balanced


def test_acknowledged_requests_wait_in_the_spool_for_the_next_start(path: Path) -> None:
    crashed = started(spooled_pipeline_to(path, batch_size=1000))
    for at in range(20):
        crashed.submit(request(5, seconds=at))
    assert stored(path) == 0
    abandon(crashed, path)
    again = started(spooled_pipeline_to(path))
    assert again.stats().points_replayed == 100
    assert again.flush()
    assert stored(path) == 100
    assert again.submit(request(5)).total == 0
    assert again.stats().requests_deduplicated == 1
    assert again.shutdown()
    assert again.stats().is_balanced
    assert stored(path) == 100


def test_a_write_that_fails_at_the_deadline_leaves_nothing_open(path: Path) -> None:
    backend = SQLiteBackend(f"sqlite:///{path}", busy_timeout_seconds=0.5)
    pipeline = build_pipeline(backend, spool_beside(path), batch_interval_seconds=NEVER_SECONDS)
    pipeline.start()
    pipeline.submit(request(5))
    with write_locked(path):
        assert not pipeline.shutdown(timeout_seconds=0.1)
    again = started(spooled_pipeline_to(path))
    assert again.shutdown()
    assert stored(path) == 5


def test_a_batch_that_was_stored_before_the_crash_is_not_stored_again(path: Path) -> None:
    first = started(spooled_pipeline_to(path))
    first.submit(request(5))
    assert first.flush()
    first.submit(request(5, seconds=1))
    abandon(first, path)
    # The spool has not been told of the first commit, as after a crash.
    assert query_file(path, "SELECT last_sequence FROM ingest_ledger") == [(1,)]
    again = started(spooled_pipeline_to(path))
    assert again.stats().points_replayed == 5
    assert again.shutdown()
    assert stored(path) == 10


def test_an_outage_fills_the_spool_and_not_memory(path: Path) -> None:
    pipeline = started(spooled_pipeline_to(path, batch_size=1, max_queued_entries=20))
    with write_locked(path):
        for at in range(50):
            pipeline.submit(request(5, series=at % 7, seconds=at))
        assert pipeline.stats().points_queued == 250
        assert pipeline.stats().spool_requests == 50
        assert stored(path) == 0
    # Requests that arrive while the writer catches up are stored in order too.
    for at in range(50, 100):
        pipeline.submit(request(5, series=at % 7, seconds=at))
    assert pipeline.flush()
    assert stored(path) == 500
    assert stored(path, "metric_series") == 7
    assert pipeline.shutdown()
    assert pipeline.stats().is_balanced


def test_requests_are_refused_while_the_spool_is_full(path: Path) -> None:
    pipeline = started(pipeline_to(path, spool_beside(path, max_bytes=2_000), batch_size=1))
    with write_locked(path):
        for at in range(100):
            if not pipeline.is_accepting:
                break
            pipeline.submit(request(20, seconds=at))
        with pytest.raises(QueueFullError, match="spool_max_size_mib"):
            pipeline.submit(request(1, series=1))
        taken = pipeline.stats().points_accepted
    assert pipeline.flush()
    assert pipeline.is_accepting
    pipeline.submit(request(20, seconds=1000))
    assert pipeline.shutdown()
    assert stored(path) == taken + 20


def test_requests_are_refused_while_others_wait_too_long(path: Path) -> None:
    pipeline = started(spooled_pipeline_to(path, spool_max_age_seconds=1e-6))
    pipeline.submit(request(1))
    with pytest.raises(QueueFullError, match="spool_max_age_seconds"):
        pipeline.submit(request(1, series=1))
    assert pipeline.shutdown()
    assert stored(path) == 1


def test_series_beyond_the_limit_are_rejected_and_known_ones_are_stored(path: Path) -> None:
    pipeline = started(spooled_pipeline_to(path, max_series=3))
    for at in range(3):
        assert pipeline.submit(request(1, series=at)).total == 0
    rejections = pipeline.submit(request(2, series=3))
    assert rejections.total == 2
    assert "max_series" in rejections.message()
    assert pipeline.submit(request(1, series=1, seconds=1)).total == 0
    abandon(pipeline, path)
    again = spooled_pipeline_to(path, max_series=1)
    again.start()  # accepted under a higher limit
    assert again.shutdown()
    assert stored(path) == 4


def test_requests_beyond_the_memory_limit_are_refused_unless_idle(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = started(pipeline_to(path, memory_limit_mib=0))
    pipeline.submit(request(1))
    assert caplog.text.count("clearing the cache of known series") == 1
    with pytest.raises(QueueFullError, match="memory_limit_mib"):
        pipeline.submit(request(1, series=1))
    assert pipeline.flush()
    pipeline.submit(request(1, series=2))
    assert caplog.text.count("clearing the cache of known series") == 1  # not for each message
    assert pipeline.shutdown()
    assert stored(path) == 2


def test_a_message_beyond_the_memory_limit_is_not_admitted(path: Path) -> None:
    pipeline = started(pipeline_to(path, memory_limit_mib=0))
    with pipeline.admit():
        # With one in flight, requests may be what fills the memory.
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


def test_a_clock_that_jumps_loses_and_duplicates_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset_nano, day_nano = 0, DAY_SECONDS * 10**9
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + offset_nano)
    pipeline = started(spooled_pipeline_to(path, batch_size=50, batch_interval_seconds=0.05))
    sent = []
    for at in range(60):
        offset_nano = (0, -400 * day_nano, 3 * day_nano, -1, 7_200 * 10**9)[at % 5]
        sent.append(request(5, series=at % 3, seconds=at))
        pipeline.submit(sent[-1])
        pipeline.submit(sent[at // 2])  # its client's second attempt
    assert pipeline.flush()
    assert pipeline.stats().points_accepted == 300
    assert pipeline.shutdown()
    assert stored(path) == 300
    assert pipeline.stats().is_balanced
