"""How new points change the stored streams and entries of one series. Pure, but for what it asks.

A late point needs its neighbours. A few points show that other points belong to another stream than
was thought; then the streams concerned are computed again from all of their entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from exporter.costs.cost_changes import CostChanges, StoredCosts
from exporter.costs.entry_calculation import cost_of, derived_entry, distinct_points
from exporter.costs.streams import (
    END_OF_TIME,
    NEAR_STARTS_NANOSECONDS,
    UNKNOWN_START,
    assign_streams,
    by_stream,
    is_fall,
    is_near,
    is_zero_length,
)
from exporter.model import CostBasis, CostPoint, CostSample, CostStream, CostUpdate, StoredCost


class _Item(NamedTuple):
    """A point of a stream with its basis, and its entry if it is stored."""

    point: CostPoint
    basis: CostBasis
    stored: StoredCost | None
    is_changed: bool


class SeriesCosts:
    """The streams of one series while its samples are added."""

    def __init__(self, head: CostStream, stored: StoredCosts, changes: CostChanges) -> None:
        self._series_id = head.series_id
        self._stored = stored
        self._changes = changes
        self._streams: dict[int, CostStream] = {UNKNOWN_START: head}
        self._before: dict[int, CostStream | None] = {UNKNOWN_START: head}
        # Streams whose points may belong to other streams now.
        self._unsettled: set[int] = set()
        self._new_points: dict[int, dict[CostPoint, CostBasis]] = {}
        # The start of a zero-length point that joins the stream UNKNOWN_START, and the starts of
        # those that leave it, until `_settle` has moved them.
        self._former_lone_start = 0
        self._claimed: set[int] = set()
        # Times and starts of stored points that came with another value.
        self._conflicts: set[tuple[int, int]] = set()

    def add(self, samples: Sequence[CostSample], touched: tuple[int, int] | None) -> None:
        """Add samples, and compute the entries between two times again."""
        points, conflicts = distinct_points(samples)
        self._changes.conflicting += conflicts
        for point in sorted(points):
            basis = points[point]
            stream_start = self._place(point, basis)
            self._new_points.setdefault(stream_start, {})[point] = basis
            self._set_quantity(basis)
        if touched is not None:
            self._new_points.setdefault(UNKNOWN_START, {})
        if UNKNOWN_START in self._unsettled and self._has_lone_point:
            # The only one that is left counts, and may join the streams near it.
            for start in _lone_starts(self._unsettled_points()):
                self._unsettled.update(self._near(start))
        extended = [
            (stream_start, *self._extended(stream_start, new_points, touched))
            for stream_start, new_points in self._new_points.items()
            if stream_start not in self._unsettled
        ]
        for stream_start, previous, items in extended:
            if stream_start not in self._unsettled:
                self._emit(stream_start, previous, items)
        if self._unsettled:
            self._settle()
        self._changes.conflicting += len(self._conflicts)
        for stream_start, stream in self._streams.items():
            if stream != self._before.get(stream_start):
                self._changes.streams.append(stream)

    def _set_quantity(self, basis: CostBasis) -> None:
        head = self._streams[UNKNOWN_START]
        if basis.quantity_id is not None and head.quantity_id != basis.quantity_id:
            self._streams[UNKNOWN_START] = head._replace(quantity_id=basis.quantity_id)

    def _place(self, point: CostPoint, basis: CostBasis) -> int:
        """The stream of a new point, as far as it is known without reading its entries."""
        if basis.kind != "cumulative" or not point.start_time_unix_nano:
            return UNKNOWN_START
        if is_zero_length(point):
            return self._place_zero_length(point)
        start = point.start_time_unix_nano
        near = self._near(start)
        if start == self._streams[UNKNOWN_START].lone_start:
            self._update(UNKNOWN_START, zero_length_points=0, lone_start=0)
        elif start not in self._streams or start == self._former_lone_start:
            self._claim_zero_length(start, near)
        return self._join(start, near)

    def _join(self, start: int, near: Sequence[int]) -> int:
        """The stream of a start among those with near starts."""
        if start in near and (self._streams[start].is_split or len(near) == 1):
            return start
        is_split = any(self._streams[label].is_split for label in near)
        if is_split or not near:
            if start not in near:
                self._streams[start] = CostStream(
                    self._series_id,
                    start,
                    earliest_start=start,
                    latest_start=start,
                    is_split=is_split,
                )
            # The start may connect streams that are split with some that are not.
            self._unsettled.update(label for label in near if not self._streams[label].is_split)
            return start
        label = min(near)
        stream = self._streams[label]
        self._update(
            label,
            earliest_start=min(start, stream.earliest_start),
            latest_start=max(start, stream.latest_start),
        )
        if len(near) > 1 or stream.has_fall:
            self._unsettled.update(near)
        return label

    def _place_zero_length(self, point: CostPoint) -> int:
        """The stream of a point whose start is its own time."""
        start = point.start_time_unix_nano
        head = self._streams[UNKNOWN_START]
        near = self._near(start)
        if near and (head.lone_start == start or self._is_start_of_later_point(start, near)):
            return self._join(start, near)
        if head.zero_length_points == 0:
            self._update(UNKNOWN_START, zero_length_points=1, lone_start=start)
            return self._join(start, near)
        if self._is_in_unknown(start):
            return UNKNOWN_START
        self._update(UNKNOWN_START, zero_length_points=head.zero_length_points + 1, lone_start=0)
        if head.lone_start:
            self._former_lone_start = head.lone_start
            # Two such points: the sender repeats the time as start, so the first one is no start.
            self._unsettled.update([UNKNOWN_START, *self._near(head.lone_start)])
            self._reconsider_split(head.lone_start)
        return UNKNOWN_START

    def _reconsider_split(self, start: int) -> None:
        """Decide again whether near starts are streams of their own.

        A point that showed it has left them, or has another value now.
        """
        connected: set[int] = set()
        starts = [start]
        while starts:
            near = set(self._near(starts.pop())) - connected
            connected |= near
            starts += near
        if any(self._streams[label].closed is not None for label in connected):
            return  # the points that show it may be deleted
        for label in connected:
            self._update(label, is_split=False)
        self._unsettled |= connected

    def _claim_zero_length(self, start: int, near: Iterable[int]) -> None:
        """Take the first point of a stream out of those with an unknown start."""
        head = self._streams[UNKNOWN_START]
        if head.lone_start or not head.zero_length_points or start in self._claimed:
            return
        if not self._is_in_unknown(start):
            return
        self._claimed.add(start)
        self._update(UNKNOWN_START, zero_length_points=head.zero_length_points - 1)
        self._unsettled.update([UNKNOWN_START, start, *near])

    def _is_in_unknown(self, start: int) -> bool:
        """Whether a point with this start and time is among those with an unknown start."""
        wanted = (start, start)
        if start == self._former_lone_start:
            return True
        if any(point[:2] == wanted for point in self._new_points.get(UNKNOWN_START, ())):
            return True
        found = self._stored.entries_between(self._series_id, UNKNOWN_START, start, start)
        return any(one.source.point[:2] == wanted for one in found)

    def _is_start_of_later_point(self, start: int, near: Iterable[int]) -> bool:
        found = self._stored.entries_of(self._series_id, list(near))
        return any(one.source.point.start_time_unix_nano == start for one in found)

    def _near(self, start: int) -> list[int]:
        """The streams with a start near this one, read if they are not known yet."""
        for stream in self._stored.streams_near(self._series_id, start):
            if stream.stream_start not in self._before:
                self._before[stream.stream_start] = stream
                self._streams[stream.stream_start] = stream
        return [
            label
            for label, stream in self._streams.items()
            if label != UNKNOWN_START and is_near(stream, start)
        ]

    def _update(self, stream_start: int, **changes: Any) -> None:
        self._streams[stream_start] = self._streams[stream_start]._replace(**changes)

    def _extended(
        self,
        stream_start: int,
        new_points: Mapping[CostPoint, CostBasis],
        touched: tuple[int, int] | None,
    ) -> tuple[CostPoint | None, list[_Item]]:
        """New points of one stream with their stored neighbours in order of time.

        Returns:
            The point before them, if it is not one of them; and the points.
        """
        stream = self._streams[stream_start]
        times = [point.time_unix_nano for point in new_points]
        first, last = min(times, default=0), max(times, default=0)
        if touched is not None:
            first = min(first, touched[0]) if times else touched[0]
            last = max(last, touched[1])
        previous, known = stream.last, {}
        # Points that are newer than the last one need no look-up, which is the usual case.
        if stream.last is not None and first <= stream.last.time_unix_nano:
            if last >= stream.last.time_unix_nano:
                last = END_OF_TIME  # no entry follows
            found = self._stored.entries_between(self._series_id, stream_start, first, last)
            previous, known = None, {one.source.point[:2]: one for one in found}
        items = self._merge(new_points, known, touched)
        if self._shows_two_totals(stream, previous, items):
            self._unsettled.add(stream_start)
        elif stream.is_split and any(_is_replaced(item) for item in items):
            self._reconsider_split(stream_start)
        return previous, items

    def _merge(
        self,
        new_points: Mapping[CostPoint, CostBasis],
        known: dict[tuple[int, int], StoredCost],
        touched: tuple[int, int] | None,
    ) -> list[_Item]:
        """New and stored points in order of time."""
        items: list[_Item] = []
        basis: CostBasis | None = None
        for point, basis in new_points.items():
            one = known.pop(point[:2], None)
            if one is None:
                items.append(_Item(point, basis, None, is_changed=True))
                continue
            if one.source.point.value != point.value:
                self._conflicts.add(point[:2])
            if one.source.point.value < point.value:
                items.append(_Item(point, basis, one, is_changed=True))
            else:
                known[point[:2]] = one
        begin, end = touched or (1, 0)
        for one in known.values():
            # Entries of a store of version 0.1.0 have no basis; that of a new point must do.
            stored_basis = one.source.basis or basis
            if stored_basis is not None:
                is_touched = begin <= one.source.point.time_unix_nano <= end
                items.append(_Item(one.source.point, stored_basis, one, is_touched))
        return sorted(items, key=lambda item: item.point[:2])

    def _shows_two_totals(
        self, stream: CostStream, previous: CostPoint | None, items: Sequence[_Item]
    ) -> bool:
        """Whether points with near starts turn out to be several totals; notes every fall."""
        if stream.stream_start == UNKNOWN_START or stream.is_split:
            return False
        points = [item.point for item in items if item.basis.is_monotonic]
        if previous is not None and points:
            points.insert(0, previous)
        if not stream.has_fall and any(is_fall(*pair) for pair in pairwise(points)):
            self._update(stream.stream_start, has_fall=True)
        stream = self._streams[stream.stream_start]
        return stream.has_fall and stream.earliest_start != stream.latest_start

    def _emit(self, stream_start: int, previous: CostPoint | None, items: Sequence[_Item]) -> None:
        """Compute the entries of changed points and of those after them."""
        stream = self._streams[stream_start]
        closed, newest = stream.closed, stream.last
        quantities = self._quantities(items)
        follows_change = False
        for item in items:
            point = item.point
            if closed is not None and (previous is None or previous[0] < closed[0]):
                previous = closed
            if closed is not None and point[0] <= closed[0]:
                # Retention has closed the books up to here: the cost of this time was counted.
                if item.stored is None:
                    self._write(item, stream_start, (Decimal(0), 0))
                follows_change = False
            else:
                if item.is_changed or follows_change:
                    available = quantities.get(item.basis.quantity_id, ())
                    cost = cost_of(item.basis, stream_start, previous, point, available)
                    self._write(item, stream_start, cost)
                follows_change = item.is_changed
                previous = point
            if newest is None or point[:2] >= newest[:2]:
                newest = point
        self._update(stream_start, last=newest)

    def _write(self, item: _Item, stream_start: int, cost: tuple[Decimal, int]) -> None:
        stored = item.stored
        if stored is not None and stored.source.point == item.point:
            self._changes.updates.append(CostUpdate(stored, stream_start, *cost))
            return
        entry = derived_entry(self._series_id, stream_start, item.point, item.basis, cost)
        if item.basis.kind == "cumulative" and is_zero_length(item.point):
            self._changes.at_start += 1
        if stored is not None:
            # Entries of a store of version 0.1.0 have another key for the same point.
            entry = replace(
                entry, entry_id=stored.entry_id, time_unix_nano=stored.timestamp_unix_nano
            )
        self._changes.entries.append(entry)

    def _quantities(self, items: Sequence[_Item]) -> dict[int | None, Sequence[CostPoint]]:
        ids = {item.basis.quantity_id for item in items if item.basis.quantity_id is not None}
        if not ids:
            return {}
        first, last = items[0].point.time_unix_nano, items[-1].point.time_unix_nano
        return {one: self._stored.quantities(one, first, last) for one in ids}

    @property
    def _has_lone_point(self) -> bool:
        return self._streams[UNKNOWN_START].zero_length_points == 1

    def _unsettled_points(self) -> list[CostPoint]:
        """All points of unsettled streams."""
        stored = self._stored.entries_of(self._series_id, list(self._unsettled))
        new = [point for label in self._unsettled for point in self._new_points.get(label, ())]
        return [one.source.point for one in stored] + new

    def _settle(self) -> None:
        """Compute unsettled streams again from all of their entries."""
        new_points: dict[CostPoint, CostBasis] = {}
        for label in self._unsettled:
            new_points |= self._new_points.get(label, {})
        found = self._stored.entries_of(self._series_id, list(self._unsettled))
        items = self._merge(new_points, {one.source.point[:2]: one for one in found}, None)
        totals = {item.point: item for item in items if item.basis.kind == "cumulative"}
        before = {one: self._streams[one] for one in self._unsettled if one in self._streams}
        streams = assign_streams(
            totals,
            is_monotonic=all(item.basis.is_monotonic for item in totals.values()),
            counts_alone=self._has_lone_point,
        )
        groups = self._separate_near_split(dict(by_stream(streams)))
        for label in before.keys() - groups.keys() - {UNKNOWN_START}:
            del self._streams[label]
            if self._before.get(label) is not None:
                self._changes.removed_streams.append((self._series_id, label))
        self._settle_unknown(before, groups)
        for label, points in groups.items():
            if label != UNKNOWN_START:
                self._streams[label] = self._settled_stream(label, points, before, groups)
            changed = [totals[point]._replace(is_changed=True) for point in points]
            self._emit(label, None, changed)
        lone = _lone_starts(point for point, label in streams.items() if label)
        if lone and self._has_lone_point:
            self._update(UNKNOWN_START, lone_start=lone[0])

    def _separate_near_split(
        self, groups: dict[int, list[CostPoint]]
    ) -> dict[int, list[CostPoint]]:
        """Make each start a stream that is near streams which are split, as these are."""
        split = [label for label, stream in self._streams.items() if stream.is_split]
        separated: dict[int, list[CostPoint]] = {}
        for group, points in groups.items():
            starts = {point.start_time_unix_nano for point in points}
            begin = min(starts) - NEAR_STARTS_NANOSECONDS
            end = max(starts) + NEAR_STARTS_NANOSECONDS
            is_split = group != UNKNOWN_START and any(begin < label < end for label in split)
            for point in points:
                label = point.start_time_unix_nano if is_split else group
                separated.setdefault(label, []).append(point)
        return separated

    def _settle_unknown(
        self, before: Mapping[int, CostStream], groups: Mapping[int, object]
    ) -> None:
        """The stream without a start, if its points were assigned again, without its newest one."""
        if UNKNOWN_START in before or UNKNOWN_START in groups:
            closed = _newest_closed(UNKNOWN_START, before, groups)
            self._update(UNKNOWN_START, last=None, closed=closed)

    def _settled_stream(
        self,
        label: int,
        points: Sequence[CostPoint],
        before: Mapping[int, CostStream],
        groups: Mapping[int, object],
    ) -> CostStream:
        """A stream whose points were assigned again, without its newest point."""
        starts = [point.start_time_unix_nano for point in points]
        return CostStream(
            self._series_id,
            label,
            earliest_start=min(starts),
            latest_start=max(starts),
            has_fall=any(is_fall(*pair) for pair in pairwise(points)),
            is_split=any(
                other not in {label, UNKNOWN_START} and abs(other - label) < NEAR_STARTS_NANOSECONDS
                for other in (*groups, *self._near(label))
            ),
            closed=_newest_closed(label, before, groups),
        )


def _is_replaced(item: _Item) -> bool:
    """Whether a stored point has another value now."""
    return item.stored is not None and item.stored.source.point != item.point


def _lone_starts(points: Iterable[CostPoint]) -> list[int]:
    """The starts of zero-length points that no later point has."""
    all_points = list(points)
    starts = {point.start_time_unix_nano for point in all_points if not is_zero_length(point)}
    zero_length = {point.start_time_unix_nano for point in all_points if is_zero_length(point)}
    return sorted(zero_length - starts)


def _newest_closed(
    label: int, before: Mapping[int, CostStream], groups: Mapping[int, object]
) -> CostPoint | None:
    """The newest deleted point of a stream after points of several were assigned again."""
    found = [
        stream.closed
        for stream in before.values()
        if stream.closed is not None
        and label == _stream_of(stream.closed, stream.stream_start, groups)
    ]
    return max(found, default=None)


def _stream_of(closed: CostPoint, stream_start: int, groups: Mapping[int, object]) -> int:
    """The stream of a deleted point after the points of its stream were assigned again."""
    if closed.start_time_unix_nano in groups:
        return closed.start_time_unix_nano
    if stream_start == UNKNOWN_START or stream_start in groups:
        return stream_start
    # The points with its start were deleted too, so its total goes on in the nearest stream.
    known = [label for label in groups if label != UNKNOWN_START]
    return min(known, key=lambda label: abs(label - stream_start), default=UNKNOWN_START)
