"""What the calculation of costs reads from a store, and what it changes there.

Times and starts are in nanoseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from exporter.model import CostEntry, CostPoint, CostStream, CostUpdate, StoredCost


class StoredEntries(Protocol):
    """Reads stored cost entries, as they were before the changes of the open transaction.

    An entry belongs to a stream of the series that it was derived from. `stream_start` names the
    stream; it is `UNKNOWN_START` for points without a known start.
    """

    def entries_between(
        self, series_id: int, stream_start: int, first_unix_nano: int, last_unix_nano: int
    ) -> Sequence[StoredCost]:
        """The entries of a stream between two times, and the entry on each side, if there is one.

        Args:
            series_id: of the stream.
            stream_start: names the stream.
            first_unix_nano: the first time.
            last_unix_nano: the last time; `END_OF_TIME` if it is known that no entry follows, which
                saves the search for it.

        Returns:
            The entries in order of the time and start of their points.
        """

    def entries_of(self, series_id: int, stream_starts: Collection[int]) -> Sequence[StoredCost]:
        """All entries of these streams in order of the time and start of their points."""

    def quantities(
        self, quantity_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> Sequence[CostPoint]:
        """The points of a quantity between two times, and the two points before the first time.

        Two, because the interval between them says how long the later one holds
        (`entry_calculation.quantity_at`).

        Returns:
            The points in order of time.
        """


class StoredCosts(StoredEntries, Protocol):
    """Reads stored cost entries and streams."""

    def streams_near(self, series_id: int, start_unix_nano: int) -> Sequence[CostStream]:
        """The streams of a series with a start less than `NEAR_STARTS_NANOSECONDS` from this one.

        Never the stream `UNKNOWN_START`.
        """


@dataclass(slots=True)
class CostChanges:
    """What a transaction changes in a store.

    Attributes:
        entries: entries to insert; one replaces a stored entry with its id and time.
        updates: new amounts of stored entries.
        streams: streams to insert or replace.
        removed_streams: series id and stream start of streams to delete, whose points have joined
            other streams.
        conflicting: see `CostCounts`.
        at_start: see `CostCounts`.
    """

    entries: list[CostEntry] = field(default_factory=list)
    updates: list[CostUpdate] = field(default_factory=list)
    streams: list[CostStream] = field(default_factory=list)
    removed_streams: list[tuple[int, int]] = field(default_factory=list)
    conflicting: int = 0
    at_start: int = 0
