"""Cost entries and cost cursors in PostgreSQL; implements `exporter.backends.costs.CostTables`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from psycopg2.extras import execute_values

from exporter.backends.costs import CostEncoder
from exporter.backends.dialect import POSTGRESQL
from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.sql_fragments import column_list, typed_row
from exporter.backends.postgresql.text_format import TextSanitizer, timestamp_text
from exporter.model import CostCursor, CostEntry, CostPoint
from exporter.tables import COST_CURSORS, COST_ENTRIES

_PAGE_ROWS: Final = 1_000
_INSERT: Final = f"""
    INSERT INTO cost_entries ({column_list(COST_ENTRIES)}) VALUES %s
    ON CONFLICT ("timestamp", entry_id)"""  # noqa: S608 - names of columns
_KEEP: Final = f"{_INSERT} DO NOTHING"
_UPDATES: Final = [
    f"{name} = excluded.{name}" for name in COST_ENTRIES.names if name not in COST_ENTRIES.key
]
_REPLACE: Final = f"{_INSERT} DO UPDATE SET {', '.join(_UPDATES)}"
_ENTRY_ROW: Final = typed_row(COST_ENTRIES)

_CURSOR: Final = ", ".join(
    POSTGRESQL.micros.format(time=name)
    for name in ("first_timestamp", "last_timestamp", "last_start_timestamp")
)
# The UPDATE changes nothing: it locks the row, and waits for a receiver that is inserting it.
_LOCK: Final = f"""
    INSERT INTO cost_cursors (series_id)
    SELECT series_id FROM unnest(%s::bigint[]) AS requested (series_id) ORDER BY series_id
    ON CONFLICT (series_id) DO UPDATE SET series_id = excluded.series_id
    RETURNING series_id, {_CURSOR}, last_value"""  # noqa: S608 - names of columns
_UPDATE_CURSORS: Final = f"""
    UPDATE cost_cursors
    SET first_timestamp = changed.first_timestamp, last_timestamp = changed.last_timestamp,
        last_start_timestamp = changed.last_start_timestamp, last_value = changed.last_value
    FROM (VALUES %s) AS changed ({column_list(COST_CURSORS)})
    WHERE cost_cursors.series_id = changed.series_id"""  # noqa: S608 - names of columns
_CURSOR_ROW: Final = typed_row(COST_CURSORS)
# From the last entry before the first time to the first entry after the last time.
_BETWEEN: Final = f"""
    SELECT {POSTGRESQL.micros.format(time='"timestamp"')},
        {POSTGRESQL.micros.format(time="start_timestamp")}, value
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
    ORDER BY 1"""  # noqa: S608 - names of columns


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
                execute_values(self._cursor, statement, rows, _ENTRY_ROW, _PAGE_ROWS)

    def lock_cursors(self, series_ids: Iterable[int]) -> dict[int, CostCursor]:
        """See `CostTables.lock_cursors`.

        Rows are locked in the order of the ids, so that two receivers cannot deadlock.
        """
        self._cursor.execute(_LOCK, (sorted(series_ids),))
        return {
            row[0]: CostCursor.from_micros(*row)
            for row in self._cursor.fetchall()
            if row[1] is not None  # else the row was inserted only to lock it
        }

    def store_cursors(self, cursors: Iterable[CostCursor]) -> None:
        """See `CostTables.store_cursors`."""
        rows = list(map(self._encoder.cursor, cursors))
        if rows:
            execute_values(self._cursor, _UPDATE_CURSORS, rows, _CURSOR_ROW, _PAGE_ROWS)

    def points_between(
        self, series_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[CostPoint]:
        """See `CostTables.points_between`."""
        bounds = {"first": timestamp_text(first_unix_nano), "last": timestamp_text(last_unix_nano)}
        self._cursor.execute(_BETWEEN, {"series_id": series_id, **bounds})
        return [CostPoint.from_micros(*row) for row in self._cursor.fetchall()]
