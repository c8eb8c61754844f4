"""Points and the definitions of their series to plain dicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final

from exporter.query.point_sql import DEFINITION_COLUMNS

__all__ = ["history_rows"]

_Row = tuple[Any, ...]
# Time, series_id and start come before the columns.
_LEADING: Final = 3
_Parse = Callable[[str], dict[str, Any]]


def history_rows(
    points: Sequence[_Row], columns: Sequence[str], definitions: Iterable[_Row]
) -> list[dict[str, Any]]:
    """Dicts in the order of the points; each has its own `attributes` and `resource`.

    Args:
        points: the answer to `history_statement`.
        columns: the `point_columns` of its tables.
        definitions: of at least their series. A point whose series is not among
            them was deleted with it meanwhile, and is left out.
    """
    parse: _Parse = cache(json.loads)  # many definitions share a few texts
    answered = {point[1] for point in points}
    templates = {row[0]: _template(row, parse) for row in definitions if row[0] in answered}
    value_at = columns.index("value") + _LEADING if "value" in columns else None
    rows = []
    # Of every microsecond spent here an answer of a million points takes a second longer.
    for point in points:
        template = templates.get(point[1])
        if template is None:
            continue
        row = template.copy()
        row["timestamp"], _, row["start_timestamp"] = point[:_LEADING]
        row["attributes"] = row["attributes"].copy()
        row["resource"] = row["resource"].copy()
        if value_at is not None and (value := point[value_at]) is not None:
            row["value"] = float(value)  # a NaN may come as text
        if row["metric_type"] in _SHAPES:
            row |= _SHAPES[row["metric_type"]](dict(zip(columns, point[_LEADING:], strict=True)))
        rows.append(row)
    return rows


def _template(definition: _Row, parse: _Parse) -> dict[str, Any]:
    """What all points of a series share, every key in its place."""
    named = dict(zip(DEFINITION_COLUMNS, definition, strict=True))
    return {
        "timestamp": None,
        "metric_name": named["metric_name"],
        "metric_type": named["metric_type"],
        "value": None,
        "unit": named["unit"],
        "cluster_id": named["cluster_id"],
        "node_id": named["node_id"],
        "service_name": named["service_name"],
        "attributes": parse(named["attributes"]),
        "resource": parse(named["resource"]),
        "temporality": named["temporality"],
        "is_monotonic": None if named["is_monotonic"] is None else bool(named["is_monotonic"]),
        "start_timestamp": None,
    }


def _statistics(named: dict[str, Any]) -> dict[str, Any]:
    return {"count": named["count"]} | {key: _number(named[key]) for key in ("sum", "min", "max")}


def _explicit(named: dict[str, Any]) -> dict[str, Any]:
    return {
        **_statistics(named),
        "bounds": _numbers(named["bounds"]),
        "bucket_counts": _array(named["bucket_counts"]),
    }


def _exponential(named: dict[str, Any]) -> dict[str, Any]:
    return {
        **_statistics(named),
        "scale": named["scale"],
        "zero_count": named["zero_count"],
        "zero_threshold": _number(named["zero_threshold"]),
        "positive_offset": named["positive_offset"],
        "positive_counts": _array(named["positive_counts"]),
        "negative_offset": named["negative_offset"],
        "negative_counts": _array(named["negative_counts"]),
    }


def _summary(named: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(_numbers(named["quantiles"]), _numbers(named["quantile_values"]), strict=True)
    return {
        "count": named["count"],
        "sum": _number(named["sum"]),
        "quantiles": [{"quantile": quantile, "value": value} for quantile, value in pairs],
    }


_SHAPES: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "histogram": _explicit,
    "exponential_histogram": _exponential,
    "summary": _summary,
}


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)  # a NaN may come as text


def _array(text: str | None) -> list[int]:
    return [] if text is None else list(json.loads(text))


def _numbers(text: str | None) -> list[float]:
    return [float(item) for item in _array(text)]
