"""How new points change the stored entries of one series. Its only I/O is reading stored entries.

A late point changes its own entry and the one after it. If points belong to other streams than
before, all entries of these streams are computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from exporter.costs.cost_changes import CostChanges, StoredCosts
from exporter.costs.entry_calculation import cost_of, derived_entry, distinct_points
from exporter.costs.series_streams import SeriesStreams
from exporter.costs.streams import END_OF_TIME, UNKNOWN_START, is_fall, is_zero_length
from exporter.model import CostBasis, CostPoint, CostSample, CostStream, CostUpdate, StoredCost


class _StreamPoint(NamedTuple):
    """A point of a stream.

    Attributes:
        point: the point.
        basis: how its amount is computed.
        stored: the stored entry of its series, start and time; None for a new point.
        is_changed: whether the entry must be computed; otherwise only if the point before changed.
    """

    point: CostPoint
    basis: CostBasis
    stored: StoredCost | None
    is_changed: bool

    @property
    def is_replaced(self) -> bool:
        """Whether the stored point has another value."""
        return self.stored is not None and self.stored.source.point != self.point


class SeriesCosts:
    """Adds samples to one series.

    Args:
        unknown: the stream `UNKNOWN_START` of the series.
        stored: the costs that are stored.
        changes: where the changes are added.
    """

    def __init__(self, unknown: CostStream, stored: StoredCosts, changes: CostChanges) -> None:
        self._series_id = unknown.series_id
        self._streams = SeriesStreams(unknown, stored)
        self._stored = stored
        self._changes = changes
        # Times and starts of stored points that came with another value.
        self._conflicts: set[tuple[int, int]] = set()

    def add(
        self, samples: Sequence[CostSample], recalculated: tuple[int, int] | None = None
    ) -> None:
        """Add all samples of a transaction. To be called once.

        Args:
            samples: of this series, in any order.
            recalculated: the first and last time, in nanoseconds, of stored entries of an hourly
                rate that are computed again.

        Raises:
            RowRefusedError: an amount cannot be computed or stored.
        """
        points, conflicts = distinct_points(samples)
        self._changes.conflicting += conflicts
        streams = self._streams
        for point in sorted(points):
            streams.add(point, points[point])
        new_points = dict(streams.new_points)
        if recalculated is not None:
            new_points.setdefault(UNKNOWN_START, {})
        streams.reassign_near_lone_point()
        extended = [
            (stream_start, *self._extend(stream_start, points_of_stream, recalculated))
            for stream_start, points_of_stream in new_points.items()
            if stream_start not in streams.to_reassign
        ]
        # Points of one stream can show that another one must be assigned again.
        for stream_start, previous, merged in extended:
            if stream_start not in streams.to_reassign:
                self._compute(stream_start, previous, merged)
        if streams.to_reassign:
            self._reassign()
        self._changes.conflicting += len(self._conflicts)
        self._changes.streams += streams.changed()
        self._changes.removed_streams += [(self._series_id, start) for start in streams.removed()]

    def _extend(
        self,
        stream_start: int,
        new_points: Mapping[CostPoint, CostBasis],
        recalculated: tuple[int, int] | None,
    ) -> tuple[CostPoint | None, list[_StreamPoint]]:
        """Add points to one stream, or find out that its points must be assigned again.

        Returns:
            The point before the first one, if it is known without reading entries; and the new
            points with their stored neighbours in order of time.
        """
        stream = self._streams[stream_start]
        times = [point.time_unix_nano for point in new_points]
        times += recalculated or ()
        first, last = min(times), max(times)
        previous, known = stream.last, {}
        # Points that are newer than the last one need no look-up, which is the usual case.
        if stream.last is not None and first <= stream.last.time_unix_nano:
            if last >= stream.last.time_unix_nano:
                last = END_OF_TIME  # no entry follows
            entries = self._stored.entries_between(self._series_id, stream_start, first, last)
            previous, known = None, _by_key(entries)
        points = self._merge(new_points, known, recalculated)
        if self._is_several_totals(stream, previous, points):
            self._streams.to_reassign.add(stream_start)
        elif stream.is_split and any(one.is_replaced for one in points):
            self._streams.reconsider_split(stream_start)
        return previous, points

    def _merge(
        self,
        new_points: Mapping[CostPoint, CostBasis],
        known: dict[tuple[int, int], StoredCost],
        recalculated: tuple[int, int] | None,
    ) -> list[_StreamPoint]:
        """New and stored points in order of time; of two with one start and time the larger.

        Args:
            new_points: with their bases.
            known: stored entries by the time and start of their points.
            recalculated: see `add`.
        """
        merged: list[_StreamPoint] = []
        basis: CostBasis | None = None
        for point, basis in new_points.items():
            entry = known.get(point[:2])
            if entry is not None:
                if entry.source.point.value != point.value:
                    self._conflicts.add(point[:2])
                if entry.source.point.value >= point.value:
                    continue
                del known[point[:2]]
            merged.append(_StreamPoint(point, basis, entry, is_changed=True))
        begin, end = recalculated or (1, 0)
        for entry in known.values():
            # Entries of a store of version 0.1.0 have no basis; they get that of a new point.
            stored_basis = entry.source.basis or basis
            if stored_basis is not None:
                point = entry.source.point
                is_recalculated = begin <= point.time_unix_nano <= end
                merged.append(_StreamPoint(point, stored_basis, entry, is_recalculated))
        return sorted(merged, key=lambda one: one.point[:2])

    def _is_several_totals(
        self, stream: CostStream, previous: CostPoint | None, points: Sequence[_StreamPoint]
    ) -> bool:
        """Whether the near starts of a stream turn out to be several totals, which fall together.

        Records a fall of the stream.
        """
        if stream.stream_start == UNKNOWN_START or stream.is_split:
            return False
        totals = [one.point for one in points if one.basis.is_monotonic]
        if previous is not None and totals:
            totals.insert(0, previous)
        has_fall = stream.has_fall or any(is_fall(*pair) for pair in pairwise(totals))
        self._streams.update(stream.stream_start, has_fall=has_fall)
        return has_fall and stream.earliest_start != stream.latest_start

    def _compute(
        self, stream_start: int, previous: CostPoint | None, points: Sequence[_StreamPoint]
    ) -> None:
        """Compute the entries of changed points and of the points after them.

        Args:
            stream_start: names the stream.
            previous: the point before the first one; None if there is none.
            points: without a gap, in order of time.
        """
        stream = self._streams[stream_start]
        newest = stream.last
        closed_until = stream.closed.time_unix_nano if stream.closed is not None else 0
        quantities = self._quantities(points)
        follows_change = False
        for one in points:
            point = one.point
            if previous is None or previous.time_unix_nano < closed_until:
                previous = stream.closed
            if point.time_unix_nano <= closed_until:
                # A deleted entry has counted the cost of this time.
                if one.stored is None:
                    self._change_entry(one, stream_start, (Decimal(0), 0))
                follows_change = False
            else:
                if one.is_changed or follows_change:
                    available = quantities.get(one.basis.quantity_id, ())
                    cost = cost_of(one.basis, stream_start, previous, point, available)
                    self._change_entry(one, stream_start, cost)
                follows_change = one.is_changed
                previous = point
            if newest is None or point[:2] >= newest[:2]:
                newest = point
        self._streams.update(stream_start, last=newest)

    def _change_entry(
        self, stream_point: _StreamPoint, stream_start: int, cost: tuple[Decimal, int]
    ) -> None:
        """Store an entry, or the new amount of a stored one; `cost` is that of `cost_of`."""
        point, basis, stored, _ = stream_point
        if stored is not None and stored.source.point == point:
            self._changes.updates.append(CostUpdate(stored, stream_start, *cost))
            return
        entry = derived_entry(self._series_id, stream_start, point, basis, cost)
        if basis.kind == "cumulative" and is_zero_length(point):
            self._changes.at_start += 1
        if stored is not None:
            # Entries of a store of version 0.1.0 have another key for the same point.
            entry = replace(
                entry, entry_id=stored.entry_id, time_unix_nano=stored.timestamp_unix_nano
            )
        self._changes.entries.append(entry)

    def _quantities(self, points: Sequence[_StreamPoint]) -> dict[int | None, Sequence[CostPoint]]:
        """The points of the quantities that the rates need, by the id of the quantity."""
        ids = {one.basis.quantity_id for one in points if one.basis.quantity_id is not None}
        if not ids:
            return {}
        first, last = points[0].point.time_unix_nano, points[-1].point.time_unix_nano
        return {one: self._stored.quantities(one, first, last) for one in ids}

    def _reassign(self) -> None:
        """Assign the points of some streams again, and compute all of their entries."""
        streams = self._streams
        new_points: dict[CostPoint, CostBasis] = {}
        for stream_start in streams.to_reassign:
            new_points |= streams.new_points.get(stream_start, {})
        entries = self._stored.entries_of(self._series_id, streams.to_reassign)
        merged = self._merge(new_points, _by_key(entries), None)
        totals = {one.point: one for one in merged if one.basis.kind == "cumulative"}
        groups = streams.reassign(
            totals, is_monotonic=all(one.basis.is_monotonic for one in totals.values())
        )
        for stream_start, points in groups.items():
            changed = [totals[point]._replace(is_changed=True) for point in points]
            self._compute(stream_start, None, changed)


def _by_key(entries: Sequence[StoredCost]) -> dict[tuple[int, int], StoredCost]:
    """Stored entries by the time and start of their points."""
    return {entry.source.point[:2]: entry for entry in entries}
