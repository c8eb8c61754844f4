"""How a row of each table becomes a value of the model, whatever database it was read from.

Times come as integer microseconds, JSON as text; arrays as a driver gives them, a list or JSON
text, in which NaN and infinities are strings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from exporter.json_text import canonical_json
from exporter.model import (
    Batch,
    CostEntry,
    Exemplar,
    ExponentialBuckets,
    HistogramPoint,
    Points,
    Series,
    SeriesPoint,
    SummaryPoint,
)
from exporter.query.costs import parse_amount

__all__ = ["SERIES_COLUMNS", "TABLES", "Column", "Row", "Table", "series_of"]

Row = Sequence[Any]
# What a column must be turned into by the database: "time" into microseconds, "start" likewise and
# NULL into 0, "json" into text, "amount" into what `parse_amount` reads.
Kind = Literal["plain", "time", "start", "json", "amount"]
_NANOSECONDS_PER_MICROSECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column, and what the database makes of it."""

    name: str
    kind: Kind = "plain"


@dataclass(frozen=True, slots=True)
class Table:
    """One fact table.

    Attributes:
        name: as in docs/schema.md.
        columns: after timestamp and series_id, which every row begins with. A cost entry that is
            not of a series has NULL there.
        batch: rows to a batch without definitions.
        number: what is added up to compare two stores; NULL and NaN are left out.
        more_key: what tells rows of one series and time apart.
    """

    name: str
    columns: tuple[Column, ...]
    batch: Callable[[Sequence[Row]], Batch]
    number: str
    more_key: tuple[str, ...] = ()


# As it is read. Rows go into an array of this at once, because that took 0.22 us each where a list
# for each column took 0.36.
_POINT: Final = np.dtype(
    [
        ("time", np.int64),
        ("series_id", np.int64),
        ("value", np.float64),
        ("start", np.int64),
    ]
)


def _points(rows: Sequence[Row]) -> Batch:
    found = np.array(rows, _POINT)
    value = np.ascontiguousarray(found["value"])
    # Both NULL and SQLite's text NaN have become a NaN; they are rare enough to look at each.
    recorded = ~np.isnan(value)
    for index in np.flatnonzero(~recorded).tolist():
        recorded[index] = rows[index][2] is not None
    points = Points(
        series_id=np.ascontiguousarray(found["series_id"]),
        time_unix_nano=found["time"] * _NANOSECONDS_PER_MICROSECOND,
        start_time_unix_nano=found["start"] * _NANOSECONDS_PER_MICROSECOND,
        value=value,
        recorded=recorded,
    )
    return Batch(points=points)


def _histograms(rows: Sequence[Row]) -> Batch:
    return Batch(histograms=tuple(map(_histogram, rows)))


def _histogram(row: Row) -> HistogramPoint:
    time, series_id, start, count, total, least, most, bounds, bucket_counts, *others = row
    scale, zero_count, zero_threshold, positive_offset, positive_counts, *negative = others
    negative_offset, negative_counts = negative
    exponential = None
    if scale is not None:
        exponential = ExponentialBuckets(
            scale=scale,
            zero_count=zero_count or 0,
            zero_threshold=_number(zero_threshold) or 0.0,
            positive_offset=positive_offset or 0,
            positive_counts=tuple(_items(positive_counts)),
            negative_offset=negative_offset or 0,
            negative_counts=tuple(_items(negative_counts)),
        )
    return HistogramPoint(
        series_id=series_id,
        time_unix_nano=time * _NANOSECONDS_PER_MICROSECOND,
        start_time_unix_nano=start * _NANOSECONDS_PER_MICROSECOND,
        count=count,
        sum=_number(total),
        min=_number(least),
        max=_number(most),
        bounds=tuple(map(float, _items(bounds))),
        bucket_counts=tuple(_items(bucket_counts)),
        exponential=exponential,
    )


def _summaries(rows: Sequence[Row]) -> Batch:
    return Batch(
        summaries=tuple(
            SummaryPoint(
                series_id=series_id,
                time_unix_nano=time * _NANOSECONDS_PER_MICROSECOND,
                start_time_unix_nano=start * _NANOSECONDS_PER_MICROSECOND,
                count=count,
                sum=_number(total),
                quantiles=tuple(map(float, _items(quantiles))),
                values=tuple(map(float, _items(values))),
            )
            for time, series_id, start, count, total, quantiles, values in rows
        )
    )


def _exemplars(rows: Sequence[Row]) -> Batch:
    return Batch(
        exemplars=tuple(
            Exemplar(
                series_id=series_id,
                time_unix_nano=time * _NANOSECONDS_PER_MICROSECOND,
                value=float(value),
                trace_id=trace_id,
                span_id=span_id,
                attributes=_canonical(attributes),
            )
            for time, series_id, value, trace_id, span_id, attributes in rows
        )
    )


def _costs(rows: Sequence[Row]) -> Batch:
    return Batch(costs=tuple(map(_cost, rows)))


def _cost(row: Row) -> CostEntry:
    time, series_id, start, value, *values = row
    named = {column.name: value for column, value in zip(_ENTRY_COLUMNS, values, strict=True)}
    if series_id is not None:
        start_unix_nano = start * _NANOSECONDS_PER_MICROSECOND
        named["derived_from"] = SeriesPoint(series_id, start_unix_nano, float(value))
    named["amount"] = parse_amount(named["amount"])
    named["tags"] = _canonical(named["tags"])
    return CostEntry(time_unix_nano=time * _NANOSECONDS_PER_MICROSECOND, **named)


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)  # SQLite keeps a NaN as text


def _items(array: Any) -> list[Any]:
    if array is None:
        return []
    return list(json.loads(array) if isinstance(array, str) else array)


def _canonical(text: str) -> str:
    # jsonb gives its members back in an order of its own.
    return canonical_json(json.loads(text))


_ENTRY_COLUMNS: Final = (
    *map(Column, ("entry_id", "resource_id", "category")),
    Column("amount", "amount"),
    *map(Column, ("currency", "region", "cluster_id", "node_id", "service_name")),
    Column("tags", "json"),
    *map(Column, ("description", "billing_period", "source")),
)

TABLES: Final = (
    Table(
        "system_metrics",
        (Column("value"), Column("start_timestamp", "start")),
        _points,
        "value",
    ),
    Table(
        "metric_histograms",
        (
            Column("start_timestamp", "start"),
            *map(
                Column,
                (
                    *("count", "sum", "min", "max", "bounds", "bucket_counts", "scale"),
                    *("zero_count", "zero_threshold", "positive_offset", "positive_counts"),
                    *("negative_offset", "negative_counts"),
                ),
            ),
        ),
        _histograms,
        "count",
    ),
    Table(
        "metric_summaries",
        (
            Column("start_timestamp", "start"),
            *map(Column, ("count", "sum", "quantiles", "quantile_values")),
        ),
        _summaries,
        "count",
    ),
    Table(
        "metric_exemplars",
        (Column("value"), Column("trace_id"), Column("span_id"), Column("attributes", "json")),
        _exemplars,
        "value",
        ("trace_id", "span_id"),
    ),
    Table(
        "cost_entries",
        (Column("start_timestamp", "start"), Column("value"), *_ENTRY_COLUMNS),
        _costs,
        "amount",
        ("entry_id",),
    ),
)
"""The fact tables, in the order in which they are copied."""

SERIES_COLUMNS: Final = (
    *map(Column, ("series_id", "metric_name", "metric_type", "unit", "description")),
    *map(Column, ("temporality", "is_monotonic", "cluster_id", "node_id", "service_name")),
    Column("resource", "json"),
    Column("resource_schema_url"),
    Column("scope", "json"),
    Column("scope_schema_url"),
    Column("attributes", "json"),
)
"""The columns of metric_series that `series_of` takes, in its order."""


def series_of(row: Row) -> Series:
    """One row of SERIES_COLUMNS as a definition."""
    named = {column.name: value for column, value in zip(SERIES_COLUMNS, row, strict=True)}
    for name in ("resource", "scope", "attributes"):
        named[name] = _canonical(named[name])
    if named["is_monotonic"] is not None:
        named["is_monotonic"] = bool(named["is_monotonic"])
    return Series(**named)
