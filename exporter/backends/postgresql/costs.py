"""Cost entries and cost cursors in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from psycopg2.extras import execute_values

from exporter.backends.costs import CostEncoder
from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.text_values import TextSanitizer, timestamp_text
from exporter.model import CostCursor, CostEntry, CostPoint

__all__ = ["PostgreSQLCostTables"]

_PAGE_ROWS: Final = 1_000
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


class PostgreSQLCostTables:
    """`exporter.backends.costs.CostTables` of a cursor with a transaction open."""

    def __init__(self, cursor: Cursor, sanitizer: TextSanitizer) -> None:
        self._cursor = cursor
        self._encoder = CostEncoder(
            time=timestamp_text,
            amount=lambda amount: (amount,),
            text=sanitizer.text,
            json=sanitizer.json,
        )

    def insert_entries(self, costs: Iterable[CostEntry]) -> None:
        """See `CostTables.insert_entries`."""
        for statement, rows in zip((_KEEP, _REPLACE), self._encoder.entries(costs), strict=True):
            if rows:
                execute_values(self._cursor, statement, rows, _ROW, _PAGE_ROWS)

    def lock_cursors(self, series_ids: Iterable[int]) -> dict[int, CostCursor]:
        """See `CostTables.lock_cursors`.

        In the order of the ids, so that two receivers with the same series cannot deadlock.
        """
        self._cursor.execute(_LOCK, (sorted(series_ids),))
        return {
            row[0]: CostCursor.from_micros(*row)
            for row in self._cursor.fetchall()
            if row[1] is not None  # the row was inserted to lock it
        }

    def store_cursors(self, cursors: Iterable[CostCursor]) -> None:
        """See `CostTables.store_cursors`."""
        rows = list(map(self._encoder.cursor, cursors))
        if rows:
            execute_values(self._cursor, _MOVE, rows, _MOVE_ROW, _PAGE_ROWS)

    def points_between(
        self, series_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[CostPoint]:
        """See `CostTables.points_between`."""
        bounds = {"first": timestamp_text(first_unix_nano), "last": timestamp_text(last_unix_nano)}
        self._cursor.execute(_BETWEEN, {"series_id": series_id, **bounds})
        return [CostPoint.from_micros(*row) for row in self._cursor.fetchall()]
