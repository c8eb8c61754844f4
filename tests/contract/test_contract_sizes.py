"""sizes and count_before are right, and change nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.backends.kinds import StoreFactory
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
from kit.backends.stored_rows import SIZED_TABLES, count, count_all_rows, stored, stored_points

from exporter.backends.base import Backend
from exporter.model import Batch, TableSize

DAY = 86_400 * SECOND


def tables(backend: Backend) -> dict[str, TableSize]:
    return {table.table: table for table in backend.sizes().tables}


def row_counts(backend: Backend) -> dict[str, int]:
    return {table: count(backend, table) for table in SIZED_TABLES}


def assert_times(table: TableSize, oldest: int, newest: int) -> None:
    """The times of the rows, or the bounds of their partitions, at most a week apart."""
    assert table.oldest_unix_nano is not None
    assert table.newest_unix_nano is not None
    if table.times_are_exact:
        assert (table.oldest_unix_nano, table.newest_unix_nano) == (oldest, newest)
    else:
        assert oldest - 7 * DAY < table.oldest_unix_nano <= oldest
        assert newest <= table.newest_unix_nano < newest + 7 * DAY


def test_an_empty_store_has_every_table_and_nothing_in_it(backend: Backend) -> None:
    sizes = backend.sizes()
    assert [table.table for table in sizes.tables] == list(SIZED_TABLES)
    for table in sizes.tables:
        assert table.rows == 0, table
        assert table.oldest_unix_nano is None, table
        assert table.newest_unix_nano is None, table
        assert table.compression_ratio is None, table
    assert sizes.series == 0
    assert sizes.total_bytes > 0


def test_every_table_has_its_own_size(backend: Backend) -> None:
    backend.write(
        batch_of(
            *(point(1, NOW + seconds * SECOND) for seconds in range(5)),
            new_series=(series(1), series(2)),
            histograms=(histogram(1, NOW), histogram(1, NOW + SECOND)),
            summaries=(summary(1, NOW - SECOND),),
        )
    )
    found = tables(backend)
    rows = {name: table.rows for name, table in found.items() if table.rows_are_exact}
    expected = {"system_metrics": 5, "metric_histograms": 2, "metric_summaries": 1}
    assert rows == {name: expected.get(name, 0) for name in rows}
    assert_times(found["system_metrics"], NOW, NOW + 4 * SECOND)
    assert_times(found["metric_histograms"], NOW, NOW + SECOND)
    assert_times(found["metric_summaries"], NOW - SECOND, NOW - SECOND)
    assert found["metric_exemplars"].oldest_unix_nano is None
    assert backend.sizes().series == 2


def test_bytes_grow_with_the_rows_and_tables_add_up_to_at_most_the_total(backend: Backend) -> None:
    before = backend.sizes()
    backend.write(Batch(points=flood(50_000)))
    after = backend.sizes()
    assert after.total_bytes > before.total_bytes + 50_000 * 8  # a value alone has 8 bytes
    parts = [table.size_bytes for table in after.tables if table.size_bytes is not None]
    assert sum(parts) <= after.total_bytes
    points = after.tables[0]
    assert points.size_bytes is None or points.size_bytes > 50_000 * 8


def test_estimates_are_near(backend: Backend) -> None:
    for hours in range(3):
        backend.write(Batch(points=flood(20_000, time=NOW + hours * 3_600 * SECOND)))
    points = tables(backend)["system_metrics"]
    tolerance = 0 if points.rows_are_exact else 30_000
    assert abs(points.rows - 60_000) <= tolerance


def test_partitions_are_counted(backend: Backend) -> None:
    backend.write(batch_of(*(point(1, NOW + days * 30 * DAY) for days in range(3))))
    points = tables(backend)["system_metrics"]
    if points.partitions is None:
        assert points.compressed_partitions is None
    else:
        assert points.partitions >= 3
        assert points.compressed_partitions in (None, 0)


def test_reading_sizes_changes_nothing(backend: Backend) -> None:
    backend.write(batch_of(point(1), new_series=(series(1),), exemplars=(exemplar(1),)))
    before = stored(backend)
    backend.sizes()
    backend.count_before(NOW + DAY * 400)
    assert stored(backend) == before


@pytest.mark.parametrize("offset", [0, 1_000, 2 * SECOND, 3 * DAY, 40 * DAY])
def test_count_before_equals_what_delete_before_deletes(backend: Backend, offset: int) -> None:
    for time in (NOW, NOW + 1_000, NOW + SECOND, NOW + 2 * SECOND, NOW + DAY, NOW + 30 * DAY):
        backend.write(
            batch_of(
                point(1, time), histograms=(histogram(1, time),), exemplars=(exemplar(1, time),)
            )
        )
    counted = backend.count_before(NOW + offset)
    assert list(counted) == list(SIZED_TABLES)
    before = row_counts(backend)
    assert backend.delete_before(NOW + offset) == sum(counted.values())
    after = row_counts(backend)
    assert {table: before[table] - after[table] for table in SIZED_TABLES} == counted


def test_an_empty_store_has_no_older_rows(backend: Backend) -> None:
    assert backend.count_before(NOW) == dict.fromkeys(SIZED_TABLES, 0)
    assert backend.count_before(0) == dict.fromkeys(SIZED_TABLES, 0)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 5 * DAY // 1_000), min_size=1, max_size=20, unique=True))
def test_oldest_and_newest_are_those_of_the_rows(
    new_store: StoreFactory, offsets: list[int]
) -> None:
    with new_store() as backend:
        backend.write(batch_of(*(point(1, NOW + offset * 1_000) for offset in offsets)))
        times = [micros * 1_000 for micros, _ in stored_points(backend)]
        assert_times(tables(backend)["system_metrics"], min(times), max(times))


def test_sizes_see_whole_batches_while_rows_are_written(backend: Backend) -> None:
    started = threading.Event()

    def measure() -> list[TableSize]:
        started.set()
        return [tables(backend)["system_metrics"] for _ in range(10)]

    with ThreadPoolExecutor(1) as thread:
        measuring = thread.submit(measure)
        started.wait()
        for index in range(10):
            backend.write(Batch(points=flood(100, time=NOW + index * SECOND)))
        seen = measuring.result()
    assert all(table.rows % 100 == 0 for table in seen if table.rows_are_exact)
    assert count_all_rows(backend) == 1_000
