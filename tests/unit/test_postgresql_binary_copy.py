"""The binary format of COPY: its layout, its order, and reads of any size."""

from __future__ import annotations

import math
import struct

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from kit.backends.samples import NOW, point, points

from exporter.backends.postgresql.binary_copy import binary_copy_streams, series_order

MOST = 2**63 - 1
# 2000-01-01, the epoch of PostgreSQL.
EPOCH_MICROS = 946_684_800_000_000

Row = tuple[int, int, float | None, int | None]


def unpacked(stream: bytes) -> list[Row]:
    """The rows of a binary COPY stream, read field by field as the server does."""
    assert stream[:19] == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    position, rows = 19, []
    while True:
        (fields,) = struct.unpack_from(">h", stream, position)
        position += 2
        if fields == -1:
            assert position == len(stream)
            return rows
        assert fields == 4
        values = []
        for code in "qqdq":
            (size,) = struct.unpack_from(">i", stream, position)
            position += 4
            values.append(None if size == -1 else struct.unpack_from(f">{code}", stream, position))
            position += max(size, 0)
        time, series_id, value, start = (one and one[0] for one in values)
        rows.append((time, series_id, value, start))


_times = st.one_of(st.integers(1, MOST), st.sampled_from([1, 999, 1_000, NOW, MOST]))


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), MOST),
            _times,
            st.just(0) | _times,
            st.floats(allow_nan=False),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_rows_are_sorted_by_series_and_time(
    given_rows: list[tuple[int, int, int, float, bool]],
) -> None:
    streams = [unpacked(stream.read()) for stream in binary_copy_streams(points(given_rows))]
    assert len(streams) <= 4
    for rows in streams:
        assert rows
        assert [row[1] for row in rows] == sorted(row[1] for row in rows)
        assert [row[1::-1] for row in rows] == sorted(row[1::-1] for row in rows)
        assert len({(row[2] is None, row[3] is None) for row in rows}) == 1
    expected = [
        (
            time // 1_000 - EPOCH_MICROS,
            series_id,
            value if recorded else None,
            start // 1_000 - EPOCH_MICROS if start else None,
        )
        for series_id, time, start, value, recorded in given_rows
    ]

    def order(row: Row) -> tuple[object, ...]:
        return tuple((item is None, item or 0) for item in row)

    assert sorted((row for rows in streams for row in rows), key=order) == sorted(
        expected, key=order
    )


def test_nan_is_a_value_and_not_null() -> None:
    [stream] = binary_copy_streams(points([point(1, value=math.nan)]))
    [(_, _, value, _)] = unpacked(stream.read())
    assert value is not None
    assert math.isnan(value)


def test_no_points_give_no_stream() -> None:
    assert binary_copy_streams(points([])) == []


@given(count=st.integers(1, 40), sizes=st.lists(st.integers(1, 120), min_size=1))
def test_reads_of_any_size_give_the_whole_stream(count: int, sizes: list[int]) -> None:
    given_points = points([point(at % 7, NOW + at) for at in range(count)])
    [whole], [stream] = binary_copy_streams(given_points), binary_copy_streams(given_points)
    blocks = []
    while block := stream.read(sizes[len(blocks) % len(sizes)]):
        assert len(block) <= sizes[len(blocks) % len(sizes)]
        blocks.append(block)
    assert b"".join(blocks) == whole.read()
    assert stream.read() == b""
    assert len(unpacked(b"".join(blocks))) == count


_ids = st.integers(-(2**63), MOST) | st.integers(-3, 3)


@given(st.lists(st.tuples(_ids, st.integers(0, 5)), max_size=50))
@example([(8, 0), (9, 0), (8, 0)])  # their first bits are the same
@example([(2**40, 2), (2**40, 1)])  # later points came first
def test_the_order_is_that_of_a_stable_sort(keys: list[tuple[int, int]]) -> None:
    ids, times = (np.array([key[at] for key in keys], np.int64) for at in (0, 1))
    expected = sorted(range(len(keys)), key=keys.__getitem__)
    assert series_order(ids, times).tolist() == expected
