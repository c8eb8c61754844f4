"""One official data point -> one row, or the reason why not: the rules of the data model.

Shared by both decoders, so that they cannot disagree about what is valid. Rules are those of
opentelemetry-proto's metrics.proto and of the specification's metrics/data-model.md.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import replace
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

from exporter.intern import MetricEntry, SeriesCache
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
from exporter.wire.ages import ANY_TIME, TimeWindow
from exporter.wire.attributes import (
    InvalidAttributesError,
    canonical_json,
    plain,
)
from exporter.wire.bulk import Taken
from exporter.wire.histograms import increase
from exporter.wire.identity import series_id_of
from exporter.wire.result import Decoded, Rejections

__all__ = ["NANOSECONDS_PER_MICROSECOND", "Keys", "Rows", "repeated"]

INT64_MAX: Final = (1 << 63) - 1
NO_RECORDED_VALUE: Final = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_TWICE: Final = "the same series and time twice in one request; the last one is kept"
NANOSECONDS_PER_MICROSECOND: Final = 1_000

# Series ids and times in nanoseconds, as columns of one length.
Keys = tuple[Int64Array, Int64Array]
_Row = TypeVar("_Row", HistogramPoint, SummaryPoint)


class _InvalidPointError(Exception):
    """This point cannot be stored; the message says why."""


class _Numbers:
    """Number points as columns that grow: a hundred bytes a point less than a tuple of each."""

    def __init__(self) -> None:
        self.series_id = array("q")
        self.time_unix_nano = array("q")
        self.start_time_unix_nano = array("q")
        self.value = array("d")
        self.recorded = bytearray()
        self.metric_names: list[str] = []

    def __len__(self) -> int:
        return len(self.series_id)

    def add(
        self, metric_name: str, series_id: int, point: NumberDataPoint, value: tuple[float, bool]
    ) -> None:
        self.series_id.append(series_id)
        self.time_unix_nano.append(point.time_unix_nano)
        self.start_time_unix_nano.append(point.start_time_unix_nano)
        self.value.append(value[0])
        self.recorded.append(value[1])
        self.metric_names.append(metric_name)

    def points(self) -> Points:
        if not self.series_id:
            return NO_POINTS
        # Copies, because an array whose memory is shared can no longer grow.
        return Points(
            series_id=np.array(self.series_id, np.int64),
            time_unix_nano=np.array(self.time_unix_nano, np.int64),
            start_time_unix_nano=np.array(self.start_time_unix_nano, np.int64),
            value=np.array(self.value, np.float64),
            recorded=np.array(self.recorded, np.bool_),
        )


class Rows:
    """Takes data points one by one and gives them back as a batch.

    Args:
        cache: the series, which learns those that are new.
        window: the times that points and exemplars may have.
    """

    def __init__(self, cache: SeriesCache, window: TimeWindow = ANY_TIME) -> None:
        self._cache = cache
        self._window = window
        self._rejected: dict[tuple[str, str], int] = {}
        self._numbers = _Numbers()
        self._histograms: list[tuple[HistogramPoint, str]] = []
        self._summaries: list[tuple[SummaryPoint, str]] = []
        # Exemplars by the kind and index of their point, for they leave with it.
        self._exemplars: list[tuple[str, int, Exemplar]] = []

    def add(self, metric: MetricEntry, point: Any) -> int | None:
        """Take one official data point of any kind, or count why it was rejected.

        Returns:
            The id of its series, None where it was rejected.
        """
        try:
            if metric.refusal:
                raise _InvalidPointError(metric.refusal)
            _check_times(point, self._window)
            return self._take(metric, point)
        except (_InvalidPointError, InvalidAttributesError) as exc:
            key = (metric.key.name, str(exc))
            self._rejected[key] = self._rejected.get(key, 0) + 1
            return None

    @property
    def untouched(self) -> bool:
        """Whether no point was given to `add`."""
        return not (self._rejected or self._numbers or self._histograms or self._summaries)

    def number_keys(self) -> Keys:
        """Series ids and times of the number points taken so far."""
        numbers = self._numbers
        return np.array(numbers.series_id, np.int64), np.array(numbers.time_unix_nano, np.int64)

    def _take(self, metric: MetricEntry, point: Any) -> int:
        # The series is asked for last: a point that is rejected makes no series.
        name = metric.key.name
        if isinstance(point, NumberDataPoint):
            value = _number(point)
            series_id = series_id_of(self._cache, metric, point.attributes)
            self._numbers.add(name, series_id, point, value)
            self._take_exemplars("number", len(self._numbers), series_id, point)
        elif isinstance(point, SummaryDataPoint):
            summary = _summary(point)
            series_id = series_id_of(self._cache, metric, point.attributes)
            self._summaries.append((replace(summary, series_id=series_id), name))
        else:
            explicit = isinstance(point, HistogramDataPoint)
            histogram = _explicit_histogram(point) if explicit else _exponential_histogram(point)
            series_id = series_id_of(self._cache, metric, point.attributes)
            self._histograms.append((replace(histogram, series_id=series_id), name))
            self._take_exemplars("histogram", len(self._histograms), series_id, point)
        return series_id

    def _take_exemplars(self, kind: str, owner: int, series_id: int, point: Any) -> None:
        for exemplar in point.exemplars:
            row = _exemplar(series_id, point.time_unix_nano, exemplar, self._window)
            if row is not None:
                self._exemplars.append((kind, owner - 1, row))

    def histogram_keys(self) -> Keys:
        """Likewise of the histograms of both kinds."""
        return _keys_of(self._histograms)

    def finish(self, new_series: Sequence[Series], taken: Taken | None = None) -> Decoded:
        """Everything taken, as a batch, with what was decoded elsewhere."""
        taken = taken or Taken()
        numbers = self._numbers.points()
        keys = (numbers.series_id, numbers.time_unix_nano)
        gone_numbers = self._reject_repeated(keys, self._numbers.metric_names)
        if gone_numbers:
            numbers = numbers.take(np.delete(np.arange(len(numbers)), list(gone_numbers)))
        histograms, gone_histograms = self._last_of_each(self._histograms)
        summaries, _ = self._last_of_each(self._summaries)
        gone = {"number": gone_numbers, "histogram": gone_histograms}
        exemplars = [row for kind, at, row in self._exemplars if at not in gone[kind]]
        batch = Batch(
            new_series=tuple(new_series),
            points=Points.concatenate([*taken.points, numbers]),
            histograms=concatenate([*taken.histograms, tuple(histograms)]),
            summaries=tuple(summaries),
            exemplars=concatenate([*taken.exemplars, tuple(exemplars)]),
        )
        return Decoded(batch, Rejections(self._rejected))

    def _last_of_each(self, rows: Sequence[tuple[_Row, str]]) -> tuple[list[_Row], set[int]]:
        if not rows:
            return [], set()
        gone = self._reject_repeated(_keys_of(rows), [name for _, name in rows])
        return [row for at, (row, _) in enumerate(rows) if at not in gone], gone

    def _reject_repeated(self, keys: Keys, metric_names: Sequence[str]) -> set[int]:
        gone = repeated(*keys).tolist()
        for at in gone:
            key = (metric_names[at], _TWICE)
            self._rejected[key] = self._rejected.get(key, 0) + 1
        return set(gone)


def _keys_of(rows: Sequence[tuple[HistogramPoint | SummaryPoint, str]]) -> Keys:
    ids = np.array([row.series_id for row, _ in rows], np.int64)
    return ids, np.array([row.time_unix_nano for row, _ in rows], np.int64)


def repeated(series_id: Int64Array, time_unix_nano: Int64Array) -> npt.NDArray[np.intp]:
    """Where a point stands whose series has another one later on, within the same microsecond.

    Microseconds, because that is what the databases keep.
    """
    if len(series_id) < 2:
        return np.empty(0, np.intp)
    microsecond = time_unix_nano // NANOSECONDS_PER_MICROSECOND
    order = np.lexsort((microsecond, series_id))  # stable: equal keys stay as they came
    earlier, later = order[:-1], order[1:]
    again = series_id[earlier] == series_id[later]
    again &= microsecond[earlier] == microsecond[later]
    return np.sort(earlier[again])


def _check_times(point: Any, window: TimeWindow) -> None:
    if point.time_unix_nano == 0:
        raise _InvalidPointError("time_unix_nano is 0")
    for name in ("time_unix_nano", "start_time_unix_nano"):
        if getattr(point, name) > INT64_MAX:
            raise _InvalidPointError(f"{name} is later than the year 2262")
    refusal = window.refusal(point.time_unix_nano)
    if refusal is not None:
        raise _InvalidPointError(refusal)


def _number(point: NumberDataPoint) -> tuple[float, bool]:
    recorded = not point.flags & NO_RECORDED_VALUE
    kind = point.WhichOneof("value")
    if recorded and kind is None:
        raise _InvalidPointError("no value is set and no flag says that none was recorded")
    return (float(getattr(point, kind)) if recorded and kind else math.nan), recorded


def _explicit_histogram(point: HistogramDataPoint) -> HistogramPoint:
    if point.flags & NO_RECORDED_VALUE:
        return _histogram(point)
    bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    if (bounds or counts) and len(counts) != len(bounds) + 1:
        raise _InvalidPointError(
            f"{len(counts)} bucket_counts do not fit {len(bounds)} explicit_bounds"
        )
    if not increase(bounds):
        raise _InvalidPointError("explicit_bounds do not increase")
    if counts:
        _check_sum(point.count, sum(counts))
    return replace(_histogram(point), bounds=bounds, bucket_counts=counts)


def _exponential_histogram(point: ExponentialHistogramDataPoint) -> HistogramPoint:
    if point.flags & NO_RECORDED_VALUE:
        nothing = ExponentialBuckets(0, 0, 0.0, 0, (), 0, ())
        return replace(_histogram(point), exponential=nothing)
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
    _check_sum(point.count, point.zero_count + in_buckets)
    return replace(_histogram(point), exponential=buckets)


def _histogram(point: Any) -> HistogramPoint:
    # What both kinds have; nothing but the times where no value was recorded.
    recorded = not point.flags & NO_RECORDED_VALUE

    def optional(name: str) -> float | None:
        return getattr(point, name) if recorded and point.HasField(name) else None

    return HistogramPoint(
        series_id=0,
        time_unix_nano=point.time_unix_nano,
        start_time_unix_nano=point.start_time_unix_nano,
        count=_int64("count", point.count) if recorded else None,
        sum=optional("sum"),
        min=optional("min"),
        max=optional("max"),
    )


def _check_sum(count: int, in_buckets: int) -> None:
    if count != in_buckets:
        raise _InvalidPointError(f"count is {count} but the buckets hold {in_buckets}")


def _int64(name: str, value: int) -> int:
    if value > INT64_MAX:
        raise _InvalidPointError(f"{name} {value} does not fit a signed 64-bit integer")
    return value


def _summary(point: SummaryDataPoint) -> SummaryPoint:
    recorded = not point.flags & NO_RECORDED_VALUE
    quantiles = point.quantile_values if recorded else ()
    for item in quantiles:
        if not 0.0 <= item.quantile <= 1.0:
            raise _InvalidPointError(f"quantile {item.quantile} is not within 0 and 1")
    return SummaryPoint(
        series_id=0,
        time_unix_nano=point.time_unix_nano,
        start_time_unix_nano=point.start_time_unix_nano,
        count=_int64("count", point.count) if recorded else None,
        sum=point.sum if recorded else None,
        quantiles=tuple(item.quantile for item in quantiles),
        values=tuple(item.value for item in quantiles),
    )


def _exemplar(
    series_id: int, point_time_unix_nano: int, exemplar: Any, window: TimeWindow
) -> Exemplar | None:
    # An exemplar illustrates a point: one that cannot be stored is left out, its point stays.
    kind = exemplar.WhichOneof("value")
    time = exemplar.time_unix_nano or point_time_unix_nano
    if kind is None or not window.holds(time):
        return None
    try:
        attributes = canonical_json(plain(exemplar.filtered_attributes))
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
