"""Points of a whole request that are more than times, a value and attributes, decoded together.

Histograms of both kinds and points with exemplars are gathered metric by metric, walked all at
once (`exporter.wire.sweep`), and become columns; rows are made of them where they are stored.
Right because what this does not understand it hands back, for the official messages to judge, and
because bytes that it does not look into, the attributes, have been parsed before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from exporter.intern import MetricEntry
from exporter.model import Exemplar, HistogramPoint, Int64Array, Points
from exporter.model.lazy_sequence import LazySequence
from exporter.wire.ages import TimeWindow
from exporter.wire.buffer import PADDING, Bits, Buffer
from exporter.wire.exemplars import ExemplarColumns, read_exemplars
from exporter.wire.histograms import (
    EXPLICIT_TAGS,
    EXPONENTIAL_TAGS,
    HistogramColumns,
    read_explicit,
    read_exponential,
)
from exporter.wire.layouts import AS_DOUBLE, AS_INT, START, TIME
from exporter.wire.roster import Named, series_of
from exporter.wire.sweep import Swept, sweep

__all__ = ["FEWEST_POINTS", "Bulk", "Left", "Taken"]

# Below this many the official messages are as fast: a sweep takes some 300 us however few it has.
FEWEST_POINTS: Final = 24

# At a time: a large request of tiny points would take a hundred times its size as columns.
_MOST_POINTS: Final = 2048
_MOST_BYTES: Final = 4 * 1024 * 1024

Values = npt.NDArray[np.float64]


class Left(NamedTuple):
    """A point that is left to the official messages.

    `attributes` is the bytes of its attributes, None where it is not known which these are.
    """

    metric: MetricEntry
    point: bytes
    attributes: bytes | None


@dataclass(slots=True)
class Taken:
    """What was decoded, and what is left.

    Attributes:
        points: number points.
        histograms: of both kinds.
        histogram_keys: series ids and times of these.
        exemplars: of all points.
        left: points to decode otherwise.
        looked_up: points whose series were found one by one, and these.
    """

    points: list[Points] = field(default_factory=list)
    histograms: list[Sequence[HistogramPoint]] = field(default_factory=list)
    histogram_keys: list[tuple[Int64Array, Int64Array]] = field(default_factory=list)
    exemplars: list[Sequence[Exemplar]] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    looked_up: list[tuple[Named, Int64Array]] = field(default_factory=list)


class _Kind(NamedTuple):
    """A kind of point: tags of three fields that each kind has elsewhere, and of all its fields.

    `read` gives what its other fields hold, and marks points that are not sound.
    """

    attributes: int
    exemplars: int
    flags: int
    tags: frozenset[int]
    read: Callable[[Buffer, Swept], HistogramColumns | Values]


def _kind(
    shared: tuple[int, int, int],
    tags: frozenset[int],
    read: Callable[[Buffer, Swept], HistogramColumns | Values],
) -> _Kind:
    return _Kind(*shared, tags | {START, TIME, *shared}, read)


def _read_values(buffer: Buffer, swept: Swept) -> Values:
    # Of a double and an integer the later one counts.
    double, integer = swept.last(AS_DOUBLE), swept.last(AS_INT)
    swept.sound &= double != integer
    return np.where(double > integer, buffer.doubles(double), buffer.words(integer))


_NUMBER: Final = _kind((0x3A, 0x2A, 0x40), frozenset({AS_DOUBLE, AS_INT}), _read_values)
_EXPLICIT: Final = _kind((0x4A, 0x42, 0x50), EXPLICIT_TAGS, read_explicit)
_EXPONENTIAL: Final = _kind((0x0A, 0x5A, 0x50), EXPONENTIAL_TAGS, read_exponential)
_KINDS: Final = {
    "gauge": _NUMBER,
    "sum": _NUMBER,
    "histogram": _EXPLICIT,
    "exponential_histogram": _EXPONENTIAL,
}


class Bulk:
    """Gathers the points of one request.

    Args:
        window: the times that points and exemplars may have.
    """

    def __init__(self, window: TimeWindow) -> None:
        self._window = window
        self._gathered: dict[_Kind, tuple[list[MetricEntry], list[bytes]]] = {}
        self._left: list[Left] = []

    def collect(self, metric: MetricEntry, points: Sequence[bytes]) -> None:
        """Add points of a metric that can be stored."""
        kind = _KINDS.get(metric.key.type)
        if kind is None:  # summaries
            self._left += (Left(metric, point, None) for point in points)
            return
        metrics, gathered = self._gathered.setdefault(kind, ([], []))
        metrics += [metric] * len(points)
        gathered += points

    def read(self) -> Taken:
        """Decode all that was gathered.

        Raises:
            google.protobuf.message.DecodeError: an exemplar's attributes are no such message.
        """
        taken = Taken(left=self._left)
        for kind, (metrics, points) in self._gathered.items():
            for at in range(0, len(points), _MOST_POINTS):
                end = at + _MOST_POINTS
                self._read_some(kind, metrics[at:end], points[at:end], taken)
        return taken

    def _read_some(
        self, kind: _Kind, metrics: list[MetricEntry], points: list[bytes], taken: Taken
    ) -> None:
        # Twice at most: once all, and once those that are sound.
        for _ in range(2):
            if len(points) < FEWEST_POINTS or sum(map(len, points)) > _MOST_BYTES:
                break
            reading = _Reading(kind, metrics, points, self._window)
            if reading.sound.all():
                reading.give(taken)
                return
            taken.left += reading.left()
            sound = np.flatnonzero(reading.sound).tolist()
            metrics, points = [metrics[at] for at in sound], [points[at] for at in sound]
        taken.left += (
            Left(metric, point, None) for metric, point in zip(metrics, points, strict=True)
        )


class _Reading:
    """One reading of points of one kind; `sound` says which of them it can stand for."""

    def __init__(
        self, kind: _Kind, metrics: list[MetricEntry], points: list[bytes], window: TimeWindow
    ) -> None:
        self._metrics = metrics
        self._points = points
        buffer = Buffer(b"".join((*points, PADDING)))
        sizes = np.fromiter(map(len, points), np.int64, len(points))
        end = np.cumsum(sizes)
        swept = sweep(buffer, end - sizes, end, kind.tags)
        self._times = buffer.words(swept.last(TIME))
        self._starts = buffer.words(swept.last(START))
        swept.sound &= (self._times >= window.earliest_unix_nano) & (self._starts >= 0)
        swept.sound &= self._times <= window.latest_unix_nano
        swept.sound &= swept.last(kind.flags, missing=0) == 0
        self._contents = kind.read(buffer, swept)
        self._exemplars: ExemplarColumns | None = None
        spans = swept.all(kind.exemplars)
        if len(spans):
            self._exemplars, unread = read_exemplars(buffer, spans, self._times, window)
            swept.sound[unread] = False
        self._named = Named(metrics, buffer, *swept.run(kind.attributes))
        self._readable = swept.sound
        self._keys: list[bytes] | None = None
        self._series_ids, known = self._look_up()
        self.sound = self._readable & known

    def _look_up(self) -> tuple[Int64Array, Bits]:
        """The series of each point, and whether it is known."""
        as_before = series_of(self._named) if self._readable.all() else None
        if as_before is not None:
            return as_before, self._readable
        keys = self._keys = self._named.attributes()
        found = [
            metric.series_ids.get(key) for metric, key in zip(self._metrics, keys, strict=True)
        ]
        try:
            return np.array(found, np.int64), np.ones(len(found), np.bool_)
        except TypeError:  # a None among them; looking for it costs as much as all look-ups
            known = np.array([each is not None for each in found], np.bool_)
            return np.array([each or 0 for each in found], np.int64), known

    def left(self) -> Iterator[Left]:
        """The points that it cannot stand for."""
        for at in np.flatnonzero(~self.sound).tolist():
            key = self._keys[at] if self._keys and self._readable[at] else None
            yield Left(self._metrics[at], self._points[at], key)

    def give(self, taken: Taken) -> None:
        """Hand over everything; only where all points are sound."""
        if self._keys is not None:
            taken.looked_up.append((self._named, self._series_ids))
        series_ids, times, starts = self._series_ids, self._times, self._starts
        contents, exemplars = self._contents, self._exemplars
        if isinstance(contents, HistogramColumns):
            rows = partial(contents.rows, series_ids, times, starts)
            taken.histograms.append(LazySequence(len(times), rows))
            taken.histogram_keys.append((series_ids, times))
        else:
            recorded = np.ones(len(times), np.bool_)
            taken.points.append(Points(series_ids, times, starts, contents, recorded))
        if exemplars is not None:
            illustrations = partial(exemplars.rows, series_ids)
            taken.exemplars.append(LazySequence(len(exemplars.point), illustrations))
