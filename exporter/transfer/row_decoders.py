"""Rows of each table as values of the model, read from any database.

Times are integer microseconds, JSON is text. An array is a list or JSON text, as the driver returns
it; in JSON text NaN and infinities are strings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from exporter import tables
from exporter.backends.cost_rows import cost_point_of
from exporter.costs.stored_basis import parse_basis
from exporter.json_text import canonical_json, read_float
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
from exporter.time_units import NANOSECONDS_PER_MICROSECOND

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """How the rows of one table are copied and compared.

    Attributes:
        table: its description.
        to_batch: rows with the values of `columns` to a batch without series definitions.
        sum_column: the column whose sums are compared; NULL and NaN are left out.
        extra_key: columns that distinguish rows with one series and time.
        compares_totals: whether equal totals of a day prove that its rows are equal, because rows
            that differ in nothing but the extra key are rare.
    """

    table: tables.Table
    to_batch: Callable[[Sequence[Row]], Batch]
    sum_column: str
    extra_key: tuple[str, ...] = ()
    compares_totals: bool = False

    @property
    def name(self) -> str:
        """The name of the table."""
        return self.table.name

    @property
    def columns(self) -> tuple[tables.Column, ...]:
        """Time and series first, which every table has; then the others in their order."""
        first = ("timestamp", "series_id")
        return (
            *(self.table.column(name) for name in first),
            *(column for column in self.table.columns if column.name not in first),
        )


# All columns of a page go into one array of this type: 0.22 us a row, where a list for each column
# took 0.36 us.
_POINT_DTYPE: Final = np.dtype(
    [
        ("time", np.int64),
        ("series_id", np.int64),
        ("value", np.float64),
        ("start", np.int64),
    ]
)


def _points(rows: Sequence[Row]) -> Batch:
    array = np.array(rows, _POINT_DTYPE)
    value = np.ascontiguousarray(array["value"])
    # NULL and SQLite's text "NaN" have both become NaN. They are rare, so each row is looked at.
    recorded = ~np.isnan(value)
    for index in np.flatnonzero(~recorded).tolist():
        recorded[index] = rows[index][2] is not None
    points = Points(
        series_id=np.ascontiguousarray(array["series_id"]),
        time_unix_nano=array["time"] * NANOSECONDS_PER_MICROSECOND,
        start_time_unix_nano=array["start"] * NANOSECONDS_PER_MICROSECOND,
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
            zero_threshold=read_float(zero_threshold) or 0.0,
            positive_offset=positive_offset or 0,
            positive_counts=tuple(_array(positive_counts)),
            negative_offset=negative_offset or 0,
            negative_counts=tuple(_array(negative_counts)),
        )
    return HistogramPoint(
        series_id=series_id,
        time_unix_nano=time * NANOSECONDS_PER_MICROSECOND,
        start_time_unix_nano=start * NANOSECONDS_PER_MICROSECOND,
        count=count,
        sum=read_float(total),
        min=read_float(least),
        max=read_float(most),
        bounds=tuple(map(float, _array(bounds))),
        bucket_counts=tuple(_array(bucket_counts)),
        exponential=exponential,
    )


def _summaries(rows: Sequence[Row]) -> Batch:
    return Batch(
        summaries=tuple(
            SummaryPoint(
                series_id=series_id,
                time_unix_nano=time * NANOSECONDS_PER_MICROSECOND,
                start_time_unix_nano=start * NANOSECONDS_PER_MICROSECOND,
                count=count,
                sum=read_float(total),
                quantiles=tuple(map(float, _array(quantiles))),
                values=tuple(map(float, _array(values))),
            )
            for time, series_id, start, count, total, quantiles, values in rows
        )
    )


def _exemplars(rows: Sequence[Row]) -> Batch:
    return Batch(
        exemplars=tuple(
            Exemplar(
                series_id=series_id,
                time_unix_nano=time * NANOSECONDS_PER_MICROSECOND,
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
    time, series_id, *fields, period_start, period_end, stream_start, start, value, count, basis = (
        row
    )
    derived_from = None
    if series_id is not None:
        derived_from = SeriesPoint(
            series_id,
            stream_start * NANOSECONDS_PER_MICROSECOND,
            cost_point_of(period_end, start, float(value), count),
            None if basis is None else parse_basis(basis),
        )
    named = dict(zip(_COST_FIELDS, fields, strict=True))
    named["amount"] = parse_amount(named["amount"])
    named["tags"] = _canonical(named["tags"])
    return CostEntry(
        time_unix_nano=time * NANOSECONDS_PER_MICROSECOND,
        period_start_unix_nano=period_start * NANOSECONDS_PER_MICROSECOND,
        period_end_unix_nano=period_end * NANOSECONDS_PER_MICROSECOND,
        derived_from=derived_from,
        **named,
    )


def _array(array: Any) -> list[Any]:
    if array is None:
        return []
    return list(json.loads(array) if isinstance(array, str) else array)


def _canonical(text: str) -> str:
    # PostgreSQL's jsonb returns the members of an object in an order of its own.
    return canonical_json(json.loads(text))


_START: Final = ("start_timestamp",)

COPIED_TABLES: Final = (
    CopiedTable(tables.POINTS, _points, "value", _START, compares_totals=True),
    CopiedTable(tables.HISTOGRAMS, _histograms, "count", _START, compares_totals=True),
    CopiedTable(tables.SUMMARIES, _summaries, "count", _START, compares_totals=True),
    CopiedTable(tables.EXEMPLARS, _exemplars, "value", ("trace_id", "span_id")),
    CopiedTable(tables.COST_ENTRIES, _costs, "amount", ("entry_id",)),
)
"""In the order in which they are copied."""

# All columns from the entry id to the name of the source are fields of an entry of the same name.
_COST_FIELDS: Final = tuple(column.name for column in COPIED_TABLES[-1].columns[2:-7])


def decode_series(row: Row) -> Series:
    """A row with the columns of `exporter.tables.SERIES` as a definition."""
    named = dict(zip(tables.SERIES.names, row, strict=True))
    for name in ("resource", "scope", "attributes"):
        named[name] = _canonical(named[name])
    if named["is_monotonic"] is not None:
        named["is_monotonic"] = bool(named["is_monotonic"])
    return Series(**named)
