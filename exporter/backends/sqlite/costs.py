"""Cost entries in SQLite: complete ones as rows, and those that points of series come to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from exporter.backends.sqlite.insert import insert_rows
from exporter.backends.sqlite.rows import COST_ENTRIES, Rows, Table
from exporter.backends.statements import load_statements
from exporter.costs.amounts import billing_period, compute_entries, merge_cursors, quantize_amount
from exporter.model import CostCursor, CostEntry, CostPoint, CostSample

__all__ = ["entry_rows", "join_cursors", "settle_samples"]

_FILE: Final = "sqlite/costs.sql"
_NANOSECONDS_PER_MICROSECOND: Final = 1_000
_NANOS_PER_UNIT: Final = 1_000_000_000
# Those that are made of points take the place of what was made before.
_SERIES_ENTRIES: Final = Table(COST_ENTRIES.name, COST_ENTRIES.columns, COST_ENTRIES.key)
_CURSORS: Final = Table(
    "cost_cursors",
    ("series_id", "first_timestamp", "last_timestamp", "last_start_timestamp", "last_value"),
    key=("series_id",),
)


def entry_rows(costs: Iterable[CostEntry]) -> list[Rows]:
    """Complete entries as rows; of those with one time and id only the first.

    Returns:
        Those that stay as they are, and those that were made of points of series.

    Raises:
        RowRefusedError: an amount cannot be kept.
    """
    complete: dict[tuple[int, str], tuple[object, ...]] = {}
    of_series: dict[tuple[int, str], tuple[object, ...]] = {}
    for cost in costs:
        rows = complete if cost.derived_from is None else of_series
        key = (_micros(cost.time_unix_nano), cost.entry_id)
        rows.setdefault(key, (*_row(cost), *_origin(cost)))
    return [
        Rows(table, [value for key in sorted(rows) for value in rows[key]])
        for table, rows in ((COST_ENTRIES, complete), (_SERIES_ENTRIES, of_series))
    ]


def settle_samples(connection: sqlite3.Connection, samples: Sequence[CostSample]) -> int:
    """Store what samples come to, inside the caller's transaction, which has the write lock.

    Returns:
        By how many rows the table grew.

    Raises:
        RowRefusedError: an amount cannot be kept.
    """
    if not samples:
        return 0
    sql = load_statements(_FILE)

    def between(series_id: int, first_unix_nano: int, last_unix_nano: int) -> list[CostPoint]:
        bounds = {"first": _micros(first_unix_nano), "last": _micros(last_unix_nano)}
        found = connection.execute(sql["between"], {"series_id": series_id, **bounds})
        return [CostPoint.from_micros(*row) for row in found.fetchall()]

    cursors = _stored_cursors(connection, {sample.series_id for sample in samples})
    entries, moved = compute_entries(samples, cursors, between)
    _store_cursors(connection, moved)
    return sum(insert_rows(connection, rows) for rows in entry_rows(entries))


def join_cursors(connection: sqlite3.Connection, cursors: Sequence[CostCursor]) -> None:
    """Store how far series had come elsewhere, inside the caller's transaction.

    Where a series is known here, both are taken together.
    """
    if not cursors:
        return
    stored = _stored_cursors(connection, {one.series_id for one in cursors})
    _store_cursors(connection, merge_cursors(cursors, stored))


def _stored_cursors(
    connection: sqlite3.Connection, series_ids: Iterable[int]
) -> dict[int, CostCursor]:
    found = connection.execute(
        load_statements(_FILE)["cursors"], (json.dumps(sorted(series_ids)),)
    ).fetchall()
    return {row[0]: CostCursor.from_micros(*row) for row in found}


def _store_cursors(connection: sqlite3.Connection, cursors: Iterable[CostCursor]) -> None:
    values = [value for one in cursors for value in _cursor_row(one)]
    insert_rows(connection, Rows(_CURSORS, values))


def _row(cost: CostEntry) -> tuple[object, ...]:
    units, nanos = _units_and_nanos(quantize_amount(cost.amount))
    return (
        _micros(cost.time_unix_nano),
        cost.entry_id,
        cost.resource_id,
        cost.category,
        units,
        nanos,
        cost.currency,
        cost.region,
        cost.cluster_id,
        cost.node_id,
        cost.service_name,
        cost.tags,
        cost.description,
        cost.billing_period or billing_period(cost.time_unix_nano),
        cost.source,
    )


def _origin(cost: CostEntry) -> tuple[object, ...]:
    point = cost.derived_from
    if point is None:
        return (None, None, None)
    start = point.start_time_unix_nano
    return (point.series_id, _micros(start) if start else None, point.value)


def _units_and_nanos(amount: Decimal) -> tuple[int, int]:
    units = int(amount.to_integral_value(ROUND_FLOOR))
    return units, int((amount - units).scaleb(9))


def _cursor_row(cursor: CostCursor) -> tuple[object, ...]:
    time, start, value = cursor.last
    first = _micros(cursor.first_time_unix_nano)
    return (cursor.series_id, first, _micros(time), _micros(start) if start else None, value)


def _micros(unix_nano: int) -> int:
    return unix_nano // _NANOSECONDS_PER_MICROSECOND
