"""The rules of the data model for one official data point: point -> row, or a rejection reason.

Both decoders use it, so that they accept and reject the same points. The rules are those of
opentelemetry-proto's metrics.proto and of the specification's metrics/data-model.md.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    DataPointFlags,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)

from exporter.json_text import canonical_json
from exporter.model import (
    NO_POINTS,
    Batch,
    Exemplar,
    ExponentialBuckets,
    HistogramPoint,
    Int64Array,
    Points,
    Series,
    SummaryPoint,
)
from exporter.model.lazy_sequence import concatenate
from exporter.series_cache import MetricEntry, SeriesCache
from exporter.time_units import NANOSECONDS_PER_MICROSECOND
from exporter.wire.attributes import InvalidAttributesError, attributes_to_dict
from exporter.wire.decode_result import Decoded, Rejections
from exporter.wire.series_lookup import series_id_of
from exporter.wire.time_window import ANY_TIME, INT64_MAX, TimeWindow

NO_RECORDED_VALUE: Final = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_DUPLICATE: Final = (
    "the same series, time and start occur twice in one request; the point with the larger value "
    "is kept"
)

# Series ids and times in nanoseconds, two columns of one length.
PointKeys = tuple[Int64Array, Int64Array, Int64Array]  # series ids, times and start times
_Row = TypeVar("_Row", HistogramPoint, SummaryPoint)


class _InvalidPointError(Exception):
    """A point that cannot be stored; the message says why."""


class _NumberColumns:
    """Number points as growing columns: 100 bytes less for each point than a tuple."""

    def __init__(self) -> None:
        self.series_id = array("q")
        self.time_unix_nano = array("q")
        self.start_time_unix_nano = array("q")
        self.value = array("d")
        self.recorded = bytearray()
        self.metric_names: list[str] = []

    def __len__(self) -> int:
        return len(self.series_id)

    def append(
        self, metric_name: str, series_id: int, point: NumberDataPoint, value: float | None
    ) -> None:
        self.series_id.append(series_id)
        self.time_unix_nano.append(point.time_unix_nano)
        self.start_time_unix_nano.append(point.start_time_unix_nano)
        self.value.append(math.nan if value is None else value)
        self.recorded.append(value is not None)
        self.metric_names.append(metric_name)

    def points(self) -> Points:
        if not self.series_id:
            return NO_POINTS
        # Copies, because an array cannot grow while numpy shares its memory.
        return Points(
            series_id=np.array(self.series_id, np.int64),
            time_unix_nano=np.array(self.time_unix_nano, np.int64),
            start_time_unix_nano=np.array(self.start_time_unix_nano, np.int64),
            value=np.array(self.value, np.float64),
            recorded=np.array(self.recorded, np.bool_),
        )


class BatchBuilder:
    """Collects official data points one by one and builds a batch of them.

    Args:
        cache: the series cache; new series are added to it.
        window: the times that points and exemplars may have.
    """

    def __init__(self, cache: SeriesCache, window: TimeWindow = ANY_TIME) -> None:
        self._cache = cache
        self._window = window
        self._rejected: dict[tuple[str, str], int] = {}
        self._numbers = _NumberColumns()
        self._histograms: list[tuple[HistogramPoint, str]] = []
        self._summaries: list[tuple[SummaryPoint, str]] = []
        # Each exemplar with the kind and index of its point: it is dropped if its point is.
        self._exemplars: list[tuple[str, int, Exemplar]] = []

    def add_point(self, metric: MetricEntry, point: Any) -> int | None:
        """Add one official data point of any type, or count why it is rejected.

        Returns:
            The series id of the point, None if the point is rejected.
        """
        try:
            if metric.rejection_reason:
                raise _InvalidPointError(metric.rejection_reason)
            _check_times(point, self._window)
            return self._add_valid(metric, point)
        except (_InvalidPointError, InvalidAttributesError) as exc:
            self._count_rejection(metric.key.name, str(exc))
            return None

    @property
    def is_empty(self) -> bool:
        """Whether no point was added and none rejected."""
        return not (self._rejected or self._numbers or self._histograms or self._summaries)

    def number_keys(self) -> PointKeys:
        """The keys of the number points added so far."""
        return keys_of(self._numbers.points())

    def histogram_keys(self) -> PointKeys:
        """The keys of the histograms of both types added so far."""
        return _keys_of_rows(self._histograms)

    def _add_valid(self, metric: MetricEntry, point: Any) -> int:
        # The series is looked up last, so that a rejected point creates no series.
        name = metric.key.name
        if isinstance(point, NumberDataPoint):
            value = _number_value(point)
            series_id = series_id_of(self._cache, metric, point.attributes)
            self._numbers.append(name, series_id, point, value)
            self._add_exemplars("number", len(self._numbers) - 1, series_id, point)
        elif isinstance(point, SummaryDataPoint):
            summary = _summary(point)
            series_id = series_id_of(self._cache, metric, point.attributes)
            self._summaries.append((replace(summary, series_id=series_id), name))
        else:
            explicit = isinstance(point, HistogramDataPoint)
            histogram = _explicit_histogram(point) if explicit else _exponential_histogram(point)
            series_id = series_id_of(self._cache, metric, point.attributes)
            self._histograms.append((replace(histogram, series_id=series_id), name))
            self._add_exemplars("histogram", len(self._histograms) - 1, series_id, point)
        return series_id

    def _add_exemplars(self, kind: str, index: int, series_id: int, point: Any) -> None:
        for exemplar in point.exemplars:
            row = _exemplar(series_id, point.time_unix_nano, exemplar, self._window)
            if row is not None:
                self._exemplars.append((kind, index, row))

    def _count_rejection(self, metric_name: str, reason: str) -> None:
        key = (metric_name, reason)
        self._rejected[key] = self._rejected.get(key, 0) + 1

    def build(
        self,
        new_series: Sequence[Series],
        *,
        points: Sequence[Points] = (),
        histograms: Sequence[Sequence[HistogramPoint]] = (),
        exemplars: Sequence[Sequence[Exemplar]] = (),
    ) -> Decoded:
        """The batch of all points added.

        Of points with one series, time and start the one with the largest value or count is kept,
        which depends on no order.

        Args:
            new_series: the definitions of new series.
            points: number points decoded elsewhere, which come first in the batch.
            histograms: histograms decoded elsewhere.
            exemplars: exemplars decoded elsewhere.
        """
        numbers = self._numbers.points()
        is_number = numbers.recorded & ~np.isnan(numbers.value)
        ranks = (np.where(is_number, numbers.value, 0.0), is_number, numbers.recorded)
        duplicate_numbers = self._reject_duplicates(
            lesser_duplicates(keys_of(numbers), *ranks), self._numbers.metric_names
        )
        if duplicate_numbers:
            numbers = numbers.take(np.delete(np.arange(len(numbers)), list(duplicate_numbers)))
        own_histograms, duplicate_histograms = self._without_duplicates(self._histograms)
        summaries, _ = self._without_duplicates(self._summaries)
        dropped = {"number": duplicate_numbers, "histogram": duplicate_histograms}
        own_exemplars = [row for kind, at, row in self._exemplars if at not in dropped[kind]]
        batch = Batch(
            new_series=tuple(new_series),
            points=Points.concatenate([*points, numbers]),
            histograms=concatenate([*histograms, tuple(own_histograms)]),
            summaries=tuple(summaries),
            exemplars=concatenate([*exemplars, tuple(own_exemplars)]),
        )
        return Decoded(batch, Rejections(self._rejected))

    def _without_duplicates(self, rows: Sequence[tuple[_Row, str]]) -> tuple[list[_Row], set[int]]:
        if not rows:
            return [], set()
        # A point without a count has no value; a sum that was not sent is below every other.
        counts = np.array([-1 if row.count is None else row.count for row, _ in rows], np.int64)
        sums = np.array([-math.inf if row.sum is None else row.sum for row, _ in rows], np.float64)
        duplicates = self._reject_duplicates(
            lesser_duplicates(_keys_of_rows(rows), sums, counts), [name for _, name in rows]
        )
        return [row for at, (row, _) in enumerate(rows) if at not in duplicates], duplicates

    def _reject_duplicates(
        self, indexes: npt.NDArray[np.intp], metric_names: Sequence[str]
    ) -> set[int]:
        duplicates = indexes.tolist()
        for index in duplicates:
            self._count_rejection(metric_names[index], _DUPLICATE)
        return set(duplicates)


def keys_of(points: Points) -> PointKeys:
    """The keys of number points."""
    return points.series_id, points.time_unix_nano, points.start_time_unix_nano


def _keys_of_rows(rows: Sequence[tuple[HistogramPoint | SummaryPoint, str]]) -> PointKeys:
    keys = [(row.series_id, row.time_unix_nano, row.start_time_unix_nano) for row, _ in rows]
    series_id, time_unix_nano, start_unix_nano = np.array(keys, np.int64).reshape(-1, 3).T
    return series_id, time_unix_nano, start_unix_nano


def lesser_duplicates(keys: PointKeys, *ranks: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Indexes of all points of one key but the one with the highest rank, or the last of equals.

    Times are compared in microseconds, because the databases store them in microseconds.

    Args:
        keys: of the points.
        ranks: numbers of each point, the most significant last.
    """
    series_id, *times = keys
    if len(series_id) < 2:
        return np.empty(0, np.intp)
    columns = (series_id, *(time // NANOSECONDS_PER_MICROSECOND for time in times))
    order = np.lexsort((*ranks, *reversed(columns)))  # stable: equal keys keep their order
    lesser, greater = order[:-1], order[1:]
    is_duplicate = np.ones(len(lesser), np.bool_)
    for column in columns:
        is_duplicate &= column[lesser] == column[greater]
    return np.sort(lesser[is_duplicate])


def bounds_increase(bounds: Sequence[float]) -> bool:
    """Whether bucket bounds are strictly increasing and not NaN, as the data model requires."""
    return not any(map(math.isnan, bounds)) and all(a < b for a, b in pairwise(bounds))


def _check_times(point: Any, window: TimeWindow) -> None:
    if point.time_unix_nano == 0:
        raise _InvalidPointError("time_unix_nano is 0")
    for name in ("time_unix_nano", "start_time_unix_nano"):
        if getattr(point, name) > INT64_MAX:
            raise _InvalidPointError(f"{name} is later than the year 2262")
    reason = window.rejection_reason(point.time_unix_nano)
    if reason is not None:
        raise _InvalidPointError(reason)


def _is_recorded(point: Any) -> bool:
    return not point.flags & NO_RECORDED_VALUE


def _number_value(point: NumberDataPoint) -> float | None:
    """The value as a double, None if the point says that no value was recorded."""
    if not _is_recorded(point):
        return None
    kind = point.WhichOneof("value")
    if kind is None:
        raise _InvalidPointError("the point has no value and no flag that none was recorded")
    return float(getattr(point, kind))


def _explicit_histogram(point: HistogramDataPoint) -> HistogramPoint:
    if not _is_recorded(point):
        return _histogram(point)
    bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    if (bounds or counts) and len(counts) != len(bounds) + 1:
        raise _InvalidPointError(
            f"{len(counts)} bucket_counts do not match {len(bounds)} explicit_bounds"
        )
    if not bounds_increase(bounds):
        raise _InvalidPointError("explicit_bounds do not increase")
    if counts:
        _check_count(point.count, sum(counts))
    return replace(_histogram(point), bounds=bounds, bucket_counts=counts)


def _exponential_histogram(point: ExponentialHistogramDataPoint) -> HistogramPoint:
    if not _is_recorded(point):
        empty = ExponentialBuckets(0, 0, 0.0, 0, (), 0, ())
        return replace(_histogram(point), exponential=empty)
    buckets = ExponentialBuckets(
        scale=point.scale,
        zero_count=point.zero_count,
        zero_threshold=point.zero_threshold,
        positive_offset=point.positive.offset,
        positive_counts=tuple(point.positive.bucket_counts),
        negative_offset=point.negative.offset,
        negative_counts=tuple(point.negative.bucket_counts),
    )
    in_buckets = sum(buckets.positive_counts) + sum(buckets.negative_counts)
    _check_count(point.count, point.zero_count + in_buckets)
    return replace(_histogram(point), exponential=buckets)


def _histogram(point: Any) -> HistogramPoint:
    """The fields that both types have; only the times if no value was recorded."""
    recorded = _is_recorded(point)

    def optional(name: str) -> float | None:
        return getattr(point, name) if recorded and point.HasField(name) else None

    return HistogramPoint(
        series_id=0,
        time_unix_nano=point.time_unix_nano,
        start_time_unix_nano=point.start_time_unix_nano,
        count=_int64_count(point) if recorded else None,
        sum=optional("sum"),
        min=optional("min"),
        max=optional("max"),
    )


def _check_count(count: int, in_buckets: int) -> None:
    if count != in_buckets:
        raise _InvalidPointError(f"count is {count} but the buckets contain {in_buckets}")


def _int64_count(point: Any) -> int:
    count: int = point.count
    if count > INT64_MAX:
        raise _InvalidPointError(f"count {count} does not fit into a signed 64-bit integer")
    return count


def _summary(point: SummaryDataPoint) -> SummaryPoint:
    recorded = _is_recorded(point)
    quantiles = point.quantile_values if recorded else ()
    for item in quantiles:
        if not 0.0 <= item.quantile <= 1.0:
            raise _InvalidPointError(f"quantile {item.quantile} is not between 0 and 1")
    return SummaryPoint(
        series_id=0,
        time_unix_nano=point.time_unix_nano,
        start_time_unix_nano=point.start_time_unix_nano,
        count=_int64_count(point) if recorded else None,
        sum=point.sum if recorded else None,
        quantiles=tuple(item.quantile for item in quantiles),
        values=tuple(item.value for item in quantiles),
    )


def _exemplar(
    series_id: int, point_time_unix_nano: int, exemplar: Any, window: TimeWindow
) -> Exemplar | None:
    """The exemplar as a row, None if it cannot be stored. It never rejects its point."""
    kind = exemplar.WhichOneof("value")
    time = exemplar.time_unix_nano or point_time_unix_nano
    if kind is None or not window.contains(time):
        return None
    try:
        attributes = canonical_json(attributes_to_dict(exemplar.filtered_attributes))
    except InvalidAttributesError:
        return None
    return Exemplar(
        series_id=series_id,
        time_unix_nano=time,
        value=float(getattr(exemplar, kind)),
        trace_id=exemplar.trace_id.hex(),
        span_id=exemplar.span_id.hex(),
        attributes=attributes,
    )
