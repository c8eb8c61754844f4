"""Partitions of PostgreSQL: created before the first row of a day, dropped by retention."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, cast

import psycopg2
import pytest
from engines.databases import Databases
from engines.statements import Connection, execute
from kit.backends.postgresql import started
from kit.backends.samples import (
    NOW,
    SECOND,
    batch_of,
    exemplar,
    flood,
    histogram,
    point,
    series,
    summary,
)
from kit.backends.stored_rows import count, count_all_rows, stored_points

from exporter.backends.base import Backend
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.postgresql.daily_partitions import PARTITION_LOCK, create_partitions
from exporter.backends.postgresql.partitioning import LOCK_TIMEOUT_MILLISECONDS
from exporter.model import Batch, WriteResult
from exporter.query import Reader

DAY = 86_400 * SECOND
MIDNIGHT = NOW - NOW % DAY
MOST = 2**63 - 1
PARTITIONS = (
    "SELECT inhrelid::regclass::text FROM pg_inherits "
    "WHERE inhparent = 'system_metrics'::regclass ORDER BY 1"
)


@pytest.fixture
def backend(postgresql_database: str) -> Iterator[PostgreSQLBackend]:
    with started(postgresql_database) as one:
        yield one


@contextmanager
def session(dsn: str) -> Iterator[Connection]:
    with closing(psycopg2.connect(dsn)) as connection:
        yield connection


def names(backend: PostgreSQLBackend) -> list[str]:
    return [name for (name,) in backend.fetch(PARTITIONS)]


def test_a_day_ends_at_midnight_utc_in_any_time_zone(postgresql_database: str) -> None:
    elsewhere = f"{postgresql_database}?options=-cTimeZone%3DAsia/Kathmandu"
    with started(elsewhere) as backend:
        times = [MIDNIGHT - 1_000, MIDNIGHT, MIDNIGHT + DAY - 1_000, MIDNIGHT + DAY]
        backend.write(batch_of(*(point(1, time) for time in times)))
        assert names(backend) == [
            "system_metrics_p20231113",
            "system_metrics_p20231114",
            "system_metrics_p20231115",
        ]
        in_the_middle = "SELECT count(*) FROM system_metrics_p20231114"
        assert backend.fetch(in_the_middle) == [(2,)]
        assert {key[0] for key in stored_points(backend)} == {time // 1_000 for time in times}
        assert backend.delete_before(MIDNIGHT + DAY) == 3
        assert names(backend) == ["system_metrics_p20231115"]


def test_a_partition_is_created_only_for_tables_with_rows_of_the_day(
    backend: PostgreSQLBackend,
) -> None:
    backend.write(batch_of(point(1), histograms=(histogram(1, NOW + DAY),)))
    backend.write(Batch(summaries=(summary(1),), exemplars=(exemplar(1), exemplar(1, NOW + DAY))))
    assert [table.partitions for table in backend.sizes().tables] == [1, 1, 1, 2, 0, None]


def test_the_first_and_the_last_possible_time(backend: PostgreSQLBackend) -> None:
    backend.write(batch_of(point(1, 1), point(1, MOST), point(1, MOST - 1_000, start=1_000)))
    assert names(backend) == ["system_metrics_p19700101", "system_metrics_p22620411"]
    assert stored_points(backend) == {
        (0, 1): (1.0, None),
        (MOST // 1_000, 1): (1.0, None),
        (MOST // 1_000 - 1, 1, 1): (1.0, 1),
    }


def test_a_hundred_days_in_one_batch(backend: PostgreSQLBackend) -> None:
    days = flood(500, ids=5)
    days.time_unix_nano[:] = NOW + (days.time_unix_nano - NOW) // 1_000_000 * DAY
    batch = Batch(points=days, histograms=tuple(histogram(1, NOW - n * DAY) for n in range(50)))
    assert backend.write(batch) == WriteResult(stored=550)
    assert len(names(backend)) == 100
    assert backend.fetch(
        "SELECT count(*), count(DISTINCT timestamp) FROM system_metrics WHERE series_id = 3"
    ) == [(100, 100)]
    assert backend.count_before(NOW + 90 * DAY)["system_metrics"] == 90 * 5
    assert backend.delete_before(NOW + 90 * DAY) == 90 * 5 + 50
    assert count_all_rows(backend) == 50


def test_four_writers_create_the_same_days_at_once(postgresql_database: str) -> None:
    barrier = threading.Barrier(4, timeout=60)

    def write(first_id: int) -> int:
        with started(postgresql_database) as backend:
            barrier.wait()
            return sum(
                backend.write(
                    batch_of(*(point(first_id + day, NOW + day * DAY) for day in range(n, 100, 4)))
                ).stored
                for n in range(4)
            )

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(write, (0, 1_000, 2_000, 3_000))) == [100] * 4
    with started(postgresql_database) as backend:
        assert count(backend) == 400
        assert len(names(backend)) == 100


def test_a_partition_is_known_only_after_its_creator_released_the_lock(
    postgresql_database: str,
) -> None:
    day = MIDNIGHT // DAY
    with (
        started(postgresql_database) as backend,
        session(postgresql_database) as creator,
        session(postgresql_database) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        backend.write(batch_of(point(1, NOW)))  # its partition is visible to every session
        execute(creator, f"SELECT pg_advisory_xact_lock({PARTITION_LOCK})")
        looking = thread.submit(create_partitions, other, "system_metrics", [day])
        waiting = (
            "SELECT count(*) FROM pg_locks JOIN pg_database AS base ON base.oid = database "
            "WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
        )
        while backend.fetch(waiting) != [(1,)]:
            assert not looking.done()
        creator.commit()
        assert looking.result(timeout=20) == {day}


def test_a_partition_that_another_program_dropped_is_created_again(
    postgresql_database: str,
) -> None:
    with started(postgresql_database) as writer, started(postgresql_database) as cleaner:
        assert writer.write(batch_of(point(1), point(1, NOW + DAY))).stored == 2
        assert cleaner.delete_before(NOW + DAY) == 1
        late = batch_of(point(2), point(2, NOW + DAY))
        assert writer.write(late) == WriteResult(stored=2)
        assert count(writer) == 3
        assert len(names(writer)) == 2


def test_writers_continue_while_many_days_are_dropped(postgresql_database: str) -> None:
    with started(postgresql_database) as writer, started(postgresql_database) as cleaner:
        for day in range(40):
            writer.write(Batch(points=flood(500, time=NOW + day * DAY)))
        today = NOW + 40 * DAY
        done = threading.Event()

        def clean() -> int:
            try:
                return cleaner.delete_before(today)
            finally:
                done.set()

        longest, batches = 0.0, 0
        with ThreadPoolExecutor(1) as thread:
            cleaning = thread.submit(clean)
            while not done.is_set() or batches < 20:
                began = time.monotonic()
                batches += 1
                writer.write(Batch(points=flood(100, time=today + batches * SECOND)))
                longest = max(longest, time.monotonic() - began)
            assert cleaning.result() == 40 * 500
        assert count(writer) == batches * 100
        assert longest < 5 * LOCK_TIMEOUT_MILLISECONDS / 1_000


def test_a_long_read_delays_the_cleanup_but_not_the_writers(
    postgresql_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    lock_timeout_seconds = LOCK_TIMEOUT_MILLISECONDS / 1_000
    with (
        started(postgresql_database) as writer,
        started(postgresql_database) as cleaner,
        session(postgresql_database) as reader,
    ):
        for day in range(20):
            writer.write(batch_of(point(1, NOW + day * DAY), exemplars=(exemplar(1),)))
        execute(reader, "SELECT count(*) FROM system_metrics")  # its transaction stays open
        with ThreadPoolExecutor(1) as thread, caplog.at_level(logging.WARNING):
            began = time.monotonic()
            cleaning = thread.submit(cleaner.delete_before, NOW + 10 * DAY)
            longest, index = 0.0, 0
            while not cleaning.done():
                write_began = time.monotonic()
                index += 1
                writer.write(batch_of(point(2, NOW + 15 * DAY + index * SECOND)))
                longest = max(longest, time.monotonic() - write_began)
            took = time.monotonic() - began
            assert cleaning.result() == 20  # the exemplars, which no statement uses
        # Only one of ten partitions was tried, and no write waited longer than that.
        assert longest < took < 5 * lock_timeout_seconds
        assert "a statement has used system_metrics" in caplog.text
        assert len(names(writer)) == 20
        reader.rollback()
        assert cleaner.delete_before(NOW + 10 * DAY) == 10
        assert len(names(writer)) == 10


def test_two_cleanups_at_once_count_each_row_once(postgresql_database: str) -> None:
    with started(postgresql_database) as writer:
        writer.write(batch_of(*(point(1, NOW + day * DAY) for day in range(60))))
        barrier = threading.Barrier(3)

        def clean(_: int) -> int:
            with started(postgresql_database) as cleaner:
                barrier.wait()
                return cleaner.delete_before(NOW + 50 * DAY)

        with ThreadPoolExecutor(3) as threads:
            assert sum(threads.map(clean, range(3))) == 50
        assert count(writer) == 10


def test_other_tables_with_names_of_partitions_stay(postgresql_database: str) -> None:
    with started(postgresql_database) as backend, session(postgresql_database) as owner:
        backend.write(batch_of(point(1)))
        execute(owner, "CREATE TABLE system_metrics_p20200101 (mine text)")
        execute(
            owner,
            "CREATE TABLE archive PARTITION OF system_metrics "
            "FOR VALUES FROM ('2001-01-01Z') TO ('2010-01-01Z')",
        )
        owner.commit()
        assert backend.delete_before(NOW + DAY) == 1
        assert names(backend) == ["archive"]
        assert backend.fetch("SELECT count(*) FROM system_metrics_p20200101") == [(0,)]


class Explained:
    """A backend that also reads the plan of each statement about points."""

    def __init__(self, backend: PostgreSQLBackend) -> None:
        self._backend = backend
        self.dialect = backend.dialect
        self.hypertable_catalog = backend.hypertable_catalog
        self.location = backend.location
        self.plan = ""

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if "system_metrics" in statement:
            explain = f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {statement}"
            self.plan = "\n".join(line for (line,) in self._backend.fetch(explain, parameters))
        return self._backend.fetch(statement, parameters)

    def days_read(self) -> set[str]:
        """The days, as YYYYMMDD, of the partitions that were scanned."""
        return set(re.findall(r" on system_metrics_p(\d+) .*\(actual rows", self.plan))


@pytest.fixture(scope="module")
def ten_days(postgresql_server: Databases) -> Iterator[Explained]:
    """Ten days from 2023-11-14 of a hundred series, 20,000 points a day."""
    with postgresql_server.fresh() as dsn, started(dsn) as backend:
        new_series = tuple(
            series(one, metric_name="level", attributes=f'{{"n":{one}}}') for one in range(100)
        )
        for day in range(10):
            time = MIDNIGHT + day * DAY
            backend.write(Batch(new_series=new_series, points=flood(20_000, time=time)))
        with session(dsn) as owner:
            execute(owner, "ANALYZE")
            owner.commit()
        yield Explained(backend)


def seconds(day: float) -> float:
    return MIDNIGHT / SECOND + day * 86_400


def test_a_query_reads_only_the_partitions_of_its_range(ten_days: Explained) -> None:
    reader = Reader(cast(Backend, ten_days))
    range_of_days = {"start_time": seconds(3), "end_time": seconds(5)}
    rows = reader.aggregate("level", aggregation="count", **range_of_days)
    assert [row["value"] for row in rows] == [40_000]
    assert (
        len(set(re.findall(r" on system_metrics_p(\d+)", ten_days.plan))) == 2
    )  # the others are excluded before planning
    assert ten_days.days_read() == {"20231117", "20231118"}


def test_a_query_for_one_series_uses_the_index_of_each_day(ten_days: Explained) -> None:
    reader = Reader(cast(Backend, ten_days))
    question = {"aggregation": "avg", "bucket_seconds": 300.0, "start_time": seconds(8)}
    assert len(reader.aggregate("level", attributes={"n": "7"}, **question)) == 2
    assert len(re.findall("_series_id_timestamp_idx", ten_days.plan)) >= 2
    assert "Seq Scan on system_metrics" not in ten_days.plan
    assert ten_days.days_read() == {"20231122", "20231123"}


def test_the_newest_points_are_read_only_from_the_newest_partition(ten_days: Explained) -> None:
    rows = Reader(cast(Backend, ten_days)).query_historical_metrics(limit=1_000)
    assert len(rows) == 1_000
    assert rows[0]["timestamp"] == seconds(9) + 0.199
    assert ten_days.days_read() == {"20231123"}
    assert ten_days.plan.count("never executed") == 9
