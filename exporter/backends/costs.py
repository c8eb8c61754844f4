"""The order of the steps by which a transaction stores costs; the same for SQLite and PostgreSQL.

Runs no SQL. Each backend passes the operations on its two cost tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from exporter.costs.cost_changes import StoredEntries
from exporter.costs.entry_calculation import sample_point
from exporter.costs.new_samples import add_samples
from exporter.costs.streams import END_OF_TIME, UNKNOWN_START, StreamIndex, merge_streams
from exporter.model import (
    CostCounts,
    CostEntry,
    CostSample,
    CostStream,
    CostUpdate,
)


class CostTables(StoredEntries, Protocol):
    """cost_entries and cost_streams of one backend, inside one open transaction."""

    def insert_entries(self, costs: Iterable[CostEntry]) -> None:
        """Store entries; those that were derived from points replace stored ones.

        Raises:
            RowRefusedError: an amount cannot be kept.
        """

    def update_entries(self, updates: Sequence[CostUpdate]) -> None:
        """Store the new amounts of entries.

        Raises:
            RowRefusedError: an amount cannot be kept.
        """

    def lock_series(self, series_ids: Collection[int]) -> Iterable[CostStream]:
        """Lock series, so that no other transaction changes their streams before this one ends.

        Returns:
            The stored streams `UNKNOWN_START` of these series, in any order. A backend that locks
            rows creates those that are missing; others leave them out.
        """

    def streams_near(self, starts: Collection[tuple[int, int]]) -> Iterable[CostStream]:
        """The streams that may have a start near one of these, and perhaps others.

        Those whose `stream_start` is near, and the next one below and above: the starts of a stream
        may reach far from its name.

        Args:
            starts: series ids and start times in nanoseconds.

        Returns:
            The streams in any order, without those of `UNKNOWN_START`.
        """

    def rates_of_quantities(self, quantity_ids: Collection[int]) -> Collection[int]:
        """The ids of the series whose hourly rate is multiplied by one of these quantities."""

    def store_streams(self, streams: Sequence[CostStream]) -> None:
        """Insert or replace streams, whose series `lock_series` has locked."""

    def delete_streams(self, keys: Sequence[tuple[int, int]]) -> None:
        """Delete streams by series id and stream start in nanoseconds."""


class _PrefetchedStreams:
    """`StoredCosts` that reads the streams near all samples with one statement."""

    def __init__(self, tables: CostTables, samples: Iterable[CostSample]) -> None:
        self.entries_between = tables.entries_between
        self.entries_of = tables.entries_of
        self.quantities = tables.quantities
        self._tables = tables
        self._streams: dict[int, StreamIndex] = {}
        starts = {
            (sample.series_id, sample_point(sample).start_time_unix_nano)
            for sample in samples
            if sample.basis.kind == "cumulative" and sample.basis.has_known_starts
        }
        self._fetched: set[tuple[int, int]] = set()
        self._fetch({pair for pair in starts if pair[1] != UNKNOWN_START})

    def streams_near(self, series_id: int, start_unix_nano: int) -> list[CostStream]:
        """See `StoredCosts.streams_near`."""
        if (series_id, start_unix_nano) not in self._fetched:
            self._fetch({(series_id, start_unix_nano)})
        streams = self._streams.get(series_id)
        return [] if streams is None else streams.near(start_unix_nano)

    def _fetch(self, starts: set[tuple[int, int]]) -> None:
        self._fetched |= starts
        if starts:
            for stream in self._tables.streams_near(starts):
                streams = self._streams.setdefault(stream.series_id, StreamIndex())
                streams[stream.stream_start] = stream


def write_derived_costs(
    tables: CostTables, streams: Sequence[CostStream], samples: Sequence[CostSample]
) -> CostCounts:
    """Merge streams of another store into the stored ones, then store the entries of samples.

    Raises:
        RowRefusedError: an amount cannot be kept.
    """
    if streams:
        _merge_streams(tables, streams)
    counts: list[CostCounts] = []
    recalculated: dict[int, tuple[int, int]] = {}
    quantities = [sample for sample in samples if sample.basis.kind == "quantity"]
    costs = [sample for sample in samples if sample.basis.kind != "quantity"]
    # Every transaction locks quantities before other series, so that two receivers cannot deadlock.
    quantity_ids = {sample.series_id for sample in quantities}
    quantity_ids |= {one.basis.quantity_id for one in costs if one.basis.quantity_id is not None}
    unknown_streams = _lock(tables, quantity_ids)
    if quantities:
        counts.append(_store(tables, quantities, unknown_streams, {}))
        recalculated = _rates_of_changed_quantities(tables, quantities, unknown_streams)
    if costs or recalculated:
        series_ids = {sample.series_id for sample in costs} | recalculated.keys()
        counts.append(_store(tables, costs, _lock(tables, series_ids), recalculated))
    return CostCounts(*map(sum, zip(*counts, strict=True)))


def _lock(tables: CostTables, series_ids: Collection[int]) -> dict[int, CostStream]:
    """Lock series; their stored streams `UNKNOWN_START` by series id."""
    locked = tables.lock_series(series_ids) if series_ids else ()
    return {stream.series_id: stream for stream in locked}


def _store(
    tables: CostTables,
    samples: Sequence[CostSample],
    unknown_streams: Mapping[int, CostStream],
    recalculated: Mapping[int, tuple[int, int]],
) -> CostCounts:
    """Store what `add_samples` says; the arguments are those of `add_samples`."""
    stored = _PrefetchedStreams(tables, samples)
    changes = add_samples(samples, unknown_streams, stored, recalculated)
    tables.insert_entries(changes.entries)
    tables.update_entries(changes.updates)
    tables.delete_streams(changes.removed_streams)
    tables.store_streams(changes.streams)
    return CostCounts(changes.conflicting, changes.at_start)


def _rates_of_changed_quantities(
    tables: CostTables, samples: Sequence[CostSample], unknown_streams: Mapping[int, CostStream]
) -> dict[int, tuple[int, int]]:
    """The hourly rates to compute again: by series id the first and last time in nanoseconds.

    Args:
        tables: where the samples are stored.
        samples: of quantities.
        unknown_streams: the streams of the quantities before the samples, by series id.
    """
    times: dict[int, list[int]] = {}
    for sample in samples:
        times.setdefault(sample.series_id, []).append(sample.time_unix_nano)
    recalculated: dict[int, tuple[int, int]] = {}
    for quantity_id, quantity_times in times.items():
        rates = tables.rates_of_quantities([quantity_id])
        if not rates:
            continue
        begin, end = min(quantity_times), max(quantity_times)
        before = unknown_streams.get(quantity_id)
        newest = before.last if before is not None else None
        if newest is None or newest.time_unix_nano <= end:
            end = END_OF_TIME
        else:
            # A new size changes the rates up to the next size. It also changes how long that next
            # size holds, so the rates up to the size after the next are computed again too.
            for _ in range(2):
                following = tables.entries_between(quantity_id, UNKNOWN_START, end, end)
                time = following[-1].source.point.time_unix_nano
                end = time if time > end else END_OF_TIME
        for series_id in rates:
            first, last = recalculated.get(series_id, (begin, end))
            recalculated[series_id] = (min(first, begin), max(last, end))
    return recalculated


def _merge_streams(tables: CostTables, streams: Sequence[CostStream]) -> None:
    """Merge the streams of another store into the stored ones."""
    found = [*tables.lock_series({stream.series_id for stream in streams})]
    starts = [stream[:2] for stream in streams if stream.stream_start != UNKNOWN_START]
    if starts:
        found += tables.streams_near(starts)
    stored = {stream[:2]: stream for stream in found}
    for stream in streams:
        stored[stream[:2]] = merge_streams(stored.get(stream[:2], stream), stream)
    tables.store_streams([stored[stream[:2]] for stream in streams])
