"""The streams of entries that an export has restored, so that their counters go on. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from exporter.costs.streams import (
    NEAR_STARTS_NANOSECONDS,
    UNKNOWN_START,
    is_fall,
    is_zero_length,
)
from exporter.model import CostBasis, CostEntry, CostPoint, CostStream

StreamKey = tuple[int, int]
"""A series id and the start that names a stream."""


@dataclass(slots=True)
class _Found:
    """What the restored entries say about one stream.

    Attributes:
        oldest: its oldest point.
        newest: its newest point.
        basis: of the newest entry, None for entries of a store of version 0.1.0.
        earliest_start: of its points.
        latest_start: of its points.
        has_fall: whether its total fell from one entry to the next.
        zero_length_points: how many points have their own time as start.
    """

    oldest: CostPoint
    newest: CostPoint
    basis: CostBasis | None
    earliest_start: int
    latest_start: int
    has_fall: bool = False
    zero_length_points: int = 0


@dataclass(slots=True)
class RestoredStreams:
    """Collects the streams of restored entries; it needs memory for each stream, not for each row.

    Attributes:
        found: what is known of each stream.
    """

    found: dict[StreamKey, _Found] = field(default_factory=dict)

    def add(self, entry: CostEntry) -> None:
        """Add an entry; one that was not derived from a point changes nothing."""
        source = entry.derived_from
        if source is None:
            return
        point, key = source.point, (source.series_id, source.stream_start)
        start = point.start_time_unix_nano
        stream = self.found.get(key)
        if stream is None:
            stream = self.found[key] = _Found(point, point, source.basis, start, start)
        stream.earliest_start = min(stream.earliest_start, start)
        stream.latest_start = max(stream.latest_start, start)
        stream.zero_length_points += is_zero_length(point)
        stream.oldest = min(stream.oldest, point)
        if point > stream.newest:
            can_fall = source.basis is not None and not source.basis.is_monotonic
            stream.has_fall = stream.has_fall or (not can_fall and is_fall(stream.newest, point))
            stream.newest, stream.basis = point, source.basis

    def series_ids(self) -> list[int]:
        """The series of the streams."""
        return sorted({series_id for series_id, _ in self.found})

    def streams(
        self, series_ids: Collection[int], stored: Collection[StreamKey]
    ) -> Iterator[CostStream]:
        """The streams of some series.

        A stream that is not stored yet begins with its oldest restored point: what came before may
        not have been exported, and a point that comes late from that time would count twice.

        Args:
            series_ids: the series.
            stored: the streams of these series that the store has.
        """
        by_series: dict[int, list[int]] = {series_id: [] for series_id in series_ids}
        for series_id, stream_start in self.found:
            if series_id in by_series:
                by_series[series_id].append(stream_start)
        for series_id, starts in by_series.items():
            known = sorted(start for start in starts if start != UNKNOWN_START)
            split = {
                start
                for pair in pairwise(known)
                if pair[1] - pair[0] < NEAR_STARTS_NANOSECONDS
                for start in pair
            }
            yield self._head(series_id, known, stored)
            for start in known:
                stream = self.found[series_id, start]
                yield CostStream(
                    series_id,
                    start,
                    earliest_start=stream.earliest_start,
                    latest_start=stream.latest_start,
                    has_fall=stream.has_fall,
                    is_split=start in split,
                    last=stream.newest,
                    closed=_closing_point(stream, (series_id, start), stored),
                )

    def _head(self, series_id: int, known: list[int], stored: Collection[StreamKey]) -> CostStream:
        """The stream without a start, which also has what is known of the series."""
        lone = [start for start in known if is_zero_length(self.found[series_id, start].newest)]
        key = (series_id, UNKNOWN_START)
        stream = self.found.get(key)
        newest = stream or max((self.found[series_id, start] for start in known), key=_newest)
        return CostStream(
            series_id,
            UNKNOWN_START,
            last=None if stream is None else stream.newest,
            closed=None if stream is None else _closing_point(stream, key, stored),
            zero_length_points=(0 if stream is None else stream.zero_length_points) + len(lone),
            lone_start=lone[0] if lone and stream is None else 0,
            quantity_id=None if newest.basis is None else newest.basis.quantity_id,
        )


def _newest(stream: _Found) -> CostPoint:
    return stream.newest


def _closing_point(
    stream: _Found, key: StreamKey, stored: Collection[StreamKey]
) -> CostPoint | None:
    # No point of the stream is earlier than its start.
    if is_zero_length(stream.oldest):
        return None
    # An amount of its own does not depend on earlier points, so it may come late.
    if key in stored or (stream.basis is not None and stream.basis.kind == "amount"):
        return None
    return stream.oldest
