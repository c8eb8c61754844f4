"""Rows of the query module as JSON, as CSV, and as rows of an export file with fixed columns.

Nothing is shortened or rounded. An exact amount has all of its digits and no exponent, also in
JSON, where readers that take numbers for doubles get the nearest one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from exporter import tables
from exporter.column_files import Column, Kind, Row
from exporter.json_text import json_ready
from exporter.time_units import from_micros, seconds_to_micros

_TABLE_COLUMNS: Final = {
    column.name: column
    for table in (tables.SERIES, tables.POINTS, tables.SUMMARIES, tables.HISTOGRAMS)
    for column in table.columns
}
# Every other kind is text; arrays and objects are JSON.
_FILE_KINDS: Final[Mapping[tables.Kind, Kind]] = {
    "number": "float",
    "count": "integer",
    "integer": "integer",
    "boolean": "boolean",
}


_PERIOD_KEYS: Final = frozenset({"period_start", "period_end"})


def _file_column(name: str) -> Column:
    return Column(name, _FILE_KINDS.get(_TABLE_COLUMNS[name].kind, "text"))


POINT_COLUMNS: Final = (
    Column("time", "time", time_digits=6),
    *map(_file_column, ("metric_name", "metric_type", "value", "unit")),
    *map(_file_column, ("cluster_id", "node_id", "service_name", "attributes", "resource")),
    *map(_file_column, ("temporality", "is_monotonic")),
    Column("start_time", "time", time_digits=6),
    *map(_file_column, ("count", "sum", "min", "max", "bounds", "bucket_counts")),
    *map(_file_column, ("scale", "zero_count", "zero_threshold")),
    *map(_file_column, ("positive_offset", "positive_counts")),
    *map(_file_column, ("negative_offset", "negative_counts", "quantiles")),
)
"""The columns of a file of points: named as in the query module, except for the times."""


def export_row(point: Mapping[str, Any]) -> Row:
    """A point of the query module under the names of `POINT_COLUMNS`."""
    row = {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        for name, value in point.items()
    }
    start = point["start_timestamp"]
    row["time"] = from_micros(seconds_to_micros(point["timestamp"]))
    row["start_time"] = None if start is None else from_micros(seconds_to_micros(start))
    return row


def iso_time(epoch_seconds: float) -> str:
    """A time in UTC to the microsecond. All have the same length, so they sort as text.

    >>> iso_time(1.5)
    '1970-01-01T00:00:01.500000Z'
    """
    moment = from_micros(seconds_to_micros(epoch_seconds))
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def with_iso_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with an ISO 8601 text beside each time in epoch seconds.

    `time` comes after `timestamp`, `last_time` after `last_timestamp`, and `period_end_time` after
    `period_end`.
    """
    result: dict[str, Any] = {}
    for key, value in row.items():
        result[key] = value
        if key == "timestamp" or key.endswith("_timestamp"):
            result[key.removesuffix("stamp")] = None if value is None else iso_time(value)
        elif key in _PERIOD_KEYS:
            result[f"{key}_time"] = None if value is None else iso_time(value)
    return result


def render_json(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One JSON array with one row a line and ISO times beside the timestamps.

    NaN and infinities, which JSON does not have, are the strings "NaN", "Infinity" and
    "-Infinity", as in protobuf's JSON.

    Args:
        rows: dicts, as the query module gives them.

    Yields:
        Lines with their ends; together a valid JSON document, also for no rows.
    """
    line = None
    for row in rows:
        yield "[\n" if line is None else f"{line},\n"
        members = (f"{_json(key)}: {_json(value)}" for key, value in with_iso_times(row).items())
        line = f"{{{', '.join(members)}}}"
    yield "[]\n" if line is None else f"{line}\n]\n"


def render_csv(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """CSV as in RFC 4180: a header with every key of any row, then one line a row.

    A missing value and None are empty, dicts and lists are JSON, NaN and infinities are spelled as
    in `render_json`.

    Args:
        rows: dicts, as the query module gives them.

    Yields:
        Lines with their ends (CR LF); nothing for no rows.
    """
    rows = [with_iso_times(row) for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        return
    yield _csv_line(columns)
    for row in rows:
        yield _csv_line([_csv_value(row.get(column)) for column in columns])


def _csv_value(value: Any) -> Any:
    value = json_ready(value) if isinstance(value, float) else value
    return value if value is None or isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return json.dumps(json_ready(value), ensure_ascii=False, allow_nan=False)


def _csv_line(values: Iterable[Any]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue()
