"""A batch is due by size or by time, and keeps the order of its requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.backends.samples import batch_of, point

from exporter.model import Batch
from exporter.pipeline.queue import Batcher


def numbered(entries: int, first_id: int = 0) -> Batch:
    return batch_of(*(point(first_id + at) for at in range(entries)))


def test_an_empty_batcher_is_never_due() -> None:
    batcher = Batcher(batch_size=1, batch_interval_seconds=0.0)
    assert batcher.due_in_seconds(1e9) is None
    assert batcher.drain() is None


def test_a_full_batch_is_due_at_once() -> None:
    batcher = Batcher(batch_size=3, batch_interval_seconds=60.0)
    batcher.add(numbered(2), now=0.0)
    assert batcher.due_in_seconds(0.0) == 60.0
    batcher.add(numbered(1), now=1.0)
    assert batcher.due_in_seconds(1.0) == 0.0


def test_the_interval_starts_with_the_first_entry() -> None:
    batcher = Batcher(batch_size=100, batch_interval_seconds=60.0)
    batcher.add(numbered(1), now=1000.0)
    batcher.add(numbered(1), now=1050.0)
    assert batcher.due_in_seconds(1050.0) == 10.0
    assert batcher.due_in_seconds(1060.0) == 0.0
    assert batcher.due_in_seconds(2000.0) == 0.0


def test_the_interval_restarts_after_a_batch() -> None:
    batcher = Batcher(batch_size=100, batch_interval_seconds=60.0)
    batcher.add(numbered(1), now=0.0)
    batcher.drain()
    batcher.add(numbered(1), now=500.0)
    assert batcher.due_in_seconds(500.0) == 60.0


def test_an_empty_request_starts_no_interval() -> None:
    batcher = Batcher(batch_size=100, batch_interval_seconds=60.0)
    batcher.add(Batch(), now=0.0)
    assert batcher.due_in_seconds(100.0) is None


def test_under_load_the_batch_grows() -> None:
    batcher = Batcher(batch_size=10, batch_interval_seconds=60.0)
    for at in range(50):
        batcher.add(numbered(10, at * 10), now=0.0)
    drained = batcher.drain()
    assert drained is not None
    assert drained.entries == 500
    assert batcher.is_empty


def test_entries_beyond_the_largest_batch_are_due_at_once() -> None:
    batcher = Batcher(batch_size=10, batch_interval_seconds=60.0, max_batch_entries=25)
    for at in range(5):
        batcher.add(numbered(10, at * 10), now=0.0)
    sizes = []
    while (drained := batcher.drain()) is not None:
        sizes.append(drained.entries)
        assert batcher.due_in_seconds(0.0) in {0.0, None}
    assert sizes == [20, 20, 10]
    assert batcher.is_empty


def test_a_request_larger_than_the_largest_batch_stays_whole() -> None:
    batcher = Batcher(batch_size=10, batch_interval_seconds=60.0, max_batch_entries=25)
    batcher.add(numbered(100), now=0.0)
    drained = batcher.drain()
    assert drained is not None
    assert drained.entries == 100


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(1, 40))
def test_every_entry_comes_out_once_and_in_order(sizes: list[int], batch_size: int) -> None:
    batcher = Batcher(batch_size=batch_size, batch_interval_seconds=1.0)
    out: list[int] = []
    total = 0
    for at, size in enumerate(sizes):
        batcher.add(numbered(size, total), now=float(at))
        total += size
        if batcher.due_in_seconds(float(at)) == 0.0:
            drained = batcher.drain()
            assert drained is not None
            out += drained.points.series_id.tolist()
    rest = batcher.drain()
    out += rest.points.series_id.tolist() if rest else []
    assert out == list(range(total))


@pytest.mark.parametrize("sizes", [[0], [5], [2, 3], [0, 4, 0]])
def test_merging_keeps_every_row(sizes: list[int]) -> None:
    merged = Batch.merge([numbered(size) for size in sizes])
    assert merged.entries == sum(sizes)
