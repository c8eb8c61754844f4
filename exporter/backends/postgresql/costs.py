"""Cost entries in PostgreSQL: complete ones as rows, and those that points of series come to.

Rows are written in one order everywhere, and cursors are locked in the order of their series, so
that receivers which store the same costs wait for each other and cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from psycopg2.extras import execute_values

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.text_copy import timestamp_text
from exporter.backends.postgresql.text_sanitizer import TextSanitizer
from exporter.costs.amounts import billing_period, compute_entries, merge_cursors, quantize_amount
from exporter.model import CostCursor, CostEntry, CostPoint, CostSample

__all__ = ["insert_costs", "join_cursors", "settle_samples"]

_PAGE_ROWS: Final = 1_000
_NANOSECONDS_PER_MICROSECOND: Final = 1_000
_COLUMNS: Final = (
    '"timestamp"',
    "entry_id",
    "resource_id",
    "category",
    "amount",
    "currency",
    "region",
    "cluster_id",
    "node_id",
    "service_name",
    "tags",
    "description",
    "billing_period",
    "source",
    "series_id",
    "start_timestamp",
    "value",
)
# In a list of several rows a NULL would be text. CAST and not `::`, which binds tighter than the
# sign of the smallest bigint.
_TYPES: Final = {
    '"timestamp"': "timestamptz",
    "amount": "numeric",
    "tags": "jsonb",
    "series_id": "bigint",
    "start_timestamp": "timestamptz",
    "value": "double precision",
}
_CASTS: Final = [f"CAST(%s AS {_TYPES.get(name, 'text')})" for name in _COLUMNS]
_ROW: Final = f"({', '.join(_CASTS)})"
_INSERT: Final = f"""
    INSERT INTO cost_entries ({", ".join(_COLUMNS)}) VALUES %s
    ON CONFLICT ("timestamp", entry_id)"""  # noqa: S608 - names that are written above
_KEEP: Final = f"{_INSERT} DO NOTHING"
_CHANGED: Final = [f"{name} = excluded.{name}" for name in _COLUMNS[2:]]
_REPLACE: Final = f"{_INSERT} DO UPDATE SET {', '.join(_CHANGED)}"

_MICROS: Final = "CAST(extract(epoch FROM {}) * 1000000 AS BIGINT)"
_CURSOR: Final = ", ".join(
    _MICROS.format(name) for name in ("first_timestamp", "last_timestamp", "last_start_timestamp")
)
# The update changes nothing: it locks a row, and waits for one that is about to be committed.
_LOCK: Final = f"""
    INSERT INTO cost_cursors AS known (series_id)
    SELECT series_id FROM unnest(%s::bigint[]) AS came (series_id) ORDER BY series_id
    ON CONFLICT (series_id) DO UPDATE SET series_id = excluded.series_id
    RETURNING series_id, {_CURSOR}, last_value"""  # noqa: S608 - names that are written above
_MOVE: Final = """
    UPDATE cost_cursors AS known
    SET first_timestamp = came.first_timestamp, last_timestamp = came.last_timestamp,
        last_start_timestamp = came.last_start_timestamp, last_value = came.last_value
    FROM (VALUES %s) AS came (
        series_id, first_timestamp, last_timestamp, last_start_timestamp, last_value)
    WHERE known.series_id = came.series_id"""
_MOVE_ROW: Final = """(
    CAST(%s AS bigint), CAST(%s AS timestamptz), CAST(%s AS timestamptz),
    CAST(%s AS timestamptz), CAST(%s AS double precision))"""
_BETWEEN: Final = f"""
    SELECT {_MICROS.format('"timestamp"')}, {_MICROS.format("start_timestamp")}, value
    FROM cost_entries
    WHERE series_id = %(series_id)s
    AND "timestamp" >= coalesce(
        (SELECT max("timestamp") FROM cost_entries
            WHERE series_id = %(series_id)s AND "timestamp" < %(first)s::timestamptz),
        %(first)s::timestamptz)
    AND "timestamp" <= coalesce(
        (SELECT min("timestamp") FROM cost_entries
            WHERE series_id = %(series_id)s AND "timestamp" > %(last)s::timestamptz),
        %(last)s::timestamptz)
    ORDER BY 1"""  # noqa: S608 - names that are written above


def insert_costs(cursor: Cursor, costs: Iterable[CostEntry], sanitizer: TextSanitizer) -> None:
    """Store complete entries inside the caller's transaction; those that are there stay.

    Those that were made of points of series take the place of what is there.

    Raises:
        RowRefusedError: an amount cannot be kept.
    """
    complete: dict[tuple[int, str], tuple[Any, ...]] = {}
    of_series: dict[tuple[int, str], tuple[Any, ...]] = {}
    for cost in costs:
        rows = complete if cost.derived_from is None else of_series
        key = (_micros(cost.time_unix_nano), cost.entry_id)
        if key not in rows:
            rows[key] = (*_row(cost, sanitizer), *_origin(cost))
    for statement, rows in ((_KEEP, complete), (_REPLACE, of_series)):
        if rows:
            execute_values(cursor, statement, [rows[key] for key in sorted(rows)], _ROW, _PAGE_ROWS)


def settle_samples(cursor: Cursor, samples: Sequence[CostSample], sanitizer: TextSanitizer) -> None:
    """Store what samples come to, inside the caller's transaction, alone with their series.

    Raises:
        RowRefusedError: an amount cannot be kept.
    """
    if not samples:
        return

    def between(series_id: int, first_unix_nano: int, last_unix_nano: int) -> list[CostPoint]:
        bounds = {"first": timestamp_text(first_unix_nano), "last": timestamp_text(last_unix_nano)}
        cursor.execute(_BETWEEN, {"series_id": series_id, **bounds})
        return [CostPoint.from_micros(*row) for row in cursor.fetchall()]

    known = _locked(cursor, {sample.series_id for sample in samples})
    entries, moved = compute_entries(samples, known, between)
    insert_costs(cursor, entries, sanitizer)
    _move(cursor, moved)


def join_cursors(cursor: Cursor, cursors: Sequence[CostCursor]) -> None:
    """Store how far series had come elsewhere, inside the caller's transaction.

    Where a series is known here, both are taken together.
    """
    if not cursors:
        return
    known = _locked(cursor, {one.series_id for one in cursors})
    _move(cursor, merge_cursors(cursors, known))


def _move(cursor: Cursor, cursors: Iterable[CostCursor]) -> None:
    rows = [_cursor_row(one) for one in cursors]
    if rows:
        execute_values(cursor, _MOVE, rows, _MOVE_ROW, _PAGE_ROWS)


def _locked(cursor: Cursor, series_ids: Iterable[int]) -> Mapping[int, CostCursor]:
    """The cursors of the series, each locked until the transaction ends; new ones are left out."""
    cursor.execute(_LOCK, (sorted(series_ids),))
    return {
        series_id: CostCursor.from_micros(series_id, first, last, start, value)
        for series_id, first, last, start, value in cursor.fetchall()
        if first is not None
    }


def _row(cost: CostEntry, sanitizer: TextSanitizer) -> tuple[Any, ...]:
    return (
        timestamp_text(cost.time_unix_nano),
        sanitizer.text(cost.entry_id),
        sanitizer.text(cost.resource_id),
        sanitizer.text(cost.category),
        quantize_amount(cost.amount),
        sanitizer.text(cost.currency),
        None if cost.region is None else sanitizer.text(cost.region),
        sanitizer.text(cost.cluster_id),
        sanitizer.text(cost.node_id),
        None if cost.service_name is None else sanitizer.text(cost.service_name),
        sanitizer.json(cost.tags),
        sanitizer.text(cost.description),
        sanitizer.text(cost.billing_period) or billing_period(cost.time_unix_nano),
        cost.source,
    )


def _origin(cost: CostEntry) -> tuple[Any, ...]:
    point = cost.derived_from
    if point is None:
        return (None, None, None)
    start = point.start_time_unix_nano
    return (point.series_id, timestamp_text(start) if start else None, point.value)


def _cursor_row(cursor: CostCursor) -> tuple[Any, ...]:
    time, start, value = cursor.last
    return (
        cursor.series_id,
        timestamp_text(cursor.first_time_unix_nano),
        timestamp_text(time),
        timestamp_text(start) if start else None,
        value,
    )


def _micros(unix_nano: int) -> int:
    return unix_nano // _NANOSECONDS_PER_MICROSECOND
