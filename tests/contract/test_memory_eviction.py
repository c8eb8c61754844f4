"""The backend `memory` stays within its limit, and reports what it evicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.backends.dict_store import DictStore
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
from kit.backends.stored_rows import (
    count,
    count_all_rows,
    stored_exemplars,
    stored_histograms,
    stored_points,
    stored_summaries,
)
from kit.backends.strategies import batches

from exporter.backends.memory import MemoryBackend
from exporter.errors import ConfigError
from exporter.model import Batch, CostBasis, CostSample, DeadLetter, WriteResult
from exporter.query import Reader

MICROS = NOW // 1_000
NewMemory = Callable[[int], MemoryBackend]


@pytest.fixture
def memory() -> Iterator[NewMemory]:
    opened = []

    def make(most: int) -> MemoryBackend:
        opened.append(MemoryBackend(max_memory_entries=most))
        opened[-1].start()
        return opened[-1]

    yield make
    for backend in opened:
        backend.close()


@pytest.mark.parametrize("most", [0, -5])
def test_the_limit_must_be_positive(most: int) -> None:
    with pytest.raises(ConfigError, match=f"max_memory_entries is {most}"):
        MemoryBackend(max_memory_entries=most)


def test_the_oldest_rows_are_evicted_first(memory: NewMemory) -> None:
    backend = memory(3)
    times = [NOW + seconds * SECOND for seconds in (3, 1, 5, 2, 4)]
    backend.write(batch_of(*(point(1, time) for time in times[:3])))
    result = backend.write(batch_of(*(point(1, time) for time in times[3:])))
    assert result == WriteResult(stored=1, evicted=2)
    assert {key[0] - MICROS for key in stored_points(backend)} == {3_000_000, 4_000_000, 5_000_000}


def test_all_tables_share_the_limit(memory: NewMemory) -> None:
    backend = memory(4)
    backend.write(
        batch_of(
            point(1, NOW + SECOND),
            histograms=(histogram(1, NOW + 2 * SECOND),),
            summaries=(summary(1, NOW + 3 * SECOND),),
            exemplars=(exemplar(1, NOW + 4 * SECOND),),
        )
    )
    assert count_all_rows(backend) == 4
    for seconds, table in enumerate(
        ("system_metrics", "metric_histograms", "metric_summaries", "metric_exemplars"), 5
    ):
        assert backend.write(batch_of(point(9, NOW + seconds * SECOND))).evicted == 1
        rest = count(backend, table) - (table == "system_metrics")
        assert (rest, count_all_rows(backend)) == (0, 4)


def test_the_newest_rows_of_a_batch_beyond_the_limit_stay(memory: NewMemory) -> None:
    backend = memory(100)
    backend.write(batch_of(point(1)))
    result = backend.write(Batch(points=flood(5_000, time=NOW - SECOND, ids=1)))
    assert result == WriteResult(stored=100, evicted=4_901)
    assert {value for value, _ in stored_points(backend).values()} == set(range(4_900, 5_000))


def test_only_enough_rows_of_one_time_are_evicted(memory: NewMemory) -> None:
    backend = memory(10)
    everything = Batch(
        points=flood(30, ids=30),
        histograms=tuple(histogram(index) for index in range(5)),
        summaries=tuple(summary(index) for index in range(5)),
        exemplars=tuple(exemplar(index, value=index) for index in range(5)),
    )
    result = backend.write(everything)
    assert count_all_rows(backend) == 10
    assert result.evicted == 35
    assert result.stored == 10 - count(backend, "metric_exemplars")


def test_a_repeated_row_does_not_count_twice(memory: NewMemory) -> None:
    backend = memory(10)
    batch = Batch(points=flood(10, ids=10))
    for _ in range(5):
        assert backend.write(batch) == WriteResult(stored=10)
    assert count(backend) == 10


def test_deleted_rows_make_room(memory: NewMemory) -> None:
    backend = memory(10)
    backend.write(Batch(points=flood(10, ids=1)))
    assert backend.delete_before(NOW + 5_000_000) == 5
    later = flood(5, time=NOW + SECOND, ids=1)
    assert backend.write(Batch(points=later)) == WriteResult(stored=5)
    assert count(backend) == 10


def test_evicted_cost_entries_close_their_streams(memory: NewMemory) -> None:
    backend = memory(5)
    basis = CostBasis("cumulative", Decimal(1), 3_600.0, "i-1", "compute", "USD")

    def send(*seconds: int) -> None:
        samples = (
            CostSample(1, NOW + at * SECOND, NOW - SECOND, 10.0 * at, basis) for at in seconds
        )
        backend.write(Batch(cost_samples=tuple(samples)))

    send(*range(1, 9))
    assert count(backend, "cost_entries") == 5
    send(2, 3)
    assert count(backend, "cost_entries") == 5
    amounts = [row["amount"] for row in Reader(backend).query_historical_costs()]
    assert amounts == [10.0] * 5


def test_a_failed_write_does_not_change_the_count(memory: NewMemory) -> None:
    backend = memory(10)
    bad = Batch(points=flood(10, ids=1), histograms=(histogram(1, count=2**64),))
    with pytest.raises(Exception, match="storing a batch failed"):
        backend.write(bad)
    assert backend.write(Batch(points=flood(10, ids=1))) == WriteResult(stored=10)


def test_dead_letters_have_their_own_limit_and_the_newest_stay(memory: NewMemory) -> None:
    backend = memory(3)
    letters = [DeadLetter("point", "why", index, None, NOW, "{}") for index in range(7)]
    assert backend.write(Batch(dead_letters=tuple(letters[:2]))) == WriteResult(stored=0)
    full = batch_of(*(point(one) for one in range(3)), dead_letters=tuple(letters[2:]))
    assert backend.write(full) == WriteResult(stored=3, evicted=4)
    found = backend.fetch("SELECT series_id FROM dead_letters ORDER BY letter_id")
    assert found == [(4,), (5,), (6,)]
    assert count(backend) == 3


def test_a_dry_run_evicts_nothing(memory: NewMemory) -> None:
    backend = memory(10)
    backend.write(Batch(points=flood(10, ids=1)))
    backend.dry_run(Batch(points=flood(10, time=NOW + SECOND, ids=1)))
    assert count(backend) == 10
    later = Batch(points=flood(4, time=NOW + SECOND, ids=1))
    assert backend.write(later) == WriteResult(stored=4, evicted=4)
    assert count(backend) == 10


def test_any_number_of_series_may_pass_through(memory: NewMemory) -> None:
    backend = memory(50)
    known: set[int] = set()
    forgotten = 0
    for index in range(60):
        ids = range(index * 100, index * 100 + 100)
        batch = batch_of(
            *(point(one, NOW + index * SECOND + one) for one in ids),
            new_series=tuple(series(one) for one in ids),
        )
        result = backend.write(batch)
        known |= set(ids)
        known -= result.forgotten_series
        forgotten += len(result.forgotten_series)
        # 50 rows, 1,000 series without rows, and those of two batches that are marked
        assert count(backend, "metric_series") <= 1_250
    assert forgotten > 4_000
    ids_there = {one for (one,) in backend.fetch("SELECT series_id FROM metric_series")}
    assert known <= ids_there


def test_series_with_rows_are_never_forgotten(memory: NewMemory) -> None:
    backend = memory(2_000)
    wanted = frozenset(range(4))
    backend.write(
        batch_of(
            point(0, NOW + SECOND),
            new_series=tuple(series(one) for one in range(6_000)),
            histograms=(histogram(1, NOW + SECOND),),
            summaries=(summary(2, NOW + SECOND),),
            exemplars=(exemplar(3, NOW + SECOND),),
        )
    )
    backend.write(batch_of(point(0, NOW + 2 * SECOND)))
    assert {one for (one,) in backend.fetch("SELECT series_id FROM metric_series")} == wanted


def test_in_flight_points_keep_their_marked_series(memory: NewMemory) -> None:
    # Decoded before the writer reported 7 as forgotten, so without a definition.
    backend = memory(10)
    result = backend.write(Batch(new_series=tuple(series(one) for one in range(1_100))))
    assert 7 in result.forgotten_series
    backend.write(batch_of(point(7)))
    backend.write(batch_of(point(8, NOW + 1)))
    assert backend.fetch("SELECT series_id FROM metric_series") == [(7,)]


def test_a_forgotten_series_that_is_defined_again_stays(memory: NewMemory) -> None:
    backend = memory(10)
    backend.write(Batch(new_series=tuple(series(one) for one in range(1_100))))
    backend.write(Batch(new_series=(series(7),)))
    assert backend.fetch("SELECT series_id FROM metric_series") == [(7,)]


def test_a_closed_backend_starts_empty(memory: NewMemory) -> None:
    backend = memory(10)
    backend.write(Batch(points=flood(10, ids=1)))
    backend.close()
    backend.start()
    assert backend.write(Batch(points=flood(10, ids=1))) == WriteResult(stored=10)


@given(st.lists(batches, min_size=1, max_size=4), st.integers(1, 30))
def test_the_newest_rows_of_any_batches_stay(written: list[Batch], most: int) -> None:
    expected = DictStore()
    backend = MemoryBackend(max_memory_entries=most)
    backend.start()
    try:
        for batch in written:
            distinct = DictStore().write(batch)
            before = count_all_rows(backend)
            result = backend.write(batch)
            expected.write(batch)
            assert count_all_rows(backend) <= most
            assert 0 <= result.stored <= distinct
            assert count_all_rows(backend) + result.evicted >= before
        kept = [key[0] for key in stored_points(backend)]
        kept += [key[0] for key in stored_histograms(backend)]
        kept += [key[0] for key in stored_summaries(backend)]
        kept += [row[0] for row in stored_exemplars(backend)]
        times = [key[0] for key in (*expected.points, *expected.histograms, *expected.summaries)]
        times += [row[0] for row in expected.exemplars]
        # An evicted row may be stored again, but never instead of a newer row.
        newest = sorted(times, reverse=True)[:most]
        assert sorted(kept, reverse=True) == newest
    finally:
        backend.close()
