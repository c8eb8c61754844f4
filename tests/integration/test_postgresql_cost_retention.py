"""Streams of PostgreSQL are closed in the transaction that drops their entries."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import psycopg2
import pytest
from engines.statements import execute
from kit.backends.postgresql import started
from kit.backends.samples import NOW, SECOND, cost
from kit.backends.stored_rows import count

from exporter.backends.base import Backend
from exporter.model import Batch, CostBasis, CostSample
from exporter.query import Reader

DAY = 86_400 * SECOND
MIDNIGHT = NOW - NOW % DAY
TOTAL = CostBasis("cumulative", Decimal(1), 3_600.0, "i-1", "compute", "USD")


def write(backend: Backend, *hours: int, series_id: int = 1) -> None:
    """Store a total of 1 an hour at these hours."""
    samples = tuple(
        CostSample(series_id, MIDNIGHT + hour * 3_600 * SECOND + SECOND, MIDNIGHT, hour, TOTAL)
        for hour in hours
    )
    complete = tuple(cost(f"c-{hour}", "0", time_unix_nano=MIDNIGHT + DAY + hour) for hour in hours)
    backend.write(Batch(cost_samples=samples, costs=complete))


def total(backend: Backend) -> Decimal:
    return sum((row["amount"] for row in Reader(backend).cost_totals()), Decimal(0))


def closed_values(backend: Backend) -> list[tuple[object, ...]]:
    return backend.fetch("SELECT closed_value FROM cost_streams WHERE stream_start > 'epoch'")


def test_a_writer_that_takes_long_delays_the_cleanup_of_costs(
    postgresql_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        started(postgresql_database) as backend,
        closing(psycopg2.connect(postgresql_database)) as writer,
    ):
        write(backend, 1, 2, 50)
        execute(writer, "SELECT FROM cost_streams FOR UPDATE")  # its transaction stays open
        with caplog.at_level(logging.WARNING):
            assert backend.delete_before(MIDNIGHT + DAY) == 0
        assert "a statement has used cost_entries" in caplog.text
        assert closed_values(backend) == [(None,)]
        writer.rollback()
        assert backend.delete_before(MIDNIGHT + DAY) == 2
        assert closed_values(backend) == [(2.0,)]
        assert total(backend) == 48


def test_nothing_is_closed_if_the_partition_cannot_be_dropped(postgresql_database: str) -> None:
    with (
        started(postgresql_database) as backend,
        closing(psycopg2.connect(postgresql_database)) as reader,
    ):
        write(backend, 1, 2, 50)
        execute(reader, "SELECT count(*) FROM cost_entries")  # its transaction stays open
        assert backend.delete_before(MIDNIGHT + DAY) == 0
        assert closed_values(backend) == [(None,)]
        write(backend, 3)
        assert total(backend) == 50


def test_late_points_during_a_cleanup_are_closed_or_stored(postgresql_database: str) -> None:
    late = threading.Event()
    with started(postgresql_database) as cleaner, started(postgresql_database) as other:
        write(other, 50)

        def send() -> None:
            for hour in range(1, 21):
                write(other, hour)
                write(other, hour, series_id=2)
            late.set()

        with ThreadPoolExecutor(1) as thread:
            sending = thread.submit(send)
            while not late.is_set() and not sending.done():
                cleaner.delete_before(MIDNIGHT + DAY)
            sending.result()
        cleaner.delete_before(MIDNIGHT + DAY)
        assert closed_values(other) == [(20.0,), (20.0,)]
        assert total(other) == 30
        assert count(other, "cost_entries") == 1 + 21
