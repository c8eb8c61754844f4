"""Rows of cost_entries and cost_streams from values, and values from rows, for SQL backends.

Runs no SQL. Each backend passes how its database spells a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from exporter.costs.entry_calculation import billing_period, quantize_amount
from exporter.costs.stored_basis import basis_text, parse_basis
from exporter.model import (
    CostEntry,
    CostPoint,
    CostStream,
    CostUpdate,
    SeriesPoint,
    StoredCost,
)
from exporter.tables import COST_STREAMS
from exporter.time_units import NANOSECONDS_PER_MICROSECOND

_Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class CostEncoder:
    """How a database spells the values of a cost.

    Attributes:
        time: a stored time, from nanoseconds since 1970.
        amount: the columns that hold an amount of 18 decimal places.
        text: a text as the database can hold it.
        json: a JSON text as the database can hold it.
    """

    time: Callable[[int], object]
    amount: Callable[[Decimal], _Row]
    text: Callable[[str], str]
    json: Callable[[str], str]

    def entries(self, costs: Iterable[CostEntry]) -> tuple[list[_Row], list[_Row]]:
        """Rows of cost_entries; of entries with one time and id only the first.

        Returns:
            Rows that never replace a stored row, of entries that were sent complete or restored
            from a file; rows of entries that were derived from points, which do. Both are sorted by
            time and id, so that receivers which store the same costs lock rows in one order and
            cannot deadlock.

        Raises:
            RowRefusedError: an amount cannot be kept.
        """
        complete: dict[tuple[int, str], _Row] = {}
        derived: dict[tuple[int, str], _Row] = {}
        for cost in costs:
            source = cost.derived_from
            rows = derived if source is not None and source.replaces else complete
            key = (cost.time_unix_nano // NANOSECONDS_PER_MICROSECOND, cost.entry_id)
            if key not in rows:
                rows[key] = self._entry(cost)
        return [row for _, row in sorted(complete.items())], [
            row for _, row in sorted(derived.items())
        ]

    def update(self, update: CostUpdate) -> _Row:
        """The new amount, period start and stream of an entry, and then its key."""
        stored = update.stored
        return (
            *self.amount(quantize_amount(update.amount)),
            self._time_or_null(update.period_start_unix_nano),
            self.time(update.stream_start),
            self.time(stored.timestamp_unix_nano),
            stored.entry_id,
        )

    def stream(self, stream: CostStream) -> _Row:
        """The row of cost_streams."""
        return (
            stream.series_id,
            self.time(stream.stream_start),
            self._time_or_null(stream.earliest_start),
            self._time_or_null(stream.latest_start),
            stream.has_fall,
            stream.is_split,
            *self._point(stream.last),
            *self._point(stream.closed),
            stream.zero_length_points,
            self._time_or_null(stream.lone_start),
            stream.quantity_id,
        )

    def _entry(self, cost: CostEntry) -> _Row:
        return (
            self.time(cost.time_unix_nano),
            self.text(cost.entry_id),
            self.text(cost.resource_id),
            self.text(cost.category),
            *self.amount(quantize_amount(cost.amount)),
            self.text(cost.currency),
            None if cost.region is None else self.text(cost.region),
            self.text(cost.cluster_id),
            self.text(cost.node_id),
            None if cost.service_name is None else self.text(cost.service_name),
            self.json(cost.tags),
            self.text(cost.description),
            self.text(cost.billing_period) or billing_period(cost.time_unix_nano),
            cost.source,
            self.text(cost.source_name),
            self._time_or_null(cost.period_start_unix_nano),
            self.time(cost.period_end_unix_nano or cost.time_unix_nano),
            *self._source(cost.derived_from),
        )

    def _source(self, source: SeriesPoint | None) -> _Row:
        if source is None:
            return (None,) * 6
        point, basis = source.point, source.basis
        return (
            source.series_id,
            self.time(source.stream_start),
            self._time_or_null(point.start_time_unix_nano),
            point.value,
            point.point_count,
            None if basis is None else basis_text(basis),
        )

    def _point(self, point: CostPoint | None) -> _Row:
        if point is None:
            return (None,) * 4
        time, start, value, count = point
        return (self.time(time), self._time_or_null(start), value, count)

    def _time_or_null(self, unix_nano: int) -> object:
        """A stored time; None, which is NULL, for an unknown one."""
        return self.time(unix_nano) if unix_nano else None


STREAM_COLUMNS: Final = COST_STREAMS.names
"""The columns of `stream_of_row`."""

ENTRY_COLUMNS: Final = (
    "timestamp",
    "entry_id",
    "series_id",
    "stream_start",
    "period_end",
    "start_timestamp",
    "value",
    "point_count",
    "basis",
)
"""The columns of `stored_cost_of_row`."""


def stream_of_row(row: Sequence[Any]) -> CostStream:
    """A row of cost_streams, with times in microseconds."""
    (series_id, stream_start, earliest_start, latest_start, has_fall, is_split, *points) = row
    last, closed, (zero_length_points, lone_start, quantity_id) = (
        points[:4],
        points[4:8],
        points[8:],
    )
    return CostStream(
        series_id=series_id,
        stream_start=_nanos(stream_start),
        earliest_start=_nanos(earliest_start),
        latest_start=_nanos(latest_start),
        has_fall=bool(has_fall),
        is_split=bool(is_split),
        last=cost_point_of(*last) if last[0] else None,
        closed=cost_point_of(*closed) if closed[0] else None,
        zero_length_points=zero_length_points,
        lone_start=_nanos(lone_start),
        quantity_id=quantity_id,
    )


def stored_cost_of_row(row: Sequence[Any]) -> StoredCost:
    """The columns `ENTRY_COLUMNS` of a row of cost_entries, with times in microseconds."""
    timestamp, entry_id, series_id, stream_start, *point, basis = row
    return StoredCost(
        _nanos(timestamp),
        entry_id,
        SeriesPoint(
            series_id,
            _nanos(stream_start),
            cost_point_of(*point),
            None if basis is None else parse_basis(basis),
        ),
    )


def cost_point_of(
    timestamp: int, start_timestamp: int | None, value: float, count: int | None
) -> CostPoint:
    """A point from its columns, with times in microseconds."""
    return CostPoint(_nanos(timestamp), _nanos(start_timestamp), value, count)


def _nanos(micros: int | None) -> int:
    """Nanoseconds of a stored time; NULL is an unknown time, 0."""
    return (micros or 0) * NANOSECONDS_PER_MICROSECOND
