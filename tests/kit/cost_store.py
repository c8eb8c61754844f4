"""Cost entries and streams in dicts, for tests of the calculation without a database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from exporter.backends.costs import write_derived_costs
from exporter.costs.streams import (
    UNKNOWN_START,
    is_near,
)
from exporter.model import CostEntry, CostPoint, CostSample, CostStream, CostUpdate, StoredCost


class CostStore:
    """Implements `exporter.backends.costs.CostTables`."""

    def __init__(self) -> None:
        self.entries: dict[tuple[int, str], CostEntry] = {}
        self.streams: dict[tuple[int, int], CostStream] = {}
        self.conflicts = 0

    def write(self, samples: Iterable[CostSample]) -> None:
        """Store samples as one transaction does."""
        self.conflicts += write_derived_costs(self, (), tuple(samples)).conflicting

    def delete_before(self, time_unix_nano: int) -> None:
        """Delete older entries, and close their streams."""
        for key, entry in sorted(self.entries.items()):
            source = entry.derived_from
            if key[0] < time_unix_nano and source is not None:
                stream = self.streams[source.series_id, source.stream_start]
                closed = max(filter(None, (stream.closed, source.point)))
                self.store_streams([stream._replace(closed=closed)])
                del self.entries[key]

    @property
    def total(self) -> Decimal:
        """The sum of all amounts."""
        return sum((entry.amount for entry in self.entries.values()), Decimal(0))

    def insert_entries(self, costs: Iterable[CostEntry]) -> None:
        self.entries |= {(entry.time_unix_nano, entry.entry_id): entry for entry in costs}

    def update_entries(self, updates: Sequence[CostUpdate]) -> None:
        for update in updates:
            key = (update.stored.timestamp_unix_nano, update.stored.entry_id)
            entry = self.entries[key]
            assert entry.derived_from is not None
            self.entries[key] = replace(
                entry,
                amount=update.amount,
                period_start_unix_nano=update.period_start_unix_nano,
                derived_from=replace(entry.derived_from, stream_start=update.stream_start),
            )

    def lock_series(self, series_ids: Collection[int]) -> list[CostStream]:
        keys = [(series_id, UNKNOWN_START) for series_id in series_ids]
        return [self.streams[key] for key in keys if key in self.streams]

    def streams_near(self, starts: Collection[tuple[int, int]]) -> list[CostStream]:
        return [
            stream
            for (owner, label), stream in self.streams.items()
            if label
            and any(series_id == owner and is_near(stream, start) for series_id, start in starts)
        ]

    def rates_of_quantities(self, quantity_ids: Collection[int]) -> list[int]:
        return [
            one.series_id for one in self.streams.values() if one.quantity_id in set(quantity_ids)
        ]

    def store_streams(self, streams: Sequence[CostStream]) -> None:
        self.streams |= {(one.series_id, one.stream_start): one for one in streams}

    def delete_streams(self, keys: Sequence[tuple[int, int]]) -> None:
        for key in keys:
            del self.streams[key]

    def entries_between(
        self, series_id: int, stream_start: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[StoredCost]:
        ordered = self.entries_of(series_id, [stream_start])
        times = [one.source.point.time_unix_nano for one in ordered]
        first = max((time for time in times if time < first_unix_nano), default=first_unix_nano)
        last = min((time for time in times if time > last_unix_nano), default=last_unix_nano)
        return [one for one in ordered if first <= one.source.point.time_unix_nano <= last]

    def entries_of(self, series_id: int, stream_starts: Collection[int]) -> list[StoredCost]:
        found = [
            StoredCost(*key, entry.derived_from)
            for key, entry in self.entries.items()
            if entry.derived_from is not None
            and entry.derived_from.series_id == series_id
            and entry.derived_from.stream_start in stream_starts
        ]
        return sorted(found, key=lambda one: one.source.point[:2])

    def quantities(
        self, quantity_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[CostPoint]:
        points = [one.source.point for one in self.entries_of(quantity_id, [UNKNOWN_START])]
        before = [point for point in points if point.time_unix_nano < first_unix_nano]
        begin = before[-2:][0].time_unix_nano if before else first_unix_nano
        return [point for point in points if begin <= point.time_unix_nano <= last_unix_nano]
