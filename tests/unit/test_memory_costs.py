"""Cost entries in the memory backend: they count as rows, and streams go with their series."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal

import pytest
from kit.backends.samples import NOW, SECOND, batch_of, cost, point, series
from kit.backends.stored_rows import count

from exporter.backends.memory import MemoryBackend
from exporter.model import Batch, CostBasis, CostEntry, CostSample, WriteResult

BASIS = CostBasis("cumulative", Decimal(1), 600.0, "i-1", "compute", "USD")


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    with closing(MemoryBackend(max_memory_entries=10)) as memory:
        memory.start()
        yield memory


def cost_at(at: int) -> CostEntry:
    return cost(f"e-{at}", time_unix_nano=NOW + at * SECOND)


def sample(series_id: int, at: int, value: float) -> CostSample:
    return CostSample(series_id, NOW + at * SECOND, NOW, value, BASIS)


def test_the_oldest_rows_of_all_tables_are_evicted(backend: MemoryBackend) -> None:
    backend.write(batch_of(*(point(1, NOW + at * SECOND) for at in range(6))))
    written = backend.write(Batch(costs=tuple(cost_at(at) for at in range(3, 11))))
    assert (written.stored, written.evicted) == (8, 4)
    assert (count(backend), count(backend, "cost_entries")) == (2, 8)


def test_entries_that_do_not_fit_are_not_counted_as_stored(backend: MemoryBackend) -> None:
    written = backend.write(Batch(costs=tuple(cost_at(at) for at in range(25))))
    assert written == WriteResult(stored=10, evicted=15)
    assert backend.write(Batch(costs=(cost_at(24),))) == WriteResult(stored=1)


def test_entries_derived_from_series_are_bounded_too(backend: MemoryBackend) -> None:
    for at in range(1, 31):
        backend.write(Batch(cost_samples=(sample(7, at, at),)))
    assert backend.fetch("SELECT count(*), sum(amount_units) FROM cost_entries") == [(10, 10)]


def test_streams_are_evicted_with_their_series(backend: MemoryBackend) -> None:
    for series_id in range(1, 1_500):
        backend.write(
            Batch(
                new_series=(series(series_id),),
                cost_samples=(sample(series_id, series_id, 2),),
            )
        )
    kept = count(backend, "cost_streams")
    assert kept == count(backend, "metric_series")
    assert kept <= 1_100
