import csv
import io
import json
import math
from itertools import islice, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.render import render_csv, render_json
from exporter.render.row_formats import iso_time

POINT = {
    "timestamp": 1795453445.25,
    "metric_name": "level",
    "value": 1.5,
    "attributes": {"k": 'a "b", c'},
    "start_timestamp": None,
}

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ROWS = st.lists(
    st.dictionaries(
        st.text(alphabet="abc", min_size=1),
        PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(), PLAIN, max_size=2),
        min_size=1,
        max_size=4,
    ),
    max_size=4,
)


def test_json_is_one_array_with_a_row_on_each_line() -> None:
    lines = "".join(render_json([POINT, POINT | {"value": 2}])).splitlines()
    assert lines[0] == "["
    assert lines[-1] == "]"
    assert lines[1].endswith("},")
    assert json.loads(lines[2]) == {
        "timestamp": 1795453445.25,
        "time": "2026-11-23T17:04:05.250000Z",
        "metric_name": "level",
        "value": 2,
        "attributes": {"k": 'a "b", c'},
        "start_timestamp": None,
        "start_time": None,
    }


def test_json_of_no_rows_is_an_empty_array() -> None:
    assert "".join(render_json([])) == "[]\n"


def test_json_has_nan_and_infinities_by_name_as_protobuf_does() -> None:
    row = {"value": math.nan, "max": math.inf, "quantiles": [{"value": -math.inf}]}
    assert json.loads("".join(render_json([row]))) == [
        {"value": "NaN", "max": "Infinity", "quantiles": [{"value": "-Infinity"}]}
    ]


def test_json_lines_are_yielded_while_rows_arrive() -> None:
    first = list(islice(render_json(repeat(POINT)), 3))
    assert first[0] == "[\n"
    assert all(line.endswith(",\n") for line in first[1:])


@given(ROWS)
def test_json_can_be_read_back(rows: list[dict[str, Any]]) -> None:
    finite = json.loads(json.dumps(rows), parse_constant=lambda name: name)
    assert json.loads("".join(render_json(rows))) == finite


def test_csv_has_a_header_and_a_line_for_each_row() -> None:
    assert "".join(render_csv([POINT])) == (
        "timestamp,time,metric_name,value,attributes,start_timestamp,start_time\r\n"
        '1795453445.25,2026-11-23T17:04:05.250000Z,level,1.5,"{""k"": ""a \\""b\\"", c""}",,\r\n'
    )


def test_csv_has_the_columns_of_all_rows() -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "b": True}, {"a": math.nan, "c": [1, math.inf]}]
    assert "".join(render_csv(rows)) == ('a,b,c\r\n1,true,\r\nNaN,,"[1, ""Infinity""]"\r\n')


def test_csv_of_no_rows_is_empty() -> None:
    assert list(render_csv([])) == []


@given(ROWS)
def test_csv_can_be_read_back(rows: list[dict[str, Any]]) -> None:
    text = "".join(render_csv(rows))
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(read) == len(rows)
    for row, line in zip(rows, read, strict=True):
        for key, value in row.items():
            if isinstance(value, str):
                assert line[key] == value
            elif isinstance(value, int | list) or (
                isinstance(value, float) and math.isfinite(value)
            ):
                assert json.loads(line[key]) == json.loads(
                    json.dumps(value), parse_constant=lambda name: name
                )


@pytest.mark.parametrize(
    ("epoch_seconds", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1795453445.000001, "2026-11-23T17:04:05.000001Z"),
        (-0.5, "1969-12-31T23:59:59.500000Z"),
    ],
)
def test_iso_times(epoch_seconds: float, expected: str) -> None:
    assert iso_time(epoch_seconds) == expected
