"""What a backend has stored, read through `fetch` with SQL that every database accepts.

The values are those of `dict_store`, so a test compares the two with ==.
"""

# ruff: noqa: S608 - table and column names are written here and nowhere else

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from exporter.backends.base import Backend
from kit.backends.dict_store import DictStore, Key, comparable, key_of

_T = TypeVar("_T")

FACT_TABLES: Final = (
    "system_metrics",
    "metric_histograms",
    "metric_summaries",
    "metric_exemplars",
    "cost_entries",
)
# The tables of `sizes`.
SIZED_TABLES: Final = (*FACT_TABLES, "dead_letters")
_SERIES: Final = (
    "series_id",
    "metric_name",
    "metric_type",
    "unit",
    "description",
    "temporality",
    "is_monotonic",
    "cluster_id",
    "node_id",
    "service_name",
    "resource",
    "resource_schema_url",
    "scope",
    "scope_schema_url",
    "attributes",
)
_HISTOGRAM: Final = {
    "count": False,
    "sum": False,
    "min": False,
    "max": False,
    "bounds": True,
    "bucket_counts": True,
    "scale": False,
    "zero_count": False,
    "zero_threshold": False,
    "positive_offset": False,
    "positive_counts": True,
    "negative_offset": False,
    "negative_counts": True,
}
_SUMMARY: Final = {"count": False, "sum": False, "quantiles": True, "quantile_values": True}
_FLOAT_NAMES: Final = {"Infinity": float("inf"), "-Infinity": float("-inf")}


def stored(backend: Backend) -> DictStore:
    """All rows."""
    return DictStore(
        stored_series(backend),
        stored_points(backend),
        stored_histograms(backend),
        stored_summaries(backend),
        stored_exemplars(backend),
    )


def stored_series(backend: Backend) -> dict[int, dict[str, Any]]:
    """Definitions by series id, without first_seen."""
    found = {}
    for row in backend.fetch(f"SELECT {', '.join(_SERIES)} FROM metric_series"):
        one = dict(zip(_SERIES, row, strict=True))
        if one["is_monotonic"] is not None:
            one["is_monotonic"] = bool(one["is_monotonic"])
        for name in ("resource", "scope", "attributes"):
            one[name] = _json(one[name])
        found[one["series_id"]] = one
    return found


def stored_points(backend: Backend) -> dict[Key, tuple[Any, ...]]:
    """(value, start in microseconds) by `key_of`."""
    rows = backend.fetch(
        f"SELECT {_micros(backend, 'timestamp')}, series_id, value, "
        f"{_micros(backend, 'start_timestamp')} FROM system_metrics"
    )
    return _by_key(
        (key_of(time, series_id, start), (_number(value), start or None))
        for time, series_id, value, start in rows
    )


def stored_histograms(backend: Backend) -> dict[Key, dict[str, Any]]:
    return _stored(backend, "metric_histograms", _HISTOGRAM)


def stored_summaries(backend: Backend) -> dict[Key, dict[str, Any]]:
    return _stored(backend, "metric_summaries", _SUMMARY)


def stored_exemplars(backend: Backend) -> set[tuple[Any, ...]]:
    rows = backend.fetch(
        f"SELECT {_micros(backend, 'timestamp')}, series_id, value, trace_id, span_id, attributes "
        "FROM metric_exemplars"
    )
    return {
        (time, series_id, _number(value), trace_id, span_id, _canonical(attributes))
        for time, series_id, value, trace_id, span_id, attributes in rows
    }


def count(backend: Backend, table: str = "system_metrics") -> int:
    [(rows,)] = backend.fetch(f"SELECT count(*) FROM {table}")
    return int(rows)


def count_all_rows(backend: Backend) -> int:
    """The number of rows of all fact tables."""
    return sum(count(backend, table) for table in FACT_TABLES)


def _stored(backend: Backend, table: str, columns: dict[str, bool]) -> dict[Key, dict[str, Any]]:
    rows = backend.fetch(
        f"SELECT {_micros(backend, 'timestamp')}, series_id, "
        f"{_micros(backend, 'start_timestamp')}, {', '.join(columns)} FROM {table}"
    )
    return _by_key(
        (
            key_of(time, series_id, start),
            {"start_timestamp": start or None}
            | {
                name: _array(value) if is_array else _number(value)
                for (name, is_array), value in zip(columns.items(), values, strict=True)
            },
        )
        for time, series_id, start, *values in rows
    )


def _by_key(pairs: Iterable[tuple[Key, _T]]) -> dict[Key, _T]:
    pairs = list(pairs)
    found = dict(pairs)
    assert len(found) == len(pairs), "two rows of one key: count them instead"
    return found


def _micros(backend: Backend, column: str) -> str:
    return backend.dialect.micros.format(time=column)


def _number(value: Any) -> Any:
    return comparable(value) if isinstance(value, float) else value


def _array(value: Any) -> list[Any] | None:
    items = _json(value)
    return items and [_number(_FLOAT_NAMES.get(item, item)) for item in items]


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _canonical(value: Any) -> str:
    return json.dumps(_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
