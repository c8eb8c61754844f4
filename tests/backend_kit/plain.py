"""A store of plain dicts: what a backend should hold after a number of batches.

Values are in the terms of `reading`: times in microseconds, NaN as the text "NaN" (so that equal
means equal), an unknown start and a missing value as None.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from exporter.model import Batch, HistogramPoint, Series, SummaryPoint

__all__ = ["Key", "PlainStore", "comparable", "definition"]

Key = tuple[int, int]


@dataclass
class PlainStore:
    """What is stored, by (microseconds, series id); exemplars are a set."""

    series: dict[int, dict[str, Any]] = field(default_factory=dict)
    points: dict[Key, tuple[Any, ...]] = field(default_factory=dict)
    histograms: dict[Key, dict[str, Any]] = field(default_factory=dict)
    summaries: dict[Key, dict[str, Any]] = field(default_factory=dict)
    exemplars: set[tuple[Any, ...]] = field(default_factory=set)

    def write(self, batch: Batch) -> int:
        """Store a batch without collisions; returns how many distinct data points it has."""
        for one in batch.new_series:
            self.series[one.series_id] = definition(one)
        points = dict(_point(batch, index) for index in range(len(batch.points)))
        histograms = {_key(one): _histogram(one) for one in batch.histograms}
        summaries = {_key(one): _summary(one) for one in batch.summaries}
        self.points |= points
        self.histograms |= histograms
        self.summaries |= summaries
        self.exemplars |= {
            (
                micros(one.time_unix_nano),
                one.series_id,
                comparable(one.value),
                one.trace_id,
                one.span_id,
                one.attributes,
            )
            for one in batch.exemplars
        }
        return len(points) + len(histograms) + len(summaries)


def definition(series: Series) -> dict[str, Any]:
    """A series with its JSON taken apart, because databases write JSON in ways of their own."""
    parsed = {
        name: json.loads(getattr(series, name)) for name in ("resource", "scope", "attributes")
    }
    return asdict(series) | parsed


def comparable(value: float | None) -> float | str | None:
    """A number that equals itself: "NaN" for NaN, and 0.0 for -0.0, which SQLite does not keep."""
    if value is None:
        return None
    return "NaN" if math.isnan(value) else value + 0.0


def micros(unix_nano: int) -> int:
    return unix_nano // 1_000


def _start(unix_nano: int) -> int | None:
    return micros(unix_nano) if unix_nano else None


def _key(item: HistogramPoint | SummaryPoint) -> Key:
    return micros(item.time_unix_nano), item.series_id


def _point(batch: Batch, index: int) -> tuple[Key, tuple[Any, ...]]:
    rows = batch.points
    key = micros(int(rows.time_unix_nano[index])), int(rows.series_id[index])
    value = float(rows.value[index]) if rows.recorded[index] else None
    return key, (comparable(value), _start(int(rows.start_time_unix_nano[index])))


def _histogram(one: HistogramPoint) -> dict[str, Any]:
    buckets = one.exponential
    explicit = buckets is None
    return {
        "start_timestamp": _start(one.start_time_unix_nano),
        "count": one.count,
        "sum": comparable(one.sum),
        "min": comparable(one.min),
        "max": comparable(one.max),
        "bounds": _list(one.bounds) if explicit else None,
        "bucket_counts": list(one.bucket_counts) if explicit else None,
        "scale": buckets and buckets.scale,
        "zero_count": buckets and buckets.zero_count,
        "zero_threshold": buckets and comparable(buckets.zero_threshold),
        "positive_offset": buckets and buckets.positive_offset,
        "positive_counts": buckets and list(buckets.positive_counts),
        "negative_offset": buckets and buckets.negative_offset,
        "negative_counts": buckets and list(buckets.negative_counts),
    }


def _summary(one: SummaryPoint) -> dict[str, Any]:
    return {
        "start_timestamp": _start(one.start_time_unix_nano),
        "count": one.count,
        "sum": comparable(one.sum),
        "quantiles": _list(one.quantiles),
        "quantile_values": _list(one.values),
    }


def _list(values: tuple[float, ...]) -> list[float | str | None]:
    return [comparable(value) for value in values]
