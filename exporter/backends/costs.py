"""What SQLite and PostgreSQL share in storing costs: the rows, and the order of the steps.

Runs no SQL itself. Each backend passes an encoder for values and the operations on its two cost
tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from exporter.costs.entry_calculation import (
    billing_period,
    compute_entries,
    merge_cursors,
    quantize_amount,
)
from exporter.model import CostCursor, CostEntry, CostPoint, CostSample
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
            Rows of entries that were sent complete, which never replace a stored row; rows of
            entries that were derived from points, which do. Both are sorted by time and id, so
            that receivers which store the same costs lock rows in one order and cannot deadlock.

        Raises:
            RowRefusedError: an amount cannot be kept.
        """
        complete: dict[tuple[int, str], _Row] = {}
        derived: dict[tuple[int, str], _Row] = {}
        for cost in costs:
            rows = complete if cost.derived_from is None else derived
            key = (cost.time_unix_nano // NANOSECONDS_PER_MICROSECOND, cost.entry_id)
            if key not in rows:
                rows[key] = self._entry(cost)
        return [row for _, row in sorted(complete.items())], [
            row for _, row in sorted(derived.items())
        ]

    def cursor(self, cursor: CostCursor) -> _Row:
        """The row of cost_cursors."""
        first = self.time(cursor.first_time_unix_nano)
        last = cursor.last
        start = self._start(last.start_time_unix_nano)
        return (cursor.series_id, first, self.time(last.time_unix_nano), start, last.value)

    def _entry(self, cost: CostEntry) -> _Row:
        point = cost.derived_from
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
            None,
            self.time(cost.time_unix_nano),
            None if point is None else point.series_id,
            None,
            None if point is None else self._start(point.start_time_unix_nano),
            None if point is None else point.value,
            None,
            None,
        )

    def _start(self, start_unix_nano: int) -> object:
        return self.time(start_unix_nano) if start_unix_nano else None


class CostTables(Protocol):
    """cost_entries and cost_cursors of one backend, inside one open transaction."""

    def insert_entries(self, costs: Iterable[CostEntry]) -> None:
        """Store entries.

        Raises:
            RowRefusedError: an amount cannot be kept.
        """

    def lock_cursors(self, series_ids: Iterable[int]) -> Mapping[int, CostCursor]:
        """The stored cursors of these series; nobody else changes them in this transaction."""

    def store_cursors(self, cursors: Iterable[CostCursor]) -> None:
        """Store cursors. `lock_cursors` must have locked them before."""

    def points_between(
        self, series_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[CostPoint]:
        """Stored points of a series in order of time.

        From the last point before the first time to the first point after the last time.
        """


def write_derived_costs(
    tables: CostTables, cursors: Sequence[CostCursor], samples: Sequence[CostSample]
) -> None:
    """Merge cursors of another store into the stored ones, then store the entries of samples.

    Raises:
        RowRefusedError: an amount cannot be kept.
    """
    if cursors:
        stored = tables.lock_cursors({one.series_id for one in cursors})
        tables.store_cursors(merge_cursors(cursors, stored))
    if samples:
        stored = tables.lock_cursors({sample.series_id for sample in samples})
        entries, changed = compute_entries(samples, stored, tables.points_between)
        tables.insert_entries(entries)
        tables.store_cursors(changed)
