"""The text format of COPY, and the replacement of NUL."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.backends.samples import SECOND, exemplar, exponential, histogram, summary

from exporter.backends.postgresql.batch_writer import days_of
from exporter.backends.postgresql.text_format import (
    TextSanitizer,
    clean_json,
    clean_text,
    text_copy_stream,
)

MOST = 2**63 - 1


def test_histograms_and_summaries_as_text() -> None:
    time, start = "2023-11-14T22:13:20.123456Z", "2023-11-14T22:13:10.123456Z"
    minute_ago = "2023-11-14T22:12:20.123456Z"
    lines = (
        text_copy_stream([histogram(1), exponential(-2), summary(3)], TextSanitizer())
        .read()
        .decode()
    )
    assert lines.splitlines() == [
        f"{time}\t1\t{start}\t6\t12.5\t0.25\t7.5\t{{0.5,5.0}}\t{{1,3,2}}" + "\t\\N" * 7,
        f"{time}\t-2\t{start}\t6\t12.5\t0.25\t7.5\t\\N\t\\N\t3\t2\t1e-06\t-4\t{{1,0,3}}\t7\t{{}}",
        f"{time}\t3\t{minute_ago}\t10\t55.0\t{{0.5,0.99}}\t{{5.0,9.9}}",
    ]


def test_extreme_numbers_and_times_as_text() -> None:
    odd = summary(
        1, MOST, start_time_unix_nano=0, sum=math.nan, quantiles=(), values=(math.inf, -math.inf)
    )
    [line] = text_copy_stream([odd], TextSanitizer()).read().decode().splitlines()
    assert line == "2262-04-11T23:47:16.854775Z\t1\t\\N\t10\tnan\t{}\t{inf,-inf}"


def test_text_is_escaped() -> None:
    [line] = (
        text_copy_stream([exemplar(1, span_id="a\tb\nc\rd\\e\\N")], TextSanitizer())
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
    sanitizer = TextSanitizer()
    assert (sanitizer.text(text), sanitizer.altered) == (expected, int(text != expected))
    sanitizer.json(json.dumps(text))
    assert sanitizer.altered == 2 * int(text != expected)


def test_days_are_counted_from_1970() -> None:
    day = 86_400 * SECOND
    assert days_of([]) == set()
    assert days_of([1, day - 1, day, 3 * day + 5, MOST]) == {0, 1, 3, 106_751}
