"""Points as rows of a file with fixed columns, for CSV and Parquet; nothing is rounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from exporter.column_files import Column, Row

__all__ = ["POINT_COLUMNS", "export_row"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES: Final = {"time": "timestamp", "start_time": "start_timestamp"}

POINT_COLUMNS: Final = (
    Column("time", "time", time_digits=6),
    Column("metric_name"),
    Column("metric_type"),
    Column("value", "float"),
    Column("unit"),
    Column("cluster_id"),
    Column("node_id"),
    Column("service_name"),
    Column("attributes"),
    Column("resource"),
    Column("temporality"),
    Column("is_monotonic", "boolean"),
    Column("start_time", "time", time_digits=6),
    Column("count", "integer"),
    Column("sum", "float"),
    Column("min", "float"),
    Column("max", "float"),
    Column("bounds"),
    Column("bucket_counts"),
    Column("scale", "integer"),
    Column("zero_count", "integer"),
    Column("zero_threshold", "float"),
    Column("positive_offset", "integer"),
    Column("positive_counts"),
    Column("negative_offset", "integer"),
    Column("negative_counts"),
    Column("quantiles"),
)
"""As the query module names them, but for the times; lists and objects are JSON."""


def export_row(point: Mapping[str, Any]) -> Row:
    """A point of the query module under the names of `POINT_COLUMNS`."""
    row = {name: _cell(value) for name, value in point.items()}
    for name, source in _TIMES.items():
        seconds = point[source]
        row[name] = None if seconds is None else _moment(seconds)
    return row


def _moment(seconds: float) -> datetime:
    return _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value
