"""delete_before: everything older goes, nothing else does."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from backend_kit.kinds import NewStore
from backend_kit.reading import count, rows_in_all, stored, stored_points
from backend_kit.samples import (
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
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.backends.base import Backend
from exporter.model import Batch

MICROS = NOW // 1_000


def everything(time: int) -> Batch:
    return batch_of(
        point(1, time),
        new_series=(series(1),),
        histograms=(histogram(1, time),),
        summaries=(summary(1, time),),
        exemplars=(exemplar(1, time),),
    )


def test_what_is_older_goes_from_every_table_and_series_stay(backend: Backend) -> None:
    for seconds in range(4):
        backend.write(everything(NOW + seconds * SECOND))
    assert backend.delete_before(NOW + 2 * SECOND) == 8
    assert rows_in_all(backend) == 8
    assert set(stored_points(backend)) == {(MICROS + 2_000_000, 1), (MICROS + 3_000_000, 1)}
    assert count(backend, "metric_series") == 1


def test_a_second_time_there_is_nothing_left_to_delete(backend: Backend) -> None:
    backend.write(everything(NOW))
    assert backend.delete_before(NOW + 1_000) == 4
    assert backend.delete_before(NOW + 1_000) == 0


def test_an_empty_store_and_a_time_before_everything(backend: Backend) -> None:
    assert backend.delete_before(NOW) == 0
    backend.write(everything(NOW))
    assert backend.delete_before(NOW) == 0
    assert backend.delete_before(0) == 0
    assert rows_in_all(backend) == 4


@pytest.mark.parametrize("ids", [1, 7, 100_000], ids=["one-series", "some", "one-time"])
def test_many_rows_go_at_once(backend: Backend, ids: int) -> None:
    backend.write(Batch(points=flood(70_000, ids=ids)))
    backend.write(Batch(points=flood(500, time=NOW + 3_600 * SECOND)))
    assert backend.delete_before(NOW + 3_600 * SECOND) == 70_000
    assert count(backend) == 500


def test_rows_may_be_written_meanwhile(backend: Backend) -> None:
    backend.write(Batch(points=flood(100_000)))
    started = threading.Event()

    def delete() -> int:
        started.set()
        return backend.delete_before(NOW + 1_000 * SECOND)

    with ThreadPoolExecutor(1) as thread:
        deleting = thread.submit(delete)
        started.wait()
        for index in range(20):
            later = flood(100, time=NOW + (2_000 + index) * SECOND)
            assert backend.write(Batch(points=later)).stored == 100
        assert deleting.result() == 100_000
    assert count(backend) == 2_000


@settings(max_examples=25)
@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=30), st.integers(0, 6_000))
def test_just_the_older_ones_go(new_store: NewStore, offsets: list[int], cut: int) -> None:
    with new_store() as backend:
        backend.write(batch_of(*(point(1, NOW + offset) for offset in offsets)))
        before = set(stored_points(backend))
        gone = {key for key in before if key[0] < (NOW + cut) // 1_000}
        assert backend.delete_before(NOW + cut) == len(gone)
        assert set(stored(backend).points) == before - gone
