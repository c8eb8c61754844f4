"""Reads run beside a write, see whole batches only, and cannot change data."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.backends.samples import NOW, SECOND, batch_of, flood, point, series
from kit.backends.stored_rows import count

from exporter.backends.base import Backend
from exporter.errors import BackendRefusedError
from exporter.model import Batch

ROWS = 2_000
BATCHES = 25


def test_reads_see_whole_batches_only(backend: Backend) -> None:
    done = threading.Event()

    def counts() -> list[int]:
        seen = []
        while not done.is_set():
            seen.append(count(backend))
        return [*seen, count(backend)]

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(counts) for _ in range(3)]
        try:
            for index in range(BATCHES):
                backend.write(Batch(points=flood(ROWS, time=NOW + index * SECOND)))
        finally:
            done.set()
        for reader in readers:
            seen = reader.result()
            assert seen == sorted(seen)
            assert seen[-1] == ROWS * BATCHES
            assert {rows % ROWS for rows in seen} == {0}


def test_a_series_is_visible_with_its_points(backend: Backend) -> None:
    done = threading.Event()
    orphans = (
        "SELECT count(*) FROM system_metrics AS m WHERE NOT EXISTS "
        "(SELECT 1 FROM metric_series AS s WHERE s.series_id = m.series_id)"
    )

    def most_orphans() -> int:
        most = 0
        while not done.is_set():
            [(found,)] = backend.fetch(orphans)
            most = max(most, found)
        return most

    with ThreadPoolExecutor(1) as thread:
        reader = thread.submit(most_orphans)
        try:
            for index in range(50):
                backend.write(batch_of(point(index), new_series=(series(index),)))
        finally:
            done.set()
        assert reader.result() == 0


def test_parameters_are_bound(backend: Backend) -> None:
    backend.write(batch_of(point(1, value=1.0), point(2, value=2.0)))
    mark = backend.dialect.placeholder
    # Only the placeholder is inserted.
    statement = f"SELECT value FROM system_metrics WHERE series_id = {mark} AND value > {mark}"  # noqa: S608
    assert backend.fetch(statement, [2, 0.5]) == [(2.0,)]
    assert backend.fetch(statement, (1, 1.5)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM system_metrics",
        "INSERT INTO metric_series (series_id) VALUES (1)",
        "DROP TABLE metric_exemplars",
        "CREATE TABLE mine (x INTEGER)",
    ],
)
def test_only_reading_statements_are_answered(backend: Backend, statement: str) -> None:
    backend.write(batch_of(point(1)))
    with pytest.raises(BackendRefusedError, match="reading failed"):
        backend.fetch(statement)
    backend.write(batch_of(point(2)))
    assert count(backend) == 2
    assert count(backend, "metric_exemplars") == 0


@pytest.mark.parametrize(
    "statement", ["SELEC 1", "SELECT nonsense FROM system_metrics", "SELECT 1; SELECT 2", "BEGIN"]
)
def test_a_wrong_statement_leaves_the_backend_usable(backend: Backend, statement: str) -> None:
    if statement == "BEGIN":
        assert backend.fetch(statement) == []
    else:
        with pytest.raises(BackendRefusedError, match="reading failed"):
            backend.fetch(statement)
    backend.write(batch_of(point(1)))
    assert count(backend) == 1


def test_parameters_that_do_not_fit_are_refused(backend: Backend) -> None:
    mark = backend.dialect.placeholder
    with pytest.raises(BackendRefusedError, match="reading failed"):
        backend.fetch(f"SELECT {mark}", (1, 2))
    with pytest.raises(BackendRefusedError, match="reading failed"):
        backend.fetch(f"SELECT {mark}", (object(),))
