"""Cost entries and cost cursors in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

from exporter.backends.costs import CostEncoder
from exporter.backends.sqlite.rows import Rows, flattened, insert_rows
from exporter.backends.statements import load_statements
from exporter.model import CostCursor, CostEntry, CostPoint
from exporter.tables import COST_CURSORS, COST_ENTRIES
from exporter.time_units import nanos_to_micros

_FILE: Final = "sqlite/costs.sql"
# An amount has at most 18 digits before the decimal point and 18 after it.
_EXACT: Final = Context(prec=40)
# Entries that were derived from points replace what was derived before.
_DERIVED_ENTRIES: Final = replace(COST_ENTRIES, replaces=True)


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

    The transaction has the write lock, so every cursor in it is locked.

    Attributes:
        rows_added: by how many rows cost_entries grew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.rows_added = 0
        self._connection = connection

    def insert_entries(self, costs: Iterable[CostEntry]) -> None:
        """See `CostTables.insert_entries`."""
        self.rows_added += sum(insert_rows(self._connection, rows) for rows in entry_rows(costs))

    def lock_cursors(self, series_ids: Iterable[int]) -> dict[int, CostCursor]:
        """See `CostTables.lock_cursors`."""
        sql = load_statements(_FILE)["cursors"]
        found = self._connection.execute(sql, (json.dumps(sorted(series_ids)),)).fetchall()
        return {row[0]: CostCursor.from_micros(*row) for row in found}

    def store_cursors(self, cursors: Iterable[CostCursor]) -> None:
        """See `CostTables.store_cursors`."""
        insert_rows(self._connection, Rows(COST_CURSORS, flattened(map(_ENCODER.cursor, cursors))))

    def points_between(
        self, series_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[CostPoint]:
        """See `CostTables.points_between`."""
        bounds = {
            "first": nanos_to_micros(first_unix_nano),
            "last": nanos_to_micros(last_unix_nano),
        }
        sql = load_statements(_FILE)["points_between"]
        found = self._connection.execute(sql, {"series_id": series_id, **bounds})
        return [CostPoint.from_micros(*row) for row in found.fetchall()]


def to_units_nanos_and_attos(amount: Decimal) -> tuple[int, int, int]:
    """The three integers of an amount, see 0004_cost_streams.sql."""
    attos = int(_EXACT.scaleb(amount, 18))
    nanos = int(_EXACT.scaleb(amount, 9).to_integral_value(ROUND_HALF_EVEN))
    return nanos // 10**9, nanos % 10**9, attos - nanos * 10**9


_ENCODER: Final = CostEncoder(
    time=nanos_to_micros, amount=to_units_nanos_and_attos, text=str, json=str
)
