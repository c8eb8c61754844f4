"""Series, points and batches with defaults; a test sets the fields that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np

from exporter.model import (
    Batch,
    CostEntry,
    Exemplar,
    ExponentialBuckets,
    HistogramPoint,
    Points,
    Series,
    SummaryPoint,
)

NOW: Final = 1_700_000_000_123_456_000  # nanoseconds, a whole microsecond
SECOND: Final = 1_000_000_000


def series(series_id: int, **different: Any) -> Series:
    values: dict[str, Any] = {
        "series_id": series_id,
        "metric_name": "system.cpu.utilization",
        "metric_type": "gauge",
        "unit": "1",
        "description": "Share of time that a core was busy",
        "temporality": None,
        "is_monotonic": None,
        "cluster_id": "default",
        "node_id": "host-1",
        "service_name": "checkout",
        "resource": '{"host.name":"host-1","service.name":"checkout"}',
        "resource_schema_url": "",
        "scope": '{"attributes":{},"name":"psutil","version":"1"}',
        "scope_schema_url": "",
        "attributes": f'{{"cpu":{series_id}}}',
    }
    return Series(**values | different)


def point(
    series_id: int,
    time: int = NOW,
    value: float = 1.0,
    *,
    start: int = 0,
    recorded: bool = True,
) -> tuple[int, int, int, float, bool]:
    """One row for `points`; times in nanoseconds."""
    return series_id, time, start, value, recorded


def points(rows: Iterable[tuple[int, int, int, float, bool]]) -> Points:
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [[]] * 5
    return Points(
        series_id=np.array(columns[0], np.int64),
        time_unix_nano=np.array(columns[1], np.int64),
        start_time_unix_nano=np.array(columns[2], np.int64),
        value=np.array(columns[3], np.float64),
        recorded=np.array(columns[4], np.bool_),
    )


def flood(count: int, *, time: int = NOW, ids: int = 100) -> Points:
    """Many points: `ids` series in turn, each round a millisecond later, with ascending values."""
    index = np.arange(count, dtype=np.int64)
    return Points(
        series_id=index % ids,
        time_unix_nano=time + index // ids * 1_000_000,
        start_time_unix_nano=np.zeros(count, np.int64),
        value=index.astype(np.float64),
        recorded=np.ones(count, np.bool_),
    )


def batch_of(*rows: tuple[int, int, int, float, bool], **parts: Any) -> Batch:
    """A batch of number points and further parts."""
    return Batch(points=points(rows), **parts)


def batch_of_every_kind(time: int, **parts: Any) -> Batch:
    """A point, histogram, summary and exemplar of one time, the definition, and further parts."""
    return batch_of(
        point(1, time),
        new_series=(series(1),),
        histograms=(histogram(1, time),),
        summaries=(summary(1, time),),
        exemplars=(exemplar(1, time),),
        **parts,
    )


def histogram(series_id: int, time: int = NOW, **different: Any) -> HistogramPoint:
    values: dict[str, Any] = {
        "series_id": series_id,
        "time_unix_nano": time,
        "start_time_unix_nano": time - 10 * SECOND,
        "count": 6,
        "sum": 12.5,
        "min": 0.25,
        "max": 7.5,
        "bounds": (0.5, 5.0),
        "bucket_counts": (1, 3, 2),
    }
    return HistogramPoint(**values | different)


def exponential(series_id: int, time: int = NOW, **different: Any) -> HistogramPoint:
    buckets: dict[str, Any] = {
        "scale": 3,
        "zero_count": 2,
        "zero_threshold": 1e-6,
        "positive_offset": -4,
        "positive_counts": (1, 0, 3),
        "negative_offset": 7,
        "negative_counts": (),
    }
    return histogram(
        series_id,
        time,
        bounds=(),
        bucket_counts=(),
        exponential=ExponentialBuckets(**buckets | different),
    )


def summary(series_id: int, time: int = NOW, **different: Any) -> SummaryPoint:
    values: dict[str, Any] = {
        "series_id": series_id,
        "time_unix_nano": time,
        "start_time_unix_nano": time - 60 * SECOND,
        "count": 10,
        "sum": 55.0,
        "quantiles": (0.5, 0.99),
        "values": (5.0, 9.9),
    }
    return SummaryPoint(**values | different)


def cost(entry_id: str = "e-1", amount: str = "1.25", **different: Any) -> CostEntry:
    values: dict[str, Any] = {
        "entry_id": entry_id,
        "time_unix_nano": NOW,
        "resource_id": "vm-1",
        "category": "compute",
        "amount": Decimal(amount),
        "currency": "USD",
    }
    return CostEntry(**values | different)


def exemplar(series_id: int, time: int = NOW, **different: Any) -> Exemplar:
    values: dict[str, Any] = {
        "series_id": series_id,
        "time_unix_nano": time,
        "value": 3.5,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "attributes": '{"user":"anna"}',
    }
    return Exemplar(**values | different)
