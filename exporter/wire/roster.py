"""The series of points that come in the same order, with the same attributes, as before.

Finding a series by the bytes of a point's attributes takes a slice and a hash of them, two fifths
of the time that a histogram takes. A steady sender's attributes are the same in every request:
here those of all points are compared with the last ones at once (33 us for 1,000 points against
268), and the series are as then. Right because a roster holds only what the decoder had found by
itself, and goes when one of its series is forgotten.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from exporter.intern import MetricEntry, SeriesCache
from exporter.model import Int64Array
from exporter.wire.buffer import PADDING, Buffer

__all__ = ["Named", "Roster", "enrol", "series_of"]

# Attributes up to here are compared: what stands behind the last ones has to be in the buffer.
_LONGEST_BYTES: Final = len(PADDING)
_WORD_BYTES: Final = 8
# Of one resource: a sender that cuts its points into requests may take turns.
_MOST_ROSTERS: Final = 16


class Named(NamedTuple):
    """Points of one kind: their metrics, and where the attributes of each stand."""

    metrics: list[MetricEntry]
    buffer: Buffer
    start: Int64Array
    end: Int64Array

    def attributes(self) -> list[bytes]:
        """The bytes of each point's attributes."""
        return self.buffer.slices(self.start, self.end)

    def key(self) -> tuple[MetricEntry, int, bytes]:
        """What tells them from other points of their resource that come together."""
        first = self.buffer.data[self.start[0] : self.end[0]]
        return self.metrics[0], len(self.metrics), first


class Roster:
    """Points that came together, and the last time their attributes were noted."""

    __slots__ = ("_mask", "_masked", "_metrics", "_misses", "_series_ids", "_sizes")

    def __init__(self) -> None:
        self._metrics: list[MetricEntry] = []
        self._misses = 0

    @property
    def points(self) -> int:
        """How many points it knows."""
        return len(self._metrics)

    def read(self, named: Named) -> Int64Array | None:
        """The series of the points if their attributes are those that were noted."""
        if self._metrics != named.metrics:
            return None
        if not np.array_equal(named.end - named.start, self._sizes):
            return None
        masked = _words(named, self._mask.shape[1]) & self._mask
        if not np.array_equal(masked, self._masked):
            return None
        self._misses = 0
        return self._series_ids

    def missed(self, named: Named, series_ids: Int64Array) -> None:
        """Note the points instead, at the second, fourth, eighth and so on of failures.

        So a sender without an order pays for fewer and fewer of them.
        """
        self._misses += 1
        if self._misses == 1 or self._misses & (self._misses - 1):
            return
        sizes = named.end - named.start
        words = max(1, -(-int(sizes.max()) // _WORD_BYTES))
        inside = np.arange(words * _WORD_BYTES) < sizes[:, np.newaxis]
        self._metrics = named.metrics
        self._sizes = sizes
        self._mask = np.where(inside, 0xFF, 0).astype(np.uint8).view(np.int64)
        self._masked = _words(named, words) & self._mask
        self._series_ids = series_ids
        series_ids.setflags(write=False)  # every batch gets this very array


def series_of(named: Named) -> Int64Array | None:
    """The series of each point, None where they have to be looked up one by one."""
    roster = named.metrics[0].scope.resource.rosters.get(named.key())
    found: Int64Array | None = roster.read(named) if roster is not None else None
    return found


def enrol(named: Named, series_ids: Int64Array, series: SeriesCache) -> None:
    """Note the series of points that were looked up; only when their request was accepted."""
    if (named.end - named.start).max() > _LONGEST_BYTES:
        return
    rosters = named.metrics[0].scope.resource.rosters
    roster = rosters.get(named.key())
    if roster is None:
        if len(rosters) >= _MOST_ROSTERS:
            _, oldest = rosters.popitem(last=False)
            series.count_template_points(-oldest.points)
        roster = rosters[named.key()] = Roster()
    before = roster.points
    roster.missed(named, series_ids)
    series.count_template_points(roster.points - before)


def _words(named: Named, words: int) -> npt.NDArray[np.int64]:
    return named.buffer.rows(named.start, words * _WORD_BYTES).view(np.int64)
