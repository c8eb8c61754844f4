"""The streams of one series in one transaction: which of them a new point belongs to.

`exporter.costs.streams` has the rules, which need all points of a series. This module applies them
to new points with few reads: the row of a stream is enough to assign the usual point. If a new
point shows that stored points may belong to other streams, these streams are assigned again from
all of their points.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from exporter.costs.cost_changes import StoredCosts
from exporter.costs.streams import (
    NEAR_STARTS_NANOSECONDS,
    UNKNOWN_START,
    StreamIndex,
    assign_streams,
    by_stream,
    is_fall,
    is_zero_length,
)
from exporter.model import CostBasis, CostPoint, CostStream


class SeriesStreams:
    """The streams of one series, by the start time that names each of them.

    Args:
        unknown: the stream `UNKNOWN_START` of the series.
        stored: reads further streams and entries.

    Attributes:
        series_id: of the series, or of the identity that several series share.
        new_points: by stream start, the points that `add` assigned to the stream, with their bases.
        to_reassign: the starts of the streams whose points may belong to other streams now.
    """

    def __init__(self, unknown: CostStream, stored: StoredCosts) -> None:
        self.series_id = unknown.series_id
        self.new_points: dict[int, dict[CostPoint, CostBasis]] = {}
        self.to_reassign: set[int] = set()
        self._stored = stored
        self._streams = StreamIndex()
        self._streams[UNKNOWN_START] = unknown
        self._stored_streams: dict[int, CostStream] = {UNKNOWN_START: unknown}
        # The start of a zero-length point that joins the stream UNKNOWN_START, and the starts of
        # those that leave it, until `reassign` has moved them.
        self._former_lone_start = 0
        self._leaving_unknown: set[int] = set()

    def __getitem__(self, stream_start: int) -> CostStream:
        """The stream with this name."""
        return self._streams[stream_start]

    def update(self, stream_start: int, **changes: Any) -> None:
        """Change fields of a stream."""
        self._streams[stream_start] = self._streams[stream_start]._replace(**changes)

    def changed(self) -> Iterator[CostStream]:
        """The streams that differ from the stored ones."""
        for stream_start, stream in self._streams.items():
            if stream != self._stored_streams.get(stream_start):
                yield stream

    def removed(self) -> Iterator[int]:
        """The starts of stored streams whose points are in other streams now."""
        yield from sorted(self._stored_streams.keys() - self._streams.keys())

    def add(self, point: CostPoint, basis: CostBasis) -> None:
        """Assign a new point to a stream. Its entries are not read, except for zero-length points.

        If the point shows that the streams are others, they are in `to_reassign` afterwards.
        """
        stream_start = self._stream_of(point, basis)
        self.new_points.setdefault(stream_start, {})[point] = basis
        if basis.quantity_id is not None:
            self.update(UNKNOWN_START, quantity_id=basis.quantity_id)

    def _stream_of(self, point: CostPoint, basis: CostBasis) -> int:
        start = point.start_time_unix_nano
        if basis.kind != "cumulative" or start == UNKNOWN_START:
            return UNKNOWN_START
        near = self._near(start)
        if is_zero_length(point):
            return self._stream_of_zero_length(start, near)
        if start == self._streams[UNKNOWN_START].lone_start:
            self.update(UNKNOWN_START, zero_length_points=0, lone_start=0)
        elif start not in self._streams or start == self._former_lone_start:
            self._take_from_unknown(start, near)
        return self._stream_of_start(start, near)

    def _stream_of_start(self, start: int, near: Sequence[int]) -> int:
        """The stream of a known start, which is extended or created for it.

        Args:
            start: the start of a point, in nanoseconds.
            near: the starts of the streams near it.
        """
        if start in near and (self._streams[start].is_split or len(near) == 1):
            return start
        is_split = any(self._streams[other].is_split for other in near)
        if is_split or not near:
            if start not in near:
                self._streams[start] = CostStream(
                    self.series_id,
                    start,
                    earliest_start=start,
                    latest_start=start,
                    is_split=is_split,
                )
            # The start may be near streams that are split and others that are not.
            self.to_reassign.update(other for other in near if not self._streams[other].is_split)
            return start
        stream_start = min(near)
        stream = self._streams[stream_start]
        self.update(
            stream_start,
            earliest_start=min(start, stream.earliest_start),
            latest_start=max(start, stream.latest_start),
        )
        if len(near) > 1 or stream.has_fall:
            self.to_reassign.update(near)
        return stream_start

    def _stream_of_zero_length(self, start: int, near: Sequence[int]) -> int:
        """The stream of a point whose start is its own time.

        Args:
            start: the start and time of the point, in nanoseconds.
            near: the starts of the streams near it.
        """
        unknown = self._streams[UNKNOWN_START]
        if near and (unknown.lone_start == start or self._has_point_with_start(start, near)):
            return self._stream_of_start(start, near)
        if unknown.zero_length_points == 0:
            self.update(UNKNOWN_START, zero_length_points=1, lone_start=start)
            return self._stream_of_start(start, near)
        if self._is_in_unknown(start):
            return UNKNOWN_START
        self.update(UNKNOWN_START, zero_length_points=unknown.zero_length_points + 1, lone_start=0)
        if unknown.lone_start:
            self._former_lone_start = unknown.lone_start
            # With two such points the sender repeats the time as the start: neither is a start.
            self.to_reassign.update([UNKNOWN_START, *self._near(unknown.lone_start)])
            self.reconsider_split(unknown.lone_start)
        return UNKNOWN_START

    def reconsider_split(self, start: int) -> None:
        """Decide again whether starts near this one are streams of their own.

        To be called when a point that may have shown it has left them or has another value.
        """
        connected: set[int] = set()
        starts = [start]
        while starts:
            near = set(self._near(starts.pop())) - connected
            connected |= near
            starts += near
        if any(self._streams[other].closed is not None for other in connected):
            return  # the points that show it may be deleted
        for other in connected:
            self.update(other, is_split=False)
        self.to_reassign |= connected

    def reassign_near_lone_point(self) -> None:
        """Let `reassign` include the streams near the only zero-length point, if it is reassigned.

        It is the first point of a stream then, and may join one of them.
        """
        if UNKNOWN_START not in self.to_reassign or not self._has_lone_point:
            return
        entries = self._stored.entries_of(self.series_id, self.to_reassign)
        points = [entry.source.point for entry in entries]
        for stream_start in self.to_reassign:
            points += self.new_points.get(stream_start, ())
        for start in _lone_starts(points):
            self.to_reassign.update(self._near(start))

    def _take_from_unknown(self, start: int, near: Iterable[int]) -> None:
        """Take a zero-length point out of the stream `UNKNOWN_START`, if a later one has its start.

        It is the first point of the stream with this start.
        """
        unknown = self._streams[UNKNOWN_START]
        if unknown.lone_start or not unknown.zero_length_points or start in self._leaving_unknown:
            return
        if not self._is_in_unknown(start):
            return
        self._leaving_unknown.add(start)
        self.update(UNKNOWN_START, zero_length_points=unknown.zero_length_points - 1)
        self.to_reassign.update([UNKNOWN_START, start, *near])

    def _is_in_unknown(self, start: int) -> bool:
        """Whether the zero-length point with this start is in the stream `UNKNOWN_START`."""
        wanted = (start, start)
        if start == self._former_lone_start:
            return True
        if any(point[:2] == wanted for point in self.new_points.get(UNKNOWN_START, ())):
            return True
        entries = self._stored.entries_between(self.series_id, UNKNOWN_START, start, start)
        return any(entry.source.point[:2] == wanted for entry in entries)

    def _has_point_with_start(self, start: int, stream_starts: Collection[int]) -> bool:
        entries = self._stored.entries_of(self.series_id, stream_starts)
        return any(entry.source.point.start_time_unix_nano == start for entry in entries)

    def _near(self, start: int) -> list[int]:
        """The starts of the streams that have a start near this one; reads those not read yet."""
        for stream in self._stored.streams_near(self.series_id, start):
            if stream.stream_start not in self._stored_streams:
                self._stored_streams[stream.stream_start] = stream
                self._streams[stream.stream_start] = stream
        return [stream.stream_start for stream in self._streams.near(start)]

    def reassign(
        self, points: Iterable[CostPoint], *, is_monotonic: bool
    ) -> dict[int, list[CostPoint]]:
        """Assign all points of the streams `to_reassign` again, and replace these streams.

        Args:
            points: all points of these streams, stored and new, that are totals.
            is_monotonic: whether the totals only grow.

        Returns:
            The points of each stream in order of time, by stream start. The newest point of each
            of these streams is not set.
        """
        before = {start: self._streams[start] for start in self.to_reassign & self._streams.keys()}
        streams = assign_streams(
            points, is_monotonic=is_monotonic, lone_point_has_start=self._has_lone_point
        )
        groups = self._separate_near_split(dict(by_stream(streams)))
        for stream_start in before.keys() - groups.keys() - {UNKNOWN_START}:
            del self._streams[stream_start]
        if UNKNOWN_START in before or UNKNOWN_START in groups:
            closed = _newest_closed(UNKNOWN_START, before, groups)
            self.update(UNKNOWN_START, last=None, closed=closed)
        for stream_start, members in groups.items():
            if stream_start != UNKNOWN_START:
                closed = _newest_closed(stream_start, before, groups)
                self._streams[stream_start] = self._reassigned(
                    stream_start, members, groups, closed
                )
        lone = _lone_starts(point for point, start in streams.items() if start != UNKNOWN_START)
        if lone and self._has_lone_point:
            self.update(UNKNOWN_START, lone_start=lone[0])
        return groups

    @property
    def _has_lone_point(self) -> bool:
        return self._streams[UNKNOWN_START].zero_length_points == 1

    def _separate_near_split(
        self, groups: Mapping[int, list[CostPoint]]
    ) -> dict[int, list[CostPoint]]:
        """Make each start a stream of its own if it is near streams that are split.

        Args:
            groups: the points of each stream in order of time, by stream start.
        """
        split = sorted(start for start, stream in self._streams.items() if stream.is_split)
        separated: dict[int, list[CostPoint]] = {}
        for stream_start, points in groups.items():
            starts = {point.start_time_unix_nano for point in points}
            begin = min(starts) - NEAR_STARTS_NANOSECONDS
            end = max(starts) + NEAR_STARTS_NANOSECONDS
            following = bisect_right(split, begin)
            is_near_split = following < len(split) and split[following] < end
            for point in points:
                start = stream_start
                if is_near_split and stream_start != UNKNOWN_START:
                    start = point.start_time_unix_nano
                separated.setdefault(start, []).append(point)
        return separated

    def _reassigned(
        self,
        stream_start: int,
        points: Sequence[CostPoint],
        groups: Collection[int],
        closed: CostPoint | None,
    ) -> CostStream:
        """A stream with a known start after `reassign`, without its newest point.

        Args:
            stream_start: names it.
            points: all of its points in order of time.
            groups: the starts of the streams that were assigned again.
            closed: its closing point.
        """
        starts = [point.start_time_unix_nano for point in points]
        others = {*groups, *self._near(stream_start)} - {stream_start, UNKNOWN_START}
        return CostStream(
            self.series_id,
            stream_start,
            earliest_start=min(starts),
            latest_start=max(starts),
            has_fall=any(is_fall(*pair) for pair in pairwise(points)),
            is_split=any(abs(other - stream_start) < NEAR_STARTS_NANOSECONDS for other in others),
            closed=closed,
        )


def _lone_starts(points: Iterable[CostPoint]) -> list[int]:
    """The starts of the zero-length points whose start no other point has, in order."""
    zero_length: set[int] = set()
    others: set[int] = set()
    for point in points:
        (zero_length if is_zero_length(point) else others).add(point.start_time_unix_nano)
    return sorted(zero_length - others)


def _newest_closed(
    stream_start: int, before: Mapping[int, CostStream], groups: Collection[int]
) -> CostPoint | None:
    """The closing point of a stream after `reassign`.

    Args:
        stream_start: names the stream.
        before: the streams that were assigned again, as they were.
        groups: the starts of the streams that took their place.
    """
    found = [
        stream.closed
        for stream in before.values()
        if stream.closed is not None
        and stream_start == _stream_of_closing_point(stream.closed, stream.stream_start, groups)
    ]
    return max(found, default=None)


def _stream_of_closing_point(closed: CostPoint, stream_start: int, groups: Collection[int]) -> int:
    """The stream of a closing point after the points of its stream were assigned again."""
    if closed.start_time_unix_nano in groups:
        return closed.start_time_unix_nano
    if stream_start == UNKNOWN_START or stream_start in groups:
        return stream_start
    # The points with its start were deleted too, so its total goes on in the nearest stream.
    known = [start for start in groups if start != UNKNOWN_START]
    return min(known, key=lambda start: abs(start - stream_start), default=UNKNOWN_START)
