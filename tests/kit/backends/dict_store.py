"""A store of dicts: the reference for what a backend stores.

Values are those of `stored_rows`: times in microseconds, NaN as the text "NaN" (because a NaN does
not equal itself), an unknown start and a missing value as None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from exporter.model import Batch, HistogramPoint, Series, SummaryPoint

Key = tuple[int, ...]


@dataclass
class DictStore:
    """Rows by microseconds, series id, and start if it is known; exemplars are a set."""

    series: dict[int, dict[str, Any]] = field(default_factory=dict)
    points: dict[Key, tuple[Any, ...]] = field(default_factory=dict)
    histograms: dict[Key, dict[str, Any]] = field(default_factory=dict)
    summaries: dict[Key, dict[str, Any]] = field(default_factory=dict)
    exemplars: set[tuple[Any, ...]] = field(default_factory=set)
    keeps_nul: bool = field(default=True, compare=False)

    def write(self, batch: Batch) -> int:
        """Store a batch without collisions; returns how many distinct data points it has."""
        for one in batch.new_series:
            self.series[one.series_id] = self._kept(definition(one))
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
                self._kept(one.trace_id),
                self._kept(one.span_id),
                _canonical(self._kept(json.loads(one.attributes))),
            )
            for one in batch.exemplars
        }
        return len(points) + len(histograms) + len(summaries)

    def _kept(self, value: Any) -> Any:
        """The value with each text, at any depth, as the store has it."""
        if self.keeps_nul:
            return value
        if isinstance(value, str):
            return value.replace("\0", "\ufffd")
        if isinstance(value, dict):
            return {self._kept(key): self._kept(item) for key, item in value.items()}
        return [self._kept(item) for item in value] if isinstance(value, list) else value


def definition(series: Series) -> dict[str, Any]:
    """A series with its JSON parsed, because each database formats JSON differently."""
    parsed = {
        name: json.loads(getattr(series, name)) for name in ("resource", "scope", "attributes")
    }
    return asdict(series) | parsed


def without_repeats(written: Iterable[Batch]) -> list[Batch]:
    """The batches with only the first point of each series, microsecond and start, and exemplar."""
    seen: set[object] = set()

    def is_first(*key: object) -> bool:
        new = key not in seen
        seen.add(key)
        return new

    return [
        replace(
            batch,
            points=batch.points.take(
                np.array(
                    [
                        index
                        for index in range(len(batch.points))
                        if is_first("point", _point(batch, index)[0])
                    ],
                    np.intp,
                )
            ),
            histograms=tuple(one for one in batch.histograms if is_first("histogram", _key(one))),
            summaries=tuple(one for one in batch.summaries if is_first("summary", _key(one))),
            exemplars=tuple(one for one in batch.exemplars if is_first("exemplar", repr(one))),
        )
        for batch in written
    ]


def comparable(value: float | None) -> float | str | None:
    """A number that equals itself: "NaN" for NaN, and 0.0 for -0.0, which SQLite does not store."""
    if value is None:
        return None
    return "NaN" if math.isnan(value) else value + 0.0


def micros(unix_nano: int) -> int:
    return unix_nano // 1_000


def _start(unix_nano: int) -> int | None:
    return micros(unix_nano) or None


def key_of(time: int, series_id: int, start: int | None) -> Key:
    """The key of a row; two numbers if the start is unknown, as it is in most tests."""
    return (time, series_id, start) if start else (time, series_id)


def _key(item: HistogramPoint | SummaryPoint) -> Key:
    start = _start(item.start_time_unix_nano)
    return key_of(micros(item.time_unix_nano), item.series_id, start)


def _point(batch: Batch, index: int) -> tuple[Key, tuple[Any, ...]]:
    rows = batch.points
    start = _start(int(rows.start_time_unix_nano[index]))
    key = key_of(micros(int(rows.time_unix_nano[index])), int(rows.series_id[index]), start)
    value = float(rows.value[index]) if rows.recorded[index] else None
    return key, (comparable(value), start)


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


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _list(values: tuple[float, ...]) -> list[float | str | None]:
    return [comparable(value) for value in values]
