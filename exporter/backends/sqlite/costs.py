"""Cost entries and their streams in SQLite; implements `exporter.backends.costs.CostTables`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from typing import Any, Final

from exporter.backends.cost_rows import (
    ENTRY_COLUMNS,
    STREAM_COLUMNS,
    CostEncoder,
    stored_cost_of_row,
    stream_of_row,
)
from exporter.backends.sqlite.rows import Rows, flattened, insert_rows
from exporter.backends.statements import load_statements
from exporter.costs.entry_calculation import EXACT
from exporter.costs.streams import NEAR_STARTS_NANOSECONDS, UNKNOWN_START
from exporter.model import CostEntry, CostPoint, CostStream, CostUpdate, StoredCost
from exporter.tables import COST_ENTRIES, COST_STREAMS
from exporter.time_units import NANOSECONDS_PER_MICROSECOND, nanos_to_micros

_FILE: Final = "sqlite/costs.sql"
# Entries that were derived from points replace what was derived before.
_DERIVED_ENTRIES: Final = replace(COST_ENTRIES, replaces=True)
_PARTS: Final = {
    "{streams}": ", ".join(f"s.{name}" for name in STREAM_COLUMNS),
    "{entries}": ", ".join(ENTRY_COLUMNS),
}


def entry_rows(costs: Iterable[CostEntry]) -> list[Rows]:
    """Rows of cost entries; of entries with one time and id only the first.

    Returns:
        Entries that were sent complete, and entries that were derived from points.

    Raises:
        RowRefusedError: an amount cannot be kept.
    """
    complete, derived = _ENCODER.entries(costs)
    return [Rows(COST_ENTRIES, flattened(complete)), Rows(_DERIVED_ENTRIES, flattened(derived))]


class SQLiteCostTables:
    """`exporter.backends.costs.CostTables` of a connection with a transaction open.

    The transaction has the write lock, so every stream in it is locked.

    Attributes:
        rows_added: by how many rows cost_entries grew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.rows_added = 0
        self._connection = connection

    def insert_entries(self, costs: Iterable[CostEntry]) -> None:
        """See `CostTables.insert_entries`."""
        self.rows_added += sum(insert_rows(self._connection, rows) for rows in entry_rows(costs))

    def update_entries(self, updates: Sequence[CostUpdate]) -> None:
        """See `CostTables.update_entries`."""
        self._connection.executemany(_sql("update_entry"), map(_ENCODER.update, updates))

    def lock_series(self, series_ids: Collection[int]) -> list[CostStream]:
        """See `CostTables.lock_series`."""
        return self._streams("unknown_streams", series_ids=sorted(series_ids))

    def streams_near(self, starts: Collection[tuple[int, int]]) -> list[CostStream]:
        """See `CostTables.streams_near`."""
        pairs = [(series_id, nanos_to_micros(start)) for series_id, start in sorted(starts)]
        near = NEAR_STARTS_NANOSECONDS // NANOSECONDS_PER_MICROSECOND
        return self._streams("streams_near", pairs=pairs, near=near)

    def rates_of_quantities(self, quantity_ids: Collection[int]) -> list[int]:
        """See `CostTables.rates_of_quantities`."""
        found = self._fetch("rates_of_quantities", quantity_ids=sorted(quantity_ids))
        return [series_id for (series_id,) in found]

    def store_streams(self, streams: Sequence[CostStream]) -> None:
        """See `CostTables.store_streams`."""
        insert_rows(self._connection, Rows(COST_STREAMS, flattened(map(_ENCODER.stream, streams))))

    def delete_streams(self, keys: Sequence[tuple[int, int]]) -> None:
        """See `CostTables.delete_streams`."""
        rows = [(series_id, nanos_to_micros(start)) for series_id, start in keys]
        self._connection.executemany(_sql("delete_stream"), rows)

    def entries_between(
        self, series_id: int, stream_start: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[StoredCost]:
        """See `StoredEntries.entries_between`."""
        found = self._fetch(
            "entries_between",
            series_id=series_id,
            stream_start=nanos_to_micros(stream_start),
            first=nanos_to_micros(first_unix_nano),
            last=nanos_to_micros(last_unix_nano),
        )
        return [stored_cost_of_row(row) for row in found]

    def entries_of(self, series_id: int, stream_starts: Collection[int]) -> list[StoredCost]:
        """See `StoredEntries.entries_of`."""
        starts = [nanos_to_micros(start) for start in stream_starts]
        found = self._fetch("entries_of", series_id=series_id, stream_starts=starts)
        return [stored_cost_of_row(row) for row in found]

    def quantities(
        self, quantity_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[CostPoint]:
        """See `StoredEntries.quantities`."""
        found = self._fetch(
            "quantities",
            series_id=quantity_id,
            stream_start=UNKNOWN_START,
            first=nanos_to_micros(first_unix_nano),
            last=nanos_to_micros(last_unix_nano),
        )
        return [stored_cost_of_row(row).source.point for row in found]

    def _streams(self, name: str, **parameters: object) -> list[CostStream]:
        return [stream_of_row(row) for row in self._fetch(name, **parameters)]

    def _fetch(self, name: str, **parameters: object) -> list[tuple[Any, ...]]:
        bound = {
            key: json.dumps(value) if isinstance(value, list) else value
            for key, value in parameters.items()
        }
        return self._connection.execute(_sql(name), bound).fetchall()


@cache
def _sql(name: str) -> str:
    statement = load_statements(_FILE)[name]
    for part, columns in _PARTS.items():
        statement = statement.replace(part, columns)
    return statement


def to_units_nanos_and_attos(amount: Decimal) -> tuple[int, int, int]:
    """The three integers of an amount, see 0004_cost_streams.sql."""
    attos = int(EXACT.scaleb(amount, 18))
    nanos = int(EXACT.scaleb(amount, 9).to_integral_value(ROUND_HALF_EVEN))
    return nanos // 10**9, nanos % 10**9, attos - nanos * 10**9


_ENCODER: Final = CostEncoder(
    time=nanos_to_micros, amount=to_units_nanos_and_attos, text=str, json=str
)
