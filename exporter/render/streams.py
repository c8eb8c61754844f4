"""Rows as JSON and CSV, line by line; nothing is shortened or rounded.

But for exact amounts in JSON, whose readers take numbers for doubles: the nearest one stands there.

A time is told twice: as it came, in epoch seconds, and as ISO 8601 text beside it (`timestamp`
and `time`, `last_timestamp` and `last_time`).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

__all__ = ["iso_time", "render_csv", "render_json", "with_iso_times"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def iso_time(epoch_seconds: float) -> str:
    """UTC to the microsecond, always of one length so that it sorts as text.

    >>> iso_time(1.5)
    '1970-01-01T00:00:01.500000Z'
    """
    moment = _EPOCH + timedelta(microseconds=round(epoch_seconds * 1_000_000))
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def render_json(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One JSON array, one row a line.

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
        line = json.dumps(_finite(with_iso_times(row)), ensure_ascii=False, allow_nan=False)
    yield "[]\n" if line is None else f"{line}\n]\n"


def render_csv(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """RFC 4180: a header with every key that any row has, then one line a row.

    What a row lacks and what is None is empty; dicts and lists are JSON; numbers that JSON does
    not have are spelled as in `render_json`.

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


def with_iso_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with a text beside each time."""
    result: dict[str, Any] = {}
    for key, value in row.items():
        result[key] = value
        if key == "timestamp" or key.endswith("_timestamp"):
            result[key.removesuffix("stamp")] = None if value is None else iso_time(value)
    return result


def _finite(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _csv_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    value = _finite(value)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _csv_line(values: Iterable[Any]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue()
