"""delete_before deletes all older rows and no others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.backends.kinds import Kind, StoreFactory
from kit.backends.samples import NOW, SECOND, batch_of, batch_of_every_kind, flood, point
from kit.backends.stored_rows import count, count_all_rows, stored, stored_points

from exporter.backends.base import Backend
from exporter.model import Batch


def test_older_rows_are_deleted_from_every_table_and_series_stay(
    backend: Backend, kind: Kind
) -> None:
    first = NOW - NOW % kind.deletes_by
    times = [first + index * kind.deletes_by for index in range(4)]
    for time in times:
        backend.write(batch_of_every_kind(time))
    assert backend.delete_before(times[2]) == 8
    assert count_all_rows(backend) == 8
    assert set(stored_points(backend)) == {(times[2] // 1_000, 1), (times[3] // 1_000, 1)}
    assert count(backend, "metric_series") == 1


def test_a_second_call_deletes_nothing(backend: Backend, kind: Kind) -> None:
    backend.write(batch_of_every_kind(NOW))
    assert backend.delete_before(NOW + kind.deletes_by) == 4
    assert backend.delete_before(NOW + kind.deletes_by) == 0


def test_rows_of_a_partly_older_partition_stay(backend: Backend, kind: Kind) -> None:
    first = NOW - NOW % kind.deletes_by
    backend.write(batch_of_every_kind(first))
    assert backend.delete_before(first + kind.deletes_by - 1) == 0
    assert count_all_rows(backend) == 4


def test_an_empty_store_and_a_time_before_batch_of_every_kind(backend: Backend) -> None:
    assert backend.delete_before(NOW) == 0
    backend.write(batch_of_every_kind(NOW))
    assert backend.delete_before(NOW) == 0
    assert backend.delete_before(0) == 0
    assert count_all_rows(backend) == 4


@pytest.mark.parametrize("ids", [1, 7, 100_000], ids=["one-series", "some", "one-time"])
def test_many_rows_are_deleted_at_once(backend: Backend, kind: Kind, ids: int) -> None:
    later = NOW + 3_600 * SECOND + kind.deletes_by
    backend.write(Batch(points=flood(70_000, ids=ids)))
    backend.write(Batch(points=flood(500, time=later)))
    assert backend.delete_before(later) == 70_000
    assert count(backend) == 500


def test_rows_may_be_written_during_a_delete(backend: Backend, kind: Kind) -> None:
    limit = NOW + 1_000 * SECOND + kind.deletes_by
    backend.write(Batch(points=flood(100_000)))
    started = threading.Event()

    def delete() -> int:
        started.set()
        return backend.delete_before(limit)

    with ThreadPoolExecutor(1) as thread:
        deleting = thread.submit(delete)
        started.wait()
        for index in range(20):
            later = flood(100, time=limit + (1_000 + index) * SECOND)
            assert backend.write(Batch(points=later)).stored == 100
        assert deleting.result() == 100_000
    assert count(backend) == 2_000


@settings(max_examples=25)
@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=30), st.integers(0, 6_000))
def test_exactly_the_older_rows_are_deleted(
    new_store: StoreFactory, kind: Kind, offsets: list[int], cut: int
) -> None:
    scale = kind.deletes_by // 1_000
    times = [NOW + offset * scale for offset in offsets]
    if not kind.replaces:
        times = list({time // 1_000: time for time in times}.values())
    limit = NOW + cut * scale
    with new_store() as backend:
        backend.write(batch_of(*(point(1, time) for time in times)))
        before = set(stored_points(backend))
        first_kept = limit - limit % kind.deletes_by
        gone = {key for key in before if key[0] * 1_000 < first_kept}
        assert backend.delete_before(limit) == len(gone)
        assert set(stored(backend).points) == before - gone
