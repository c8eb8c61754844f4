"""The fast decoder: number points are recognised by their bytes instead of parsed.

A message that a template fits (`exporter.wire.recognition`) is read whole. Of any other, a
metric's points are cut into fixed-width fields and attributes by the layout of the first one
(`exporter.wire.layouts`); the attributes' bytes look the series up, and numpy reads the times and
values of all points at once and checks every tag. Points that hold more than that, and all
histograms, are gathered and walked together (`exporter.wire.bulk`). What fits nowhere goes through
`exporter.wire.points` one by one, as do all summaries.

Equal to `decode_reference` by construction: what is stored without parsing has all been seen
before, and a request with anything new in it must first be accepted whole by the official parser.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError as ProtobufDecodeError

from exporter.intern import MetricEntry, ResourceEntry, ScopeEntry, SeriesCache
from exporter.model import NO_POINTS, Batch, Points
from exporter.wire.ages import ANY_TIME, TimeWindow
from exporter.wire.bulk import Bulk, Taken
from exporter.wire.identity import (
    POINT_MESSAGES,
    is_only_attributes,
    metric_entry,
    resource_entry,
    scope_entry,
)
from exporter.wire.layouts import AS_DOUBLE, AS_INT, START, TIME, Layout, layout_of
from exporter.wire.lazy import LazyRequest
from exporter.wire.points import Keys, Rows, repeated
from exporter.wire.recognition import Recognition, learn_from, recognise
from exporter.wire.reference import decode_reference, parse
from exporter.wire.result import Decoded, Rejections
from exporter.wire.roster import enrol
from exporter.wire.shape import check_shape
from exporter.wire.templates import Recognised

__all__ = ["decode"]

_NUMBERS: Final = frozenset({"gauge", "sum"})


def decode(data: bytes, series: SeriesCache, window: TimeWindow = ANY_TIME) -> Decoded:
    """Decode one serialized ExportMetricsServiceRequest.

    Args:
        data: the request as it came, after decompression.
        series: the cache of series, which learns those that are new.
        window: the times that points may have; those outside are rejected.

    Returns:
        The points of every type, the definitions of series not handed out before, and what was
        rejected and why. The order of the points is not that of the request.

    Raises:
        DecodeError: the bytes are not such a request; the cache is as it was. Anything else
            raised is a bug.
    """
    check_shape(data)
    recognition = recognise(data, series, window)
    whole = _whole(recognition)
    if whole is not None:
        return whole
    try:
        with series.registration() as registration:
            decoder = _Decoder(series, window)
            decoder.read(LazyRequest.FromString(recognition.rest))
            taken = decoder.finish(recognition.parts)
            if registration.added or not decoder.rows.untouched:
                parse(data)
            if not _has_duplicates(taken, decoder.rows, recognition.parts):
                learn_from(recognition.unknown, decoder.resources, series)
                for named, series_ids in taken.looked_up:
                    enrol(named, series_ids, series)
                return decoder.rows.finish(registration.new_series, taken)
    except ProtobufDecodeError:
        # What a part of a request is refused for, the whole is refused for.
        return decode_reference(data, series, window)
    # The last of two points at one time counts, and only the reference keeps their order.
    again = decode_reference(data, series, window)
    new_series = (*registration.new_series, *again.batch.new_series)
    return replace(again, batch=replace(again.batch, new_series=new_series))


class _Runs:
    """Points of one layout over the whole request, read by numpy in one go at the end."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.head_bytes = layout.head_bytes
        self.tail_bytes = layout.tail_bytes
        self.series_ids: list[int] = []
        self.heads: list[bytes] = []
        self.points: list[bytes] = []
        # Which metric a position belongs to: run n starts at starts[n].
        self.starts: list[int] = []
        self.metrics: list[MetricEntry] = []

    def collect(self, entry: MetricEntry, points: list[bytes], series_ids: list[int]) -> None:
        """Add points of one metric."""
        self.starts.append(len(self.points))
        self.metrics.append(entry)
        self.points += points
        self.series_ids += series_ids
        head, tail = self.head_bytes, self.tail_bytes
        if tail:
            self.heads += [point[:head] + point[-tail:] for point in points]
        else:
            self.heads += [point[:head] for point in points]

    def metric_at(self, position: int) -> MetricEntry:
        """The metric that the point at this position belongs to."""
        return self.metrics[bisect_right(self.starts, position) - 1]


class _Decoder:
    def __init__(self, series: SeriesCache, window: TimeWindow) -> None:
        self.rows = Rows(series, window)
        self.resources: list[ResourceEntry] = []
        self._series = series
        self._window = window
        self._bulk = Bulk(window)
        self._runs: dict[Layout, _Runs] = {}
        self._latest: _Runs | None = None

    def read(self, request: Any) -> None:
        """Walk the request; collects runs of number points, takes the others at once."""
        series = self._series
        for resource_metrics in request.resource_metrics:
            resource = resource_entry(
                series, tuple(resource_metrics.resource), resource_metrics.schema_url
            )
            self.resources.append(resource)
            for scope_metrics in resource_metrics.scope_metrics:
                scope = scope_entry(
                    series, resource, tuple(scope_metrics.scope), scope_metrics.schema_url
                )
                for metric in scope_metrics.metrics:
                    self._read_metric(scope, metric)

    def _read_metric(self, scope: ScopeEntry, metric: Any) -> None:
        type_name = metric.WhichOneof("data")
        if type_name is None:
            return
        data = getattr(metric, type_name)
        entry = metric_entry(self._series, scope, metric, type_name, data)
        points = data.data_points
        if entry.refusal:
            for point in points:
                self._add(entry, point)
        elif type_name in _NUMBERS and points:
            self._read_numbers(entry, list(points))
        else:
            self._bulk.collect(entry, points)

    def _add(self, entry: MetricEntry, point: bytes, attributes: bytes | None = None) -> None:
        """Decode a point by itself; `attributes` are bytes that shall stand for its series."""
        series_id = self.rows.add(entry, POINT_MESSAGES[entry.key.type].FromString(point))
        if series_id is None or attributes is None or attributes in entry.series_ids:
            return
        self._series.add_series(entry, attributes, series_id)

    def _read_numbers(self, entry: MetricEntry, points: list[bytes]) -> None:
        runs = self._runs_for(points[0])
        if runs is None or (runs.tail_bytes and _shortest(points) < _bytes_fixed(runs)):
            self._bulk.collect(entry, points)
            return
        start, end = runs.head_bytes, -runs.tail_bytes or None
        first = points[0][start:end]
        if first not in entry.series_ids and not is_only_attributes(first):
            self._bulk.collect(entry, points)
            return
        attributes = [point[start:end] for point in points]
        try:
            series_ids = list(map(entry.series_ids.__getitem__, attributes))
        except KeyError:
            points, series_ids = self._with_unseen(entry, runs.layout, points, attributes)
        runs.collect(entry, points, series_ids)

    def _runs_for(self, point: bytes) -> _Runs | None:
        runs = self._latest
        if runs is None or not runs.layout.fits(point):
            layout = layout_of(point)
            if layout is None:
                return None
            runs = self._runs.setdefault(layout, _Runs(layout))
            self._latest = runs
        return runs

    def _with_unseen(
        self,
        entry: MetricEntry,
        layout: Layout,
        points: Sequence[bytes],
        attributes: Sequence[bytes],
    ) -> tuple[list[bytes], list[int]]:
        # Attributes not seen before: read those points whole, and know their bytes next time.
        seen: list[bytes] = []
        series_ids: list[int] = []
        others: list[bytes] = []
        for point, raw in zip(points, attributes, strict=True):
            series_id = entry.series_ids.get(raw)
            if series_id is not None:
                seen.append(point)
                series_ids.append(series_id)
            elif is_only_attributes(raw) and layout.fits(point):
                self._add(entry, point, raw)
            else:
                others.append(point)
        self._bulk.collect(entry, others)
        return seen, series_ids

    def finish(self, parts: Sequence[Recognised]) -> Taken:
        """What was recognised and what was collected, as columns."""
        for part in parts:
            for entry, point in part.singles:
                self._bulk.collect(entry, [point])
        runs = [self._columns_of(runs) for runs in self._runs.values()]
        taken = self._bulk.read()
        for left in taken.left:
            self._add(*left)
        taken.points += (part.points for part in parts)
        taken.points += (columns for columns in runs if len(columns))
        return taken

    def _columns_of(self, runs: _Runs) -> Points:
        joined = b"".join(runs.heads)
        dtype = runs.layout.dtype
        if len(joined) != dtype.itemsize * len(runs.heads):
            # Some point is shorter than the layout's fields.
            self._add_misfits(runs, range(len(runs.points)))
            return NO_POINTS
        fields = np.frombuffer(joined, dtype)
        time = fields["time"].astype(np.int64)
        value_tag = fields["value_tag"]
        integers = fields["value"].astype(np.int64)
        fits = (fields["time_tag"] == TIME) & (time >= self._window.earliest_unix_nano)
        fits &= time <= self._window.latest_unix_nano
        fits &= (value_tag == AS_DOUBLE) | (value_tag == AS_INT)
        if runs.layout.has_start:
            start = fields["start"].astype(np.int64)
            fits &= (fields["start_tag"] == START) & (start >= 0)
        else:
            start = np.zeros(len(fields), np.int64)
        points = Points(
            series_id=np.array(runs.series_ids, np.int64),
            time_unix_nano=time,
            start_time_unix_nano=start,
            value=np.where(value_tag == AS_INT, integers, integers.view(np.float64)),
            recorded=np.ones(len(fields), np.bool_),
        )
        if fits.all():
            return points
        self._add_misfits(runs, np.flatnonzero(~fits).tolist())
        return points.take(np.flatnonzero(fits))

    def _add_misfits(self, runs: _Runs, positions: Sequence[int]) -> None:
        for position in positions:
            self._bulk.collect(runs.metric_at(position), [runs.points[position]])


def _whole(recognition: Recognition) -> Decoded | None:
    """All of the request where templates have read all of it, else None.

    That is what a steady sender's requests come to, and the way that any other takes costs as
    much again even where it finds nothing to do.
    """
    if recognition.rest or any(part.singles for part in recognition.parts):
        return None
    points = [part.points for part in recognition.parts]
    if len(points) > 1 and _comes_twice(_keys_of(points)):
        return None
    return Decoded(Batch(points=Points.concatenate(points)), Rejections())


def _shortest(points: Sequence[bytes]) -> int:
    return min(map(len, points))


def _bytes_fixed(runs: _Runs) -> int:
    return runs.head_bytes + runs.tail_bytes


def _has_duplicates(taken: Taken, rows: Rows, parts: Sequence[Recognised]) -> bool:
    if _comes_twice([*taken.histogram_keys, rows.histogram_keys()]):
        return True
    keys = rows.number_keys()
    if not len(keys[0]) and len(taken.points) == len(parts) == 1:
        return False  # a template has each series once
    return _comes_twice([*_keys_of(taken.points), keys])


def _keys_of(parts: Sequence[Points]) -> list[Keys]:
    return [(points.series_id, points.time_unix_nano) for points in parts]


def _comes_twice(columns: Sequence[Keys]) -> bool:
    """Whether a series has two points at one time."""
    series_ids = np.concatenate([ids for ids, _ in columns])
    # Cheap first: a request in which each series comes once has no duplicates.
    in_order = np.sort(series_ids)
    if not (in_order[1:] == in_order[:-1]).any():
        return False
    return len(repeated(series_ids, np.concatenate([times for _, times in columns]))) > 0
