"""Decodes histograms, and number points with exemplars, of a whole request into columns.

The points are collected metric by metric and their fields are found all at once
(`exporter.wire.field_scan`). Points with fields that are not expected go to the official messages.
Attribute bytes are not parsed again if the same bytes were parsed before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from exporter.model import Exemplar, HistogramPoint, Int64Array, Points
from exporter.model.lazy_sequence import LazySequence
from exporter.series_cache import MetricEntry
from exporter.wire.batch_builder import PointKeys
from exporter.wire.exemplar_columns import ExemplarColumns, read_exemplars
from exporter.wire.field_scan import ScanResult, scan_fields
from exporter.wire.histogram_columns import (
    EXPLICIT_TAGS,
    EXPONENTIAL_TAGS,
    HistogramColumns,
    read_explicit,
    read_exponential,
)
from exporter.wire.point_layouts import AS_DOUBLE, AS_INT, NUMBER_TAGS, START, TIME
from exporter.wire.series_sequence_cache import PointBlock, cached_series_ids
from exporter.wire.time_window import TimeWindow
from exporter.wire.vectorized_buffer import PADDING, BoolArray, ByteBuffer

# A scan takes 300 us however few points it has; below this the official messages are as fast.
MIN_POINTS: Final = 24
# Points are decoded in blocks: as columns, a large request of tiny points would take a hundred
# times its size.
_MAX_BLOCK_POINTS: Final = 2048
_MAX_BLOCK_BYTES: Final = 4 * 1024 * 1024

_Values = npt.NDArray[np.float64]


class UndecodedPoint(NamedTuple):
    """A point for the official messages.

    Attributes:
        metric: the metric of the point.
        point: its bytes.
        attributes: the bytes of its attributes, None if they are not known.
    """

    metric: MetricEntry
    point: bytes
    attributes: bytes | None


@dataclass(slots=True)
class DecodedColumns:
    """What was decoded, and what was not.

    Attributes:
        points: number points.
        histograms: histograms of both types.
        histogram_keys: their series ids, times and start times.
        exemplars: of all points.
        undecoded: points for the official messages.
        looked_up: blocks whose series ids were looked up one by one, and these ids.
    """

    points: list[Points] = field(default_factory=list)
    histograms: list[Sequence[HistogramPoint]] = field(default_factory=list)
    histogram_keys: list[PointKeys] = field(default_factory=list)
    exemplars: list[Sequence[Exemplar]] = field(default_factory=list)
    undecoded: list[UndecodedPoint] = field(default_factory=list)
    looked_up: list[tuple[PointBlock, Int64Array]] = field(default_factory=list)


class _PointType(NamedTuple):
    """A type of point.

    Attributes:
        attributes: the tag of the attributes.
        exemplars: the tag of the exemplars.
        flags: the tag of the flags.
        tags: the tags of all fields.
        read: decodes the fields besides these and the times; clears `valid` of points that it
            cannot decode.
    """

    attributes: int
    exemplars: int
    flags: int
    tags: frozenset[int]
    read: Callable[[ByteBuffer, ScanResult], HistogramColumns | _Values]


def _read_values(buffer: ByteBuffer, scan: ScanResult) -> _Values:
    # Of a double and an integer the later field counts. Both are MISSING if there is no value.
    double, integer = scan.last_value(AS_DOUBLE), scan.last_value(AS_INT)
    scan.valid &= double != integer
    return np.where(double > integer, buffer.doubles(double), buffer.int64s(integer))


# The messages are quoted in point_layouts.py and histogram_columns.py.
_NUMBER: Final = _PointType(0x3A, 0x2A, 0x40, NUMBER_TAGS, _read_values)
_EXPLICIT: Final = _PointType(0x4A, 0x42, 0x50, EXPLICIT_TAGS, read_explicit)
_EXPONENTIAL: Final = _PointType(0x0A, 0x5A, 0x50, EXPONENTIAL_TAGS, read_exponential)
_POINT_TYPES: Final = {
    "gauge": _NUMBER,
    "sum": _NUMBER,
    "histogram": _EXPLICIT,
    "exponential_histogram": _EXPONENTIAL,
}


class ColumnarDecoder:
    """Collects the points of one request and decodes them together.

    Args:
        window: the times that points and exemplars may have.
    """

    def __init__(self, window: TimeWindow) -> None:
        self._window = window
        self._collected: dict[_PointType, tuple[list[MetricEntry], list[bytes]]] = {}
        self._undecoded: list[UndecodedPoint] = []

    def add(self, metric: MetricEntry, points: Sequence[bytes]) -> None:
        """Add points of a metric that can be stored."""
        point_type = _POINT_TYPES.get(metric.key.type)
        if point_type is None:  # summaries
            self._undecoded += (UndecodedPoint(metric, point, None) for point in points)
            return
        metrics, collected = self._collected.setdefault(point_type, ([], []))
        metrics += [metric] * len(points)
        collected += points

    def decode(self) -> DecodedColumns:
        """Decode all points that were added.

        Raises:
            google.protobuf.message.DecodeError: the attributes of an exemplar are not a valid
                message.
        """
        decoded = DecodedColumns(undecoded=self._undecoded)
        for point_type, (metrics, points) in self._collected.items():
            for start in range(0, len(points), _MAX_BLOCK_POINTS):
                end = start + _MAX_BLOCK_POINTS
                self._decode_block(point_type, metrics[start:end], points[start:end], decoded)
        return decoded

    def _decode_block(
        self,
        point_type: _PointType,
        metrics: list[MetricEntry],
        points: list[bytes],
        decoded: DecodedColumns,
    ) -> None:
        # At most twice: all points, then those that were valid.
        for _ in range(2):
            if len(points) < MIN_POINTS or sum(map(len, points)) > _MAX_BLOCK_BYTES:
                break
            reader = _BlockReader(point_type, metrics, points, self._window)
            if reader.valid.all():
                reader.emit(decoded)
                return
            decoded.undecoded += reader.undecoded()
            valid = np.flatnonzero(reader.valid).tolist()
            metrics, points = [metrics[at] for at in valid], [points[at] for at in valid]
        decoded.undecoded += (
            UndecodedPoint(metric, point, None)
            for metric, point in zip(metrics, points, strict=True)
        )


class _BlockReader:
    """Reads a block of points of one type; `valid` says which points could be decoded."""

    def __init__(
        self,
        point_type: _PointType,
        metrics: list[MetricEntry],
        points: list[bytes],
        window: TimeWindow,
    ) -> None:
        self._metrics = metrics
        self._points = points
        buffer = ByteBuffer(b"".join((*points, PADDING)))
        sizes = np.fromiter(map(len, points), np.int64, len(points))
        end = np.cumsum(sizes)
        scan = scan_fields(buffer, end - sizes, end, point_type.tags)
        self._times = buffer.int64s(scan.last_value(TIME))
        self._starts = buffer.int64s(scan.last_value(START))
        scan.valid &= (self._times >= window.earliest_unix_nano) & (self._starts >= 0)
        scan.valid &= self._times <= window.latest_unix_nano
        scan.valid &= scan.last_value(point_type.flags, default=0) == 0
        self._contents = point_type.read(buffer, scan)
        self._exemplars: ExemplarColumns | None = None
        spans = scan.all_spans(point_type.exemplars)
        if len(spans):
            self._exemplars, unread = read_exemplars(buffer, spans, self._times, window)
            scan.valid[unread] = False
        self._block = PointBlock(metrics, buffer, *scan.adjacent_span(point_type.attributes))
        self._readable = scan.valid
        self._attributes: list[bytes] | None = None
        self._series_ids, is_known = self._look_up_series()
        self.valid = self._readable & is_known

    def _look_up_series(self) -> tuple[Int64Array, BoolArray]:
        """The series id of each point, and whether the series is known."""
        cached = cached_series_ids(self._block) if self._readable.all() else None
        if cached is not None:
            return cached, self._readable
        attributes = self._attributes = self._block.attributes()
        found = [
            metric.series_ids.get(raw)
            for metric, raw in zip(self._metrics, attributes, strict=True)
        ]
        try:
            return np.array(found, np.int64), np.ones(len(found), np.bool_)
        except TypeError:  # a None is among them; testing for it costs as much as all look-ups
            is_known = np.array([each is not None for each in found], np.bool_)
            return np.array([each or 0 for each in found], np.int64), is_known

    def undecoded(self) -> Iterator[UndecodedPoint]:
        """The invalid points."""
        for at in np.flatnonzero(~self.valid).tolist():
            raw = self._attributes[at] if self._attributes and self._readable[at] else None
            yield UndecodedPoint(self._metrics[at], self._points[at], raw)

    def emit(self, decoded: DecodedColumns) -> None:
        """Add all points to the decoded columns; only if all of them are valid."""
        if self._attributes is not None:
            decoded.looked_up.append((self._block, self._series_ids))
        series_ids, times, starts = self._series_ids, self._times, self._starts
        contents, exemplars = self._contents, self._exemplars
        if isinstance(contents, HistogramColumns):
            rows = partial(contents.rows, series_ids, times, starts)
            decoded.histograms.append(LazySequence(len(times), rows))
            decoded.histogram_keys.append((series_ids, times, starts))
        else:
            recorded = np.ones(len(times), np.bool_)
            decoded.points.append(Points(series_ids, times, starts, contents, recorded))
        if exemplars is not None:
            exemplar_rows = partial(exemplars.rows, series_ids)
            decoded.exemplars.append(LazySequence(len(exemplars.point), exemplar_rows))
