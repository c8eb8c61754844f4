"""Builds a batch of series and points in a few lines, for tests of reading."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from exporter.backends.base import Backend
from exporter.json_text import canonical_json
from exporter.model import (
    Batch,
    ExponentialBuckets,
    HistogramPoint,
    MetricType,
    Points,
    Series,
    SummaryPoint,
    Temporality,
)


def _nanos(seconds: float) -> int:
    return round(seconds * 1_000_000) * 1_000


@dataclass
class BatchBuilder:
    """Collects series and points; `write` writes them in one batch. Times are in seconds."""

    series: list[Series] = field(default_factory=list)
    numbers: list[tuple[int, int, float | None, int]] = field(default_factory=list)
    histograms: list[HistogramPoint] = field(default_factory=list)
    summaries: list[SummaryPoint] = field(default_factory=list)
    # Ids of both signs, as hashes have.
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(-3))

    def add_series(
        self,
        name: str,
        metric_type: MetricType,
        *,
        unit: str = "",
        temporality: Temporality | None = None,
        is_monotonic: bool | None = None,
        cluster: str = "default",
        node: str = "default",
        service: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        resource: Mapping[str, Any] | None = None,
    ) -> int:
        series_id = next(self._ids)
        self.series.append(
            Series(
                series_id=series_id,
                metric_name=name,
                metric_type=metric_type,
                unit=unit,
                description=f"what {name} is",
                temporality=temporality,
                is_monotonic=is_monotonic,
                cluster_id=cluster,
                node_id=node,
                service_name=service,
                # The resource makes each series of a test distinct.
                resource=canonical_json({"test.series": series_id, **(resource or {})}),
                resource_schema_url="",
                scope='{"attributes":{},"name":"test","version":""}',
                scope_schema_url="",
                attributes=canonical_json(attributes or {}),
            )
        )
        return series_id

    def gauge(self, name: str, points: Iterable[tuple[float, float | None]], **series: Any) -> Self:
        series_id = self.add_series(name, "gauge", **series)
        self.numbers += [(series_id, _nanos(time), value, 0) for time, value in points]
        return self

    def counter(
        self,
        name: str,
        points: Iterable[tuple[float, float | None]],
        *,
        start: float | None = None,
        temporality: Temporality = "cumulative",
        is_monotonic: bool = True,
        **series: Any,
    ) -> Self:
        """Points of a sum as time and value, all with one start time (None: unknown)."""
        return self.sum(
            name,
            [(time, value, start) for time, value in points],
            temporality=temporality,
            is_monotonic=is_monotonic,
            **series,
        )

    def sum(
        self,
        name: str,
        points: Iterable[tuple[float, float | None, float | None]],
        *,
        temporality: Temporality = "cumulative",
        is_monotonic: bool = True,
        **series: Any,
    ) -> Self:
        """Points of a sum as time, value and start time."""
        series_id = self.add_series(
            name, "sum", temporality=temporality, is_monotonic=is_monotonic, **series
        )
        self.numbers += [
            (series_id, _nanos(time), value, _nanos(start or 0)) for time, value, start in points
        ]
        return self

    def histogram(
        self,
        name: str,
        points: Iterable[Mapping[str, Any]],
        *,
        bounds: tuple[float, ...] = (),
        temporality: Temporality = "delta",
        **series: Any,
    ) -> Self:
        """Points as dicts of time and counts; start, sum, min, max and count are optional."""
        series_id = self.add_series(name, "histogram", temporality=temporality, **series)
        for point in points:
            counts = tuple(point.get("counts", ()))
            self.histograms.append(
                HistogramPoint(
                    **self._common(series_id, point, sum(counts)),
                    sum=point.get("sum"),
                    min=point.get("min"),
                    max=point.get("max"),
                    bounds=bounds,
                    bucket_counts=counts,
                )
            )
        return self

    def exponential(
        self,
        name: str,
        points: Iterable[Mapping[str, Any]],
        *,
        temporality: Temporality = "delta",
        **series: Any,
    ) -> Self:
        """Points as dicts of time, scale and positive (offset, counts); the rest is optional."""
        series_id = self.add_series(
            name, "exponential_histogram", temporality=temporality, **series
        )
        for point in points:
            positive, negative = point.get("positive", (0, ())), point.get("negative", (0, ()))
            zero = point.get("zero", 0)
            count = zero + sum(positive[1]) + sum(negative[1])
            buckets = ExponentialBuckets(
                point["scale"], zero, point.get("zero_threshold", 0.0), *positive, *negative
            )
            self.histograms.append(
                HistogramPoint(
                    **self._common(series_id, point, count),
                    sum=point.get("sum"),
                    min=point.get("min"),
                    max=point.get("max"),
                    exponential=buckets,
                )
            )
        return self

    def summary(self, name: str, points: Iterable[Mapping[str, Any]], **series: Any) -> Self:
        """Points as dicts of time and quantiles (a dict); start, sum and count are optional."""
        series_id = self.add_series(name, "summary", **series)
        for point in points:
            quantiles = point.get("quantiles", {})
            self.summaries.append(
                SummaryPoint(
                    **self._common(series_id, point, 0),
                    sum=point.get("sum"),
                    quantiles=tuple(quantiles),
                    values=tuple(quantiles.values()),
                )
            )
        return self

    @staticmethod
    def _common(series_id: int, point: Mapping[str, Any], count: int) -> dict[str, Any]:
        return {
            "series_id": series_id,
            "time_unix_nano": _nanos(point["time"]),
            "start_time_unix_nano": _nanos(point.get("start") or 0),
            "count": point.get("count", count),
        }

    def batch(self) -> Batch:
        def column(index: int, kind: type) -> np.ndarray[Any, Any]:
            return np.array([row[index] or 0 for row in self.numbers], kind)

        return Batch(
            new_series=tuple(self.series),
            points=Points(
                series_id=column(0, np.int64),
                time_unix_nano=column(1, np.int64),
                start_time_unix_nano=column(3, np.int64),
                value=column(2, np.float64),
                recorded=np.array([row[2] is not None for row in self.numbers], np.bool_),
            ),
            histograms=tuple(self.histograms),
            summaries=tuple(self.summaries),
        )

    def write(self, backend: Backend) -> None:
        backend.write(self.batch())
