"""Bytes of COPY: the layout of the binary format, escapes of the text format, what NUL becomes."""

from __future__ import annotations

import json
import math
import struct

import pytest
from backend_kit.samples import (
    NOW,
    SECOND,
    exemplar,
    exponential,
    histogram,
    point,
    points,
    summary,
)
from hypothesis import given
from hypothesis import strategies as st

from exporter.backends.postgresql.copying import (
    binary_groups,
    days_of,
    text_rows,
)
from exporter.backends.postgresql.texts import Texts, clean_json, clean_text

MOST = 2**63 - 1
# 2000-01-01, from which PostgreSQL counts.
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
def test_the_server_reads_what_was_given_sorted_by_series_and_time(
    given_rows: list[tuple[int, int, int, float, bool]],
) -> None:
    streams = [unpacked(stream) for stream in binary_groups(points(given_rows))]
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
    [stream] = binary_groups(points([point(1, value=math.nan)]))
    [(_, _, value, _)] = unpacked(stream)
    assert value is not None
    assert math.isnan(value)


def test_no_points_are_no_stream() -> None:
    assert binary_groups(points([])) == []


def test_rarer_rows_are_text_with_arrays_and_nulls() -> None:
    time, start = "2023-11-14T22:13:20.123456Z", "2023-11-14T22:13:10.123456Z"
    minute_ago = "2023-11-14T22:12:20.123456Z"
    lines = text_rows([histogram(1), exponential(-2), summary(3)], Texts()).read().decode()
    assert lines.splitlines() == [
        f"{time}\t1\t{start}\t6\t12.5\t0.25\t7.5\t{{0.5,5.0}}\t{{1,3,2}}" + "\t\\N" * 7,
        f"{time}\t-2\t{start}\t6\t12.5\t0.25\t7.5\t\\N\t\\N\t3\t2\t1e-06\t-4\t{{1,0,3}}\t7\t{{}}",
        f"{time}\t3\t{minute_ago}\t10\t55.0\t{{0.5,0.99}}\t{{5.0,9.9}}",
    ]


def test_odd_numbers_and_times_are_spelled_as_postgresql_reads_them() -> None:
    odd = summary(
        1, MOST, start_time_unix_nano=0, sum=math.nan, quantiles=(), values=(math.inf, -math.inf)
    )
    [line] = text_rows([odd], Texts()).read().decode().splitlines()
    assert line == "2262-04-11T23:47:16.854775Z\t1\t\\N\t10\tnan\t{}\t{inf,-inf}"


def test_text_is_escaped() -> None:
    [line] = (
        text_rows([exemplar(1, span_id="a\tb\nc\rd\\e\\N")], Texts())
        .read()
        .decode()
        .split("\n")[:-1]
    )
    assert line.split("\t")[4] == r"a\tb\nc\rd\\e\\N"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (r'{"a":"\u0000"}', '{"a":"\ufffd"}'),
        (r'{"a":"\\u0000"}', r'{"a":"\\u0000"}'),
        (r'{"a":"\\\u0000"}', '{"a":"\\\\\ufffd"}'),
        (r'{"\u0000\u0000":1}', '{"\ufffd\ufffd":1}'),
        (r'{"a":"\u0001"}', r'{"a":"\u0001"}'),
    ],
)
def test_a_nul_in_json_becomes_the_replacement_character(text: str, cleaned: str) -> None:
    assert clean_json(text) == cleaned


@given(st.text(st.sampled_from("\0\\u01\"'\n")))
def test_only_nul_is_changed(text: str) -> None:
    expected = text.replace("\0", "\ufffd")
    assert clean_text(text) == expected
    assert json.loads(clean_json(json.dumps(text))) == expected
    assert json.loads(clean_json(json.dumps(text, ensure_ascii=False))) == expected
    texts = Texts()
    assert (texts.text(text), texts.altered) == (expected, int(text != expected))
    texts.json(json.dumps(text))
    assert texts.altered == 2 * int(text != expected)


def test_days_are_counted_from_1970() -> None:
    day = 86_400 * SECOND
    assert days_of([]) == set()
    assert days_of([1, day - 1, day, 3 * day + 5, MOST]) == {0, 1, 3, 106_751}
