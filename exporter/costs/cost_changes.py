"""What the calculation of costs reads from a store, and what it changes there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from exporter.model import CostEntry, CostPoint, CostStream, CostUpdate, StoredCost


class StoredCosts(Protocol):
    """Reads the stored costs of one transaction."""

    def streams_near(self, series_id: int, start_unix_nano: int) -> Sequence[CostStream]:
        """The streams of a series with a start less than `NEAR_STARTS_NANOSECONDS` from this one.

        Never the stream `UNKNOWN_START`.
        """

    def entries_between(
        self, series_id: int, stream_start: int, first_unix_nano: int, last_unix_nano: int
    ) -> Sequence[StoredCost]:
        """The entries of a stream in order of time.

        From the last one before the first time to the first one after the last time, which is
        `END_OF_TIME` if none follows.
        """

    def entries_of(self, series_id: int, stream_starts: Collection[int]) -> Sequence[StoredCost]:
        """All entries of these streams."""

    def quantities(
        self, quantity_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> Sequence[CostPoint]:
        """The points of a quantity in order of time.

        From the second one before the first time to the last time.
        """


@dataclass(slots=True)
class CostChanges:
    """What a transaction changes.

    Attributes:
        entries: new ones; one replaces a stored entry with its id and time.
        updates: of stored entries.
        streams: new and changed ones.
        removed_streams: series id and stream start of streams whose points joined another one.
        conflicting: see `CostCounts`.
        at_start: see `CostCounts`.
    """

    entries: list[CostEntry] = field(default_factory=list)
    updates: list[CostUpdate] = field(default_factory=list)
    streams: list[CostStream] = field(default_factory=list)
    removed_streams: list[tuple[int, int]] = field(default_factory=list)
    conflicting: int = 0
    at_start: int = 0
