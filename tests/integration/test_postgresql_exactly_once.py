"""Every batch is stored once, despite broken connections and other writers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from engines.statements import execute
from kit.backends.programs import Program
from kit.backends.proxy import Break, proxied
from kit.backends.samples import NOW, SECOND, batch_of, exemplar, histogram, point, series, summary
from kit.backends.stored_rows import count

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.errors import BackendUnavailableError, RetryableError
from exporter.model import Batch, Watermark, WriteResult

WRITER_APPLICATION_NAME = "the_writer"
WRITER_ID = "receiver-1"


def mixed(seconds: int) -> Batch:
    time = NOW + seconds * SECOND
    return batch_of(
        point(1, time),
        point(2, time, start=NOW),
        new_series=(series(1), series(2)),
        histograms=(histogram(3, time),),
        summaries=(summary(4, time),),
        exemplars=(exemplar(3, time),),
        watermark=Watermark(WRITER_ID, seconds + 1),
    )


def write_until_stored(backend: PostgreSQLBackend, batch: Batch) -> int:
    """Retry as the pipeline does; returns the number of retries."""
    for attempt in range(100):
        try:
            result = backend.write(batch)
        except RetryableError:
            continue
        assert result.stored == batch.entries
        return attempt
    raise AssertionError("it was never stored")


@pytest.mark.parametrize("how", Break)
def test_a_batch_is_stored_once_when_the_reply_to_its_commit_is_lost(
    postgresql_database: str, how: Break
) -> None:
    with proxied(postgresql_database) as (proxy, dsn):
        backend = PostgreSQLBackend(dsn)
        backend.start()
        backend.write(mixed(0))
        for seconds in range(1, 4):
            proxy.next_commit = how
            batch = mixed(seconds)
            with pytest.raises(BackendUnavailableError, match="storing a batch failed"):
                backend.write(batch)
            was_stored = how is not Break.BEFORE
            assert backend.write(batch) == WriteResult(stored=4, already_stored=was_stored)
            assert proxy.next_commit is None
            assert count(backend) == 2 * (seconds + 1)
        for table in ("metric_histograms", "metric_summaries", "metric_exemplars"):
            assert count(backend, table) == 4
        backend.close()


@pytest.mark.parametrize("how", Break)
def test_altered_texts_count_once_when_the_reply_to_a_commit_is_lost(
    postgresql_database: str, how: Break
) -> None:
    with proxied(postgresql_database) as (proxy, dsn), closing(PostgreSQLBackend(dsn)) as backend:
        backend.start()
        backend.write(mixed(0))
        proxy.next_commit = how
        batch = replace(mixed(1), exemplars=(exemplar(3, span_id="a\0b"),))
        with pytest.raises(BackendUnavailableError):
            backend.write(batch)
        assert backend.write(batch).altered_texts == 1
        assert backend.write(mixed(2)).altered_texts == 0


@pytest.mark.parametrize("batches_before", [0, 3])
@pytest.mark.parametrize("how", Break)
def test_a_new_process_continues_after_the_last_commit(
    postgresql_database: str, how: Break, batches_before: int
) -> None:
    with proxied(postgresql_database) as (proxy, dsn):
        first = PostgreSQLBackend(dsn)
        first.start()
        first.write(replace(mixed(-1), watermark=None))  # creates the partitions
        for seconds in range(batches_before):
            first.write(mixed(seconds))
        proxy.next_commit = how
        with pytest.raises(BackendUnavailableError):
            first.write(mixed(batches_before))
        first.close()
        second = PostgreSQLBackend(dsn)
        second.start()
        # With Break.LATE the server receives the COMMIT only during this call.
        reached = second.last_sequence(WRITER_ID)
        assert reached == batches_before + (how is not Break.BEFORE)
        for seconds in range(reached, batches_before + 2):
            assert second.write(mixed(seconds)) == WriteResult(stored=4)
        assert count(second) == 2 * (batches_before + 3)
        second.close()


def test_a_batch_without_a_watermark_is_stored_each_time(postgresql_database: str) -> None:
    with closing(PostgreSQLBackend(postgresql_database)) as backend:
        backend.start()
        for _ in range(2):
            assert backend.write(replace(mixed(0), watermark=None)) == WriteResult(stored=4)
        assert count(backend) == 4
        assert count(backend, "ingest_ledger") == 0


def test_a_writer_whose_connection_is_killed_repeatedly(postgresql_database: str) -> None:
    parts = urlsplit(postgresql_database)
    dsn = urlunsplit(parts._replace(query=f"application_name={WRITER_APPLICATION_NAME}"))
    backend = PostgreSQLBackend(dsn, pool_min_connections=0)
    backend.start()
    backend.write(mixed(0))
    done = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill_writers, postgresql_database, done.is_set)
        try:
            retries = sum(write_until_stored(backend, mixed(n)) for n in range(1, 300))
        finally:
            done.set()
        assert killing.result() > 0
    assert retries > 0
    assert count(backend) == 600
    assert backend.fetch("SELECT count(DISTINCT timestamp) FROM system_metrics") == [(300,)]
    assert count(backend, "metric_exemplars") == 300
    backend.close()


def kill_writers(dsn: str, is_done: Callable[[], bool]) -> int:
    """Kill the writer's session while it is in a transaction; returns how often."""
    killed = 0
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        while not is_done():
            killed += len(
                execute(
                    connection,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = %s AND state <> 'idle' AND query NOT LIKE 'BEGIN%%' "
                    "AND random() < 0.02",
                    (WRITER_APPLICATION_NAME,),
                )
            )
    return killed


def test_processes_and_threads_write_the_same_days_and_series_at_once(
    postgresql_database: str,
) -> None:
    batches = 400
    with ExitStack() as programs:
        running = [
            programs.enter_context(
                Program("write_to_postgresql", postgresql_database, first, batches)
            )
            for first in (0, 2 * batches)
        ]
        for program in running:
            program.resume()
        assert [program.lines() for program in running] == [[str(2 * batches * 9)]] * 2

    with closing(PostgreSQLBackend(postgresql_database, read_only=True)) as backend:
        backend.start()
        rows = backend.fetch("SELECT value, series_id FROM system_metrics")
        assert Counter((int(value), series_id) for value, series_id in rows) == Counter(
            (index, (index * 7 + place) % 40) for index in range(4 * batches) for place in range(8)
        )
        assert count(backend, "metric_histograms") == 4 * batches
        assert count(backend, "metric_series") == 40
        assert backend.fetch("SELECT count(*), sum(last_sequence) FROM ingest_ledger") == [
            (4, 4 * batches)
        ]
        [(deadlocks,)] = backend.fetch(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        assert deadlocks == 0
