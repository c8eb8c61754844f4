"""Windows of time: short first, no overlap, a handful, and the same rows as without them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.backends.dialect import POSTGRESQL
from exporter.query.chunk_windows import FIRST_WINDOW_MICROS, NewestChunk, read_windows
from exporter.query.filters import TimeRange
from exporter.query.sql import Sql

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_Rows = list[tuple[Any, ...]]


class Points:
    """Rows of one column, their time, and what was asked of them."""

    def __init__(self, times: list[int]) -> None:
        self.newest_first = sorted(times, reverse=True)
        self.windows: list[TimeRange] = []
        self.long_ranges: list[TimeRange] = []

    def ask(self, time_range: TimeRange, limit: int) -> _Rows:
        self.windows.append(time_range)
        return self.answer(time_range, limit)

    def ask_all(self, time_range: TimeRange, limit: int) -> _Rows:
        self.long_ranges.append(time_range)
        return self.answer(time_range, limit)

    def answer(self, time_range: TimeRange, limit: int) -> _Rows:
        start, end = time_range.start_micros, time_range.end_micros
        return [
            (time,)
            for time in self.newest_first
            if (start is None or time >= start) and (end is None or time < end)
        ][:limit]

    def read(self, time_range: TimeRange, stretch: TimeRange, limit: int) -> _Rows:
        return read_windows(self.ask, self.ask_all, time_range, stretch, limit)


_times = st.integers(0, DAY)
_ends = st.none() | _times


@given(
    times=st.lists(_times, max_size=50),
    ends=st.tuples(_ends, _ends),
    stretch=st.tuples(_times, _times),
    limit=st.integers(0, 60),
)
@example(times=[0], ends=(None, 0), stretch=(0, 300_000_001), limit=1)
def test_windows_find_what_one_question_finds(
    times: list[int], ends: tuple[int | None, int | None], stretch: tuple[int, int], limit: int
) -> None:
    points, time_range = Points(times), TimeRange(*ends)
    assert points.read(time_range, TimeRange(*stretch), limit) == points.answer(time_range, limit)
    assert len(points.windows) <= 4
    assert len(points.long_ranges) <= 1


def test_dense_points_are_found_in_the_first_window() -> None:
    points = Points([time * 1_000_000 for time in range(86_400)])
    assert len(points.read(TimeRange(None, None), TimeRange(0, DAY), 100)) == 100
    assert points.windows == [TimeRange(DAY - FIRST_WINDOW_MICROS, None)]
    assert points.long_ranges == []


def test_the_second_window_is_as_long_as_the_first_one_says() -> None:
    points = Points([time * MINUTE for time in range(24 * 60)])
    assert len(points.read(TimeRange(None, None), TimeRange(0, DAY), 100)) == 100
    first, second = points.windows
    assert second.end_micros == first.start_micros
    assert 95 * MINUTE <= (second.end_micros or 0) - (second.start_micros or 0) < 150 * MINUTE
    assert points.long_ranges == []


@pytest.mark.parametrize("times", [[DAY - 1], [DAY - 1, 0]], ids=str)
def test_what_is_left_is_read_at_once_where_it_is_far(times: list[int]) -> None:
    points = Points(times)
    assert len(points.read(TimeRange(None, None), TimeRange(0, DAY), 1_000)) == len(times)
    assert len(points.windows) == 1
    assert points.long_ranges == [TimeRange(None, DAY - FIRST_WINDOW_MICROS)]


def test_windows_without_a_row_grow_until_they_leave_the_chunk() -> None:
    points = Points([0])
    assert points.read(TimeRange(None, None), TimeRange(0, DAY), 1_000) == [(0,)]
    behind_the_end = [DAY - (window.start_micros or 0) for window in points.windows]
    assert behind_the_end == [5 * MINUTE, 40 * MINUTE, 320 * MINUTE]
    assert points.long_ranges == [TimeRange(None, DAY - 320 * MINUTE)]


def test_of_rare_rows_the_first_window_that_has_some_says_how_far_to_go() -> None:
    every_quarter = [at * 15 * MINUTE - 6 * MINUTE for at in range(1, 97)]
    points = Points([time for time in every_quarter for _ in range(200)])
    assert len(points.read(TimeRange(None, None), TimeRange(0, DAY), 1_000)) == 1_000
    assert [DAY - (window.start_micros or 0) for window in points.windows] == [
        5 * MINUTE,
        40 * MINUTE,
        80 * MINUTE,
    ]
    assert points.long_ranges == []


class Chunks:
    """Answers as the catalogue does, and counts how often it is asked; and a clock."""

    def __init__(self) -> None:
        self.lookups = 0
        self.newest: list[tuple[int, int, bool, bool]] = []
        self.now_seconds = 0.0

    def fetch(self, statement: Sql) -> _Rows:
        text = statement.render("?")
        if "to_regclass('timescaledb_information.chunks')" in text:
            return [(True,)]
        if "bool_or(is_compressed)" in text:
            self.lookups += 1
            return list(self.newest)
        return [(statement.parameters[1],)]  # the last point lies where the chunk ends


def test_the_newest_chunk_is_looked_up_again_after_ten_seconds() -> None:
    chunks = Chunks()
    chunks.newest = [(0, DAY, False, True)]
    newest = NewestChunk(chunks.fetch, POSTGRESQL, lambda: chunks.now_seconds)
    for now_seconds, lookups in ((0.0, 1), (9.9, 1), (10.0, 2), (19.9, 2), (20.0, 3)):
        chunks.now_seconds = now_seconds
        stretch = newest.stretch(TimeRange(None, None))
        assert stretch is not None
        assert (stretch.time_range.start_micros, stretch.has_columns) == (0, False)
        assert chunks.lookups == lookups


@pytest.mark.parametrize("newest", [[], [(0, DAY, False, False)]], ids=["no chunk", "no columns"])
def test_without_a_columnstore_there_is_no_window(
    newest: list[tuple[int, int, bool, bool]],
) -> None:
    chunks = Chunks()
    chunks.newest = newest
    one = NewestChunk(chunks.fetch, POSTGRESQL, lambda: chunks.now_seconds)
    assert one.stretch(TimeRange(None, None)) is None
    assert one.stretch(TimeRange(None, None)) is None
    assert chunks.lookups == 1


def test_a_range_that_ends_before_the_newest_chunk_has_no_window() -> None:
    chunks = Chunks()
    chunks.newest = [(DAY, 2 * DAY, True, True)]
    one = NewestChunk(chunks.fetch, POSTGRESQL, lambda: chunks.now_seconds)
    assert one.stretch(TimeRange(None, DAY)) is None
    assert one.stretch(TimeRange(None, DAY + 1)) is not None
