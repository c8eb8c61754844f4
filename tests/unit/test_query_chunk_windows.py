"""Windows over the newest chunk: short first, no overlap, few, and the rows of a single read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.backends.hypertable_catalog import NewestChunk
from exporter.backends.timescaledb.hypertable_catalog import TimescaleDBCatalog
from exporter.query.newest_points import FIRST_WINDOW_MICROS, read_windows
from exporter.query.times import TimeRange

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_Rows = list[tuple[Any, ...]]


class PointTable:
    """Rows of one column, their time; records the ranges that were read."""

    def __init__(self, times: list[int]) -> None:
        self.newest_first = sorted(times, reverse=True)
        self.windows: list[TimeRange] = []
        self.long_ranges: list[TimeRange] = []

    def read_window(self, time_range: TimeRange, limit: int) -> _Rows:
        self.windows.append(time_range)
        return self.select(time_range, limit)

    def read_rest(self, time_range: TimeRange, limit: int) -> _Rows:
        self.long_ranges.append(time_range)
        return self.select(time_range, limit)

    def select(self, time_range: TimeRange, limit: int) -> _Rows:
        start, end = time_range.start_micros, time_range.end_micros
        return [
            (time,)
            for time in self.newest_first
            if (start is None or time >= start) and (end is None or time < end)
        ][:limit]

    def read(self, time_range: TimeRange, chunk: tuple[int, int], limit: int) -> _Rows:
        newest = NewestChunk(*chunk, is_columnstore=True)
        return read_windows(self.read_window, self.read_rest, time_range, newest, limit)


_times = st.integers(0, DAY)
_ends = st.none() | _times


@given(
    times=st.lists(_times, max_size=50),
    ends=st.tuples(_ends, _ends),
    chunk=st.tuples(_times, _times),
    limit=st.integers(0, 60),
)
@example(times=[0], ends=(None, 0), chunk=(0, 300_000_001), limit=1)
def test_windows_find_the_rows_of_a_single_read(
    times: list[int], ends: tuple[int | None, int | None], chunk: tuple[int, int], limit: int
) -> None:
    table, time_range = PointTable(times), TimeRange(*ends)
    assert table.read(time_range, chunk, limit) == table.select(time_range, limit)
    assert len(table.windows) <= 4
    assert len(table.long_ranges) <= 1


def test_dense_points_are_found_in_the_first_window() -> None:
    table = PointTable([time * 1_000_000 for time in range(86_400)])
    assert len(table.read(TimeRange(None, None), (0, DAY), 100)) == 100
    assert table.windows == [TimeRange(DAY - FIRST_WINDOW_MICROS, None)]
    assert table.long_ranges == []


def test_the_second_window_is_as_long_as_the_rows_of_the_first_suggest() -> None:
    table = PointTable([time * MINUTE for time in range(24 * 60)])
    assert len(table.read(TimeRange(None, None), (0, DAY), 100)) == 100
    first, second = table.windows
    assert second.end_micros == first.start_micros
    assert 95 * MINUTE <= (second.end_micros or 0) - (second.start_micros or 0) < 150 * MINUTE
    assert table.long_ranges == []


@pytest.mark.parametrize("times", [[DAY - 1], [DAY - 1, 0]], ids=str)
def test_distant_rows_are_read_at_once(times: list[int]) -> None:
    table = PointTable(times)
    assert len(table.read(TimeRange(None, None), (0, DAY), 1_000)) == len(times)
    assert len(table.windows) == 1
    assert table.long_ranges == [TimeRange(None, DAY - FIRST_WINDOW_MICROS)]


def test_windows_without_a_row_grow_until_they_leave_the_chunk() -> None:
    table = PointTable([0])
    assert table.read(TimeRange(None, None), (0, DAY), 1_000) == [(0,)]
    before_the_end = [DAY - (window.start_micros or 0) for window in table.windows]
    assert before_the_end == [5 * MINUTE, 40 * MINUTE, 320 * MINUTE]
    assert table.long_ranges == [TimeRange(None, DAY - 320 * MINUTE)]


def test_the_first_window_with_rows_sets_the_length_of_the_next() -> None:
    every_quarter = [at * 15 * MINUTE - 6 * MINUTE for at in range(1, 97)]
    table = PointTable([time for time in every_quarter for _ in range(200)])
    assert len(table.read(TimeRange(None, None), (0, DAY), 1_000)) == 1_000
    assert [DAY - (window.start_micros or 0) for window in table.windows] == [
        5 * MINUTE,
        40 * MINUTE,
        80 * MINUTE,
    ]
    assert table.long_ranges == []


class ChunkTable:
    """Answers as TimescaleDB's catalogue does, counts the look-ups, and has a clock."""

    def __init__(self, *chunks: tuple[int, int, bool, bool]) -> None:
        self.lookups = 0
        self.chunks = chunks
        self.now_seconds = 0.0
        self.catalog = TimescaleDBCatalog(self.fetch, lambda: self.now_seconds)

    def fetch(self, statement: str, parameters: Sequence[object]) -> _Rows:
        if "bool_or(is_compressed)" in statement:
            self.lookups += 1
            return list(self.chunks)
        return [(parameters[1],)]  # the last point is at the end of the chunk


def test_the_newest_chunk_is_looked_up_again_after_ten_seconds() -> None:
    table = ChunkTable((0, DAY, False, True))
    for now_seconds, lookups in ((0.0, 1), (9.9, 1), (10.0, 2), (19.9, 2), (20.0, 3)):
        table.now_seconds = now_seconds
        chunk = table.catalog.newest_chunk(None)
        assert chunk is not None
        assert (chunk.begin_micros, chunk.is_columnstore) == (0, False)
        assert table.lookups == lookups


@pytest.mark.parametrize(
    "chunks", [[], [(0, DAY, False, False)]], ids=["no chunk", "no columnstore"]
)
def test_without_a_columnstore_there_are_no_windows(
    chunks: list[tuple[int, int, bool, bool]],
) -> None:
    table = ChunkTable(*chunks)
    assert table.catalog.newest_chunk(None) is None
    assert table.catalog.newest_chunk(None) is None
    assert table.lookups == 1


def test_a_range_that_ends_before_the_newest_chunk_has_no_windows() -> None:
    table = ChunkTable((DAY, 2 * DAY, True, True))
    assert table.catalog.newest_chunk(DAY) is None
    assert table.catalog.newest_chunk(DAY + 1) is not None
