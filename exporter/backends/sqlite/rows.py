"""The values of a batch as rows of the SQLite schema. Pure.

Rows travel as one flat list a table, because that is what a statement of many rows binds. Their
first two columns are always the time in microseconds and the id that tells rows of one time apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from exporter.model import (
    Batch,
    Exemplar,
    ExponentialBuckets,
    HistogramPoint,
    Int64Array,
    Points,
    SummaryPoint,
)

__all__ = ["COST_ENTRIES", "FACT_TABLES", "Rows", "Table", "flattened", "rows_of"]

_NANOSECONDS_PER_MICROSECOND: Final = 1_000
_NAN: Final = "NaN"  # SQLite turns a NaN into NULL, which says "no recorded value"


@dataclass(frozen=True, slots=True)
class Table:
    """A table, and its columns in the order in which rows hold them.

    A row with the key of a stored one replaces it, or is left out.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ("timestamp", "series_id")
    replaces: bool = True


_POINTS: Final = Table("system_metrics", ("timestamp", "series_id", "value", "start_timestamp"))
_HISTOGRAMS: Final = Table(
    "metric_histograms",
    (
        "timestamp",
        "series_id",
        "start_timestamp",
        "count",
        "sum",
        "min",
        "max",
        "bounds",
        "bucket_counts",
        "scale",
        "zero_count",
        "zero_threshold",
        "positive_offset",
        "positive_counts",
        "negative_offset",
        "negative_counts",
    ),
)
_SUMMARIES: Final = Table(
    "metric_summaries",
    (
        "timestamp",
        "series_id",
        "start_timestamp",
        "count",
        "sum",
        "quantiles",
        "quantile_values",
    ),
)
_EXEMPLARS: Final = Table(
    "metric_exemplars",
    ("timestamp", "series_id", "value", "trace_id", "span_id", "attributes"),
    key=("timestamp", "series_id", "trace_id", "span_id", "attributes", "value"),
)
COST_ENTRIES: Final = Table(
    "cost_entries",
    (
        "timestamp",
        "entry_id",
        "resource_id",
        "category",
        "amount_units",
        "amount_nanos",
        "currency",
        "region",
        "cluster_id",
        "node_id",
        "service_name",
        "tags",
        "description",
        "billing_period",
        "source",
        "series_id",
        "start_timestamp",
        "value",
    ),
    key=("timestamp", "entry_id"),
    replaces=False,
)

FACT_TABLES: Final = (_POINTS, _HISTOGRAMS, _SUMMARIES, _EXEMPLARS, COST_ENTRIES)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table, their values one after the other."""

    table: Table
    values: list[object]

    def __len__(self) -> int:
        return len(self.values) // len(self.table.columns)

    def row_keys(self) -> Iterator[tuple[int, int | str]]:
        """Time in microseconds and id of each row."""
        width = len(self.table.columns)
        columns = (self.values[0::width], self.values[1::width])
        return zip(*cast("tuple[list[int], list[int | str]]", columns), strict=True)


def rows_of(batch: Batch, refused: Collection[int] = ()) -> tuple[list[Rows], Rows, int]:
    """The rows that the points of a batch make, in the order of their keys.

    Of points with one series and time (in microseconds) only the last is kept.

    Args:
        batch: what is to be stored.
        refused: ids of series whose points are left out.

    Returns:
        Rows of points, histograms and summaries; rows of exemplars; and how many data points
        were left out because their series is refused.
    """
    kept = batch.without(refused)
    data = [
        Rows(_POINTS, _point_values(kept.points)),
        Rows(_HISTOGRAMS, flattened(_last_of_each(map(_histogram_row, kept.histograms)))),
        Rows(_SUMMARIES, flattened(_last_of_each(map(_summary_row, kept.summaries)))),
    ]
    exemplars = Rows(_EXEMPLARS, flattened(map(_exemplar_row, kept.exemplars)))
    return data, exemplars, batch.entries - kept.entries


def _point_values(points: Points) -> list[object]:
    timestamp = points.time_unix_nano // _NANOSECONDS_PER_MICROSECOND
    order = _order_of_last(timestamp, points.series_id)
    timestamp, series_id = timestamp[order], points.series_id[order]
    start_unix_nano = points.start_time_unix_nano[order]
    values: list[object] = [None] * (len(_POINTS.columns) * len(order))
    values[0::4] = timestamp.tolist()
    values[1::4] = series_id.tolist()
    values[2::4] = _value_column(points.value[order], points.recorded[order])
    values[3::4] = _start_column(start_unix_nano)
    return values


def _order_of_last(timestamp: Int64Array, series_id: Int64Array) -> npt.NDArray[np.intp]:
    """Indices that sort by (timestamp, series id), the last one only where a key repeats.

    In the order of its key the table grows at its end, which is what makes it fast.
    """
    order = np.lexsort((series_id, timestamp))  # stable: equal keys stay as they came
    if len(order) == 0:
        return order
    timestamp, series_id = timestamp[order], series_id[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (timestamp[1:] != timestamp[:-1]) | (series_id[1:] != series_id[:-1])
    return order[last]


def _value_column(
    value: npt.NDArray[np.float64], recorded: npt.NDArray[np.bool_]
) -> Sequence[object]:
    column: list[object] = value.tolist()
    for index in np.flatnonzero(~recorded | np.isnan(value)).tolist():
        column[index] = _NAN if recorded[index] else None
    return column


def _start_column(start_unix_nano: Int64Array) -> Sequence[object]:
    if not start_unix_nano.any():  # gauges, the common case
        return [None] * len(start_unix_nano)
    column: list[object] = (start_unix_nano // _NANOSECONDS_PER_MICROSECOND).tolist()
    for index in np.flatnonzero(start_unix_nano == 0).tolist():
        column[index] = None
    return column


def _histogram_row(point: HistogramPoint) -> tuple[object, ...]:
    explicit = point.exponential is None
    return (
        point.time_unix_nano // _NANOSECONDS_PER_MICROSECOND,
        point.series_id,
        _start(point.start_time_unix_nano),
        point.count,
        _number(point.sum),
        _number(point.min),
        _number(point.max),
        _array(point.bounds) if explicit else None,
        _array(point.bucket_counts) if explicit else None,
        *_exponential_columns(point.exponential),
    )


def _exponential_columns(buckets: ExponentialBuckets | None) -> tuple[object, ...]:
    if buckets is None:
        return (None,) * 7
    return (
        buckets.scale,
        buckets.zero_count,
        _number(buckets.zero_threshold),
        buckets.positive_offset,
        _array(buckets.positive_counts),
        buckets.negative_offset,
        _array(buckets.negative_counts),
    )


def _summary_row(point: SummaryPoint) -> tuple[object, ...]:
    return (
        point.time_unix_nano // _NANOSECONDS_PER_MICROSECOND,
        point.series_id,
        _start(point.start_time_unix_nano),
        point.count,
        _number(point.sum),
        _array(point.quantiles),
        _array(point.values),
    )


def _exemplar_row(exemplar: Exemplar) -> tuple[object, ...]:
    return (
        exemplar.time_unix_nano // _NANOSECONDS_PER_MICROSECOND,
        exemplar.series_id,
        _number(exemplar.value),
        exemplar.trace_id,
        exemplar.span_id,
        exemplar.attributes,
    )


def _start(start_unix_nano: int) -> int | None:
    return start_unix_nano // _NANOSECONDS_PER_MICROSECOND if start_unix_nano else None


def _number(value: float | None) -> float | str | None:
    return _NAN if value is not None and math.isnan(value) else value


_encode_finite: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _array(values: Sequence[float]) -> str:
    """A JSON array; JSON has no NaN and infinities, so they are strings in it."""
    try:
        return _encode_finite(values)
    except ValueError:
        return _encode_finite([value if math.isfinite(value) else _name(value) for value in values])


def _name(value: float) -> str:
    if math.isnan(value):
        return _NAN
    return "Infinity" if value > 0 else "-Infinity"


def _last_of_each(rows: Iterable[tuple[object, ...]]) -> Iterable[tuple[object, ...]]:
    return {row[:2]: row for row in rows}.values()


def flattened(rows: Iterable[tuple[object, ...]]) -> list[object]:
    """The values of all rows in one list."""
    return [value for row in rows for value in row]
