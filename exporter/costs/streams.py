"""Which points of a series form one total, and where a total restarted. Pure.

A stream is one running total: the points of one process between two restarts. A sender names it by
the start time of its points, and several processes may send streams of one series at the same time.
docs/decisions/0009-cost-streams.md has the algebra, docs/costs.md the rules with examples.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, KeysView, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Final

from exporter.model import CostBasis, CostPoint, CostStream
from exporter.time_units import NANOSECONDS_PER_SECOND

UNKNOWN_START: Final = 0
"""The name of the stream of the points whose start is unknown."""

NEAR_STARTS_NANOSECONDS: Final = NANOSECONDS_PER_SECOND
"""Starts that are closer than this may be one start that jitters (now minus uptime)."""

END_OF_TIME: Final = 2**63 - 1
"""In nanoseconds. Later than the time of any point, which fits a signed 64-bit integer."""

# Sums of doubles that are added in another order differ in the last digits.
_ROUNDING: Final = 1e-6
# A process that restarts without a new start begins near 0; a correction takes back a part.
_RESTART_BELOW: Final = 0.5


def is_zero_length(point: CostPoint) -> bool:
    """Whether the interval of a point is empty, because its start is its own time."""
    return point.start_time_unix_nano == point.time_unix_nano


def is_fall(previous: CostPoint, point: CostPoint) -> bool:
    """Whether the total is lower than at the point before, by more than rounding."""
    return point.value < previous.value - abs(previous.value) * _ROUNDING


def merge_streams(stream: CostStream, other: CostStream) -> CostStream:
    """One stream from the rows that two stores have of it."""
    starts = [start for start in (stream.earliest_start, other.earliest_start) if start]
    return CostStream(
        stream.series_id,
        stream.stream_start,
        earliest_start=min(starts, default=0),
        latest_start=max(stream.latest_start, other.latest_start),
        has_fall=stream.has_fall or other.has_fall,
        is_split=stream.is_split or other.is_split,
        last=max(filter(None, (stream.last, other.last)), default=None),
        closed=max(filter(None, (stream.closed, other.closed)), default=None),
        zero_length_points=max(stream.zero_length_points, other.zero_length_points),
        lone_start=max(stream.lone_start, other.lone_start),
        quantity_id=other.quantity_id if stream.quantity_id is None else stream.quantity_id,
    )


def is_near(stream: CostStream, start_unix_nano: int) -> bool:
    """Whether a start is less than `NEAR_STARTS_NANOSECONDS` from the starts of a stream."""
    earliest, latest = stream.earliest_start, stream.latest_start
    return earliest - NEAR_STARTS_NANOSECONDS < start_unix_nano < latest + NEAR_STARTS_NANOSECONDS


class StreamIndex:
    """The streams of one series, in which those near a start are found without reading all."""

    def __init__(self) -> None:
        self._by_start: dict[int, CostStream] = {}
        self._starts: list[int] = []

    def __getitem__(self, stream_start: int) -> CostStream:
        return self._by_start[stream_start]

    def __setitem__(self, stream_start: int, stream: CostStream) -> None:
        if stream_start not in self._by_start:
            insort(self._starts, stream_start)
        self._by_start[stream_start] = stream

    def __delitem__(self, stream_start: int) -> None:
        del self._by_start[stream_start]
        del self._starts[bisect_left(self._starts, stream_start)]

    def __contains__(self, stream_start: int) -> bool:
        return stream_start in self._by_start

    def keys(self) -> KeysView[int]:
        """The names of the streams."""
        return self._by_start.keys()

    def items(self) -> Iterable[tuple[int, CostStream]]:
        """The streams by their names."""
        return self._by_start.items()

    def near(self, start_unix_nano: int) -> list[CostStream]:
        """The streams with a start near this one, without that of unknown starts."""
        first = bisect_left(self._starts, start_unix_nano - NEAR_STARTS_NANOSECONDS)
        last = bisect_right(self._starts, start_unix_nano + NEAR_STARTS_NANOSECONDS)
        # Streams do not overlap. A wide one can only be the next below or above: a start that
        # drifts makes a stream wider every day.
        candidates = self._starts[max(first - 1, 0) : last + 1]
        return [
            self._by_start[stream_start]
            for stream_start in candidates
            if stream_start != UNKNOWN_START
            and is_near(self._by_start[stream_start], start_unix_nano)
        ]


def has_restarted(
    basis: CostBasis, stream_start: int, previous: CostPoint, point: CostPoint
) -> bool:
    """Whether a total began again at 0 between two neighbours of one stream.

    Decided from the two points alone, so that it does not depend on the order of arrival.
    """
    if not basis.is_monotonic or basis.falls == "correct":
        return False
    if point.point_count is not None and previous.point_count is not None:
        # With an equal count nothing was measured in between, so the sum cannot fall.
        is_equal = point.point_count == previous.point_count
        return point.point_count < previous.point_count or (is_equal and is_fall(previous, point))
    if basis.falls == "restart" or (basis.has_known_starts and stream_start == UNKNOWN_START):
        return is_fall(previous, point)
    # A total below 0 has been corrected: half of it is above it.
    return previous.value > 0 and point.value < previous.value * _RESTART_BELOW


def assign_streams(
    points: Iterable[CostPoint], *, is_monotonic: bool, lone_point_has_start: bool | None = None
) -> dict[CostPoint, int]:
    """The stream of each point of one series, by the start time that names it.

    Args:
        points: of totals whose starts are known (`CostBasis.has_known_starts`), in any order.
        is_monotonic: whether their totals only grow.
        lone_point_has_start: whether a zero-length point whose start no later point has is the
            first of a stream. False: its start is unknown. None: it is the first of a stream if
            there is only one such point.

    Returns:
        `UNKNOWN_START`, or the earliest start time of the stream.
    """
    streams: dict[CostPoint, int] = {}
    known: list[CostPoint] = []
    zero_length: list[CostPoint] = []
    for point in points:
        if point.start_time_unix_nano == UNKNOWN_START:
            streams[point] = UNKNOWN_START
        elif is_zero_length(point):
            zero_length.append(point)
        else:
            known.append(point)
    starts = {point.start_time_unix_nano for point in known}
    # Later points have the start of these, so they are the first points of their streams.
    known += [point for point in zero_length if point.start_time_unix_nano in starts]
    alone = [point for point in zero_length if point.start_time_unix_nano not in starts]
    if lone_point_has_start is None:
        lone_point_has_start = len(alone) == 1
    if lone_point_has_start:
        # A program whose first export fell into the microsecond of its start.
        known += alone
    else:
        # A sender that does not know its start repeats the time of each point as the start.
        streams |= dict.fromkeys(alone, UNKNOWN_START)
    for near in _near_starts(known):
        streams |= _separate(near, is_monotonic=is_monotonic)
    return streams


def _near_starts(points: Iterable[CostPoint]) -> Iterator[list[CostPoint]]:
    """Groups of points whose starts are less than `NEAR_STARTS_NANOSECONDS` apart."""
    group: list[CostPoint] = []
    for point in sorted(points, key=attrgetter("start_time_unix_nano")):
        gap = point.start_time_unix_nano - group[-1].start_time_unix_nano if group else 0
        if gap >= NEAR_STARTS_NANOSECONDS:
            yield group
            group = []
        group.append(point)
    if group:
        yield group


def _separate(points: Sequence[CostPoint], *, is_monotonic: bool) -> dict[CostPoint, int]:
    """The streams of points with near starts: one if the total never falls, else one a start.

    Several processes, such as forked workers, count from 0 each, so their totals fall when they are
    read in order of time. One total whose start jitters does not fall.
    """
    by_time = sorted(points)
    if is_monotonic and any(is_fall(*pair) for pair in pairwise(by_time)):
        return {point: point.start_time_unix_nano for point in points}
    return dict.fromkeys(points, min(point.start_time_unix_nano for point in points))


def by_stream(streams: dict[CostPoint, int]) -> Iterator[tuple[int, list[CostPoint]]]:
    """The points of each stream in order of time."""
    ordered = sorted(streams.items(), key=lambda item: (item[1], item[0]))
    for stream_start, items in groupby(ordered, key=lambda item: item[1]):
        yield stream_start, [point for point, _ in items]
