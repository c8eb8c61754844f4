"""Cost entries and their streams in PostgreSQL; implements `exporter.backends.costs.CostTables`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from psycopg2.errors import UniqueViolation
from psycopg2.extras import execute_values

from exporter.backends.cost_rows import (
    ENTRY_COLUMNS,
    STREAM_COLUMNS,
    CostEncoder,
    stored_cost_of_row,
    stream_of_row,
)
from exporter.backends.dialect import POSTGRESQL
from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.sql_fragments import column_list, typed_row
from exporter.backends.postgresql.text_format import (
    TextSanitizer,
    array_text,
    row_copy_stream,
    timestamp_text,
)
from exporter.costs.entry_calculation import EXACT
from exporter.costs.streams import END_OF_TIME, NEAR_STARTS_NANOSECONDS, UNKNOWN_START
from exporter.model import CostEntry, CostPoint, CostStream, CostUpdate, StoredCost
from exporter.tables import COST_ENTRIES, COST_STREAMS, SQL_TYPES, Table
from exporter.time_units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_MICROSECOND

_PAGE_ROWS: Final = 1_000
_INSERT: Final = f"""
    INSERT INTO cost_entries ({column_list(COST_ENTRIES)}) VALUES %s
    ON CONFLICT ("timestamp", entry_id)"""  # noqa: S608 - names of columns
_KEEP: Final = f"{_INSERT} DO NOTHING"
_ENTRY_ROW: Final = typed_row(COST_ENTRIES)
_COPY: Final = f"COPY cost_entries ({column_list(COST_ENTRIES)}) FROM STDIN"
_MIN_COPY_ROWS: Final = 20


def _replaced(table: Table) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in table.names if name not in table.key)


_REPLACE: Final = f"{_INSERT} DO UPDATE SET {_replaced(COST_ENTRIES)}"
_UPDATE: Final = """
    UPDATE cost_entries AS e
    SET amount = changed.amount, period_start = changed.period_start,
        stream_start = changed.stream_start
    FROM (VALUES %s) AS changed (amount, period_start, stream_start, "timestamp", entry_id)
    WHERE e."timestamp" = changed."timestamp" AND e.entry_id = changed.entry_id"""
_UPDATE_ROW: Final = (
    "(CAST(%s AS numeric), CAST(%s AS timestamptz), CAST(%s AS timestamptz),"
    " CAST(%s AS timestamptz), %s)"
)


def _selected(table: Table, alias: str, names: Sequence[str]) -> str:
    """Columns with times in microseconds."""
    return ", ".join(
        POSTGRESQL.micros.format(time=f'{alias}."{name}"')
        if table.column(name).kind == "time"
        else f"{alias}.{name}"
        for name in names
    )


_STREAMS: Final = _selected(COST_STREAMS, "s", STREAM_COLUMNS)
_ENTRIES: Final = _selected(COST_ENTRIES, "e", ENTRY_COLUMNS).replace("e.basis", "e.basis::text")
_CREATE_UNKNOWN_STREAMS: Final = """
    INSERT INTO cost_streams (series_id, stream_start)
    SELECT series_id, 'epoch' FROM unnest(%s::bigint[]) AS requested (series_id)
    ORDER BY series_id
    ON CONFLICT (series_id, stream_start) DO NOTHING"""
_LOCK_UNKNOWN_STREAMS: Final = f"""
    SELECT {_STREAMS} FROM cost_streams AS s
    WHERE s.series_id = ANY (%s) AND s.stream_start = 'epoch'
    ORDER BY s.series_id FOR UPDATE"""  # noqa: S608 - names of columns
_STREAMS_NEAR: Final = f"""
    WITH wanted AS (
        SELECT series_id, start - near AS lowest, start + near AS highest
        FROM unnest(%s::bigint[], %s::timestamptz[]) AS requested (series_id, start),
            LATERAL (SELECT %s * interval '1 microsecond' AS near) AS range
    )
    SELECT DISTINCT {_STREAMS}
    FROM wanted JOIN cost_streams AS s ON s.series_id = wanted.series_id
        AND s.stream_start >= coalesce(
            (SELECT max(b.stream_start) FROM cost_streams AS b
                WHERE b.series_id = wanted.series_id AND b.stream_start < lowest
                    AND b.stream_start <> 'epoch'),
            lowest)
        AND s.stream_start <= coalesce(
            (SELECT min(a.stream_start) FROM cost_streams AS a
                WHERE a.series_id = wanted.series_id AND a.stream_start > highest),
            highest)
    WHERE s.stream_start <> 'epoch'"""  # noqa: S608 - names of columns
_RATES: Final = "SELECT series_id FROM cost_streams WHERE quantity_id = ANY (%s)"
_STREAM_ARRAYS: Final = ", ".join(
    f"CAST(%s AS {SQL_TYPES['postgresql'][column.kind]}[])" for column in COST_STREAMS.columns
)
_STORE_STREAMS: Final = f"""
    INSERT INTO cost_streams ({column_list(COST_STREAMS)})
    SELECT * FROM unnest({_STREAM_ARRAYS})
    ON CONFLICT (series_id, stream_start) DO UPDATE
    SET {_replaced(COST_STREAMS)}"""  # noqa: S608 - names of columns
_DELETE_STREAMS: Final = """
    DELETE FROM cost_streams AS s USING (VALUES %s) AS gone (series_id, stream_start)
    WHERE s.series_id = gone.series_id AND s.stream_start = gone.stream_start"""
_FROM_STREAM: Final = """
    cost_entries AS e
    WHERE e.series_id = %(series_id)s AND e.stream_start = %(stream_start)s::timestamptz
    AND e."timestamp" >= %(begin)s::timestamptz AND e."timestamp" <= %(end)s::timestamptz"""
_ORDER: Final = " ORDER BY e.period_end, e.start_timestamp NULLS FIRST"
_BETWEEN: Final = f"""
    SELECT {_ENTRIES} FROM {_FROM_STREAM}
    AND e.period_end >= coalesce(
        (SELECT max(e.period_end) FROM {_FROM_STREAM} AND e.period_end < %(first)s::timestamptz),
        %(first)s::timestamptz)
    AND e.period_end <= coalesce(
        (SELECT min(e.period_end) FROM {_FROM_STREAM} AND e.period_end > %(last)s::timestamptz),
        %(last)s::timestamptz)
    {_ORDER}"""  # noqa: S608 - names of columns
_QUANTITIES: Final = f"""
    SELECT {_ENTRIES} FROM {_FROM_STREAM}
    AND e.period_end <= %(last)s::timestamptz
    AND e.period_end >= coalesce(
        (SELECT e.period_end FROM {_FROM_STREAM} AND e.period_end < %(first)s::timestamptz
            ORDER BY e.period_end DESC LIMIT 1 OFFSET 1),
        'epoch')
    {_ORDER}"""  # noqa: S608 - names of columns
_ENTRIES_OF: Final = f"""
    SELECT {_ENTRIES} FROM cost_entries AS e
    WHERE e.series_id = %(series_id)s
    AND e.stream_start = ANY (%(stream_starts)s::timestamptz[]) {_ORDER}"""  # noqa: S608
# A neighbour is usually near. A condition on the partitioning column lets PostgreSQL leave out the
# other partitions: three years have a thousand.
_NEAR_DAYS: Final = 2


class PostgreSQLCostTables:
    """`exporter.backends.costs.CostTables` of a cursor with a transaction open."""

    def __init__(self, cursor: Cursor, sanitizer: TextSanitizer) -> None:
        self._cursor = cursor
        self._encoder = CostEncoder(
            # A batch repeats a few times and starts; formatting one takes 1.5 us.
            time=lru_cache(maxsize=65_536)(timestamp_text),
            # Without trailing zeros, which PostgreSQL would store and show.
            amount=lambda amount: (amount.normalize(EXACT),),
            text=sanitizer.text,
            json=sanitizer.json,
        )

    def insert_entries(self, costs: Iterable[CostEntry]) -> None:
        """See `CostTables.insert_entries`."""
        complete, derived = self._encoder.entries(costs)
        self._execute_values(_KEEP, complete, _ENTRY_ROW)
        if len(derived) < _MIN_COPY_ROWS or not self._copy(derived):
            self._execute_values(_REPLACE, derived, _ENTRY_ROW)

    def _copy(self, rows: Sequence[tuple[object, ...]]) -> bool:
        """Copy rows, which takes a third of the time of INSERT; False if one was stored before."""
        self._cursor.execute("SAVEPOINT cost_entries")
        try:
            self._cursor.copy_expert(_COPY, row_copy_stream(rows))
        except UniqueViolation:
            self._cursor.execute("ROLLBACK TO SAVEPOINT cost_entries")
            return False
        return True

    def update_entries(self, updates: Sequence[CostUpdate]) -> None:
        """See `CostTables.update_entries`."""
        self._execute_values(_UPDATE, list(map(self._encoder.update, updates)), _UPDATE_ROW)

    def lock_series(self, series_ids: Collection[int]) -> list[CostStream]:
        """See `CostTables.lock_series`.

        Rows are created and locked in the order of the ids, so that two receivers cannot deadlock.
        """
        ids = sorted(series_ids)
        self._cursor.execute(_LOCK_UNKNOWN_STREAMS, (ids,))
        rows = self._cursor.fetchall()
        if len(rows) < len(ids):
            self._cursor.execute(_CREATE_UNKNOWN_STREAMS, (ids,))
            self._cursor.execute(_LOCK_UNKNOWN_STREAMS, (ids,))
            rows = self._cursor.fetchall()
        return list(map(stream_of_row, rows))

    def streams_near(self, starts: Collection[tuple[int, int]]) -> list[CostStream]:
        """See `CostTables.streams_near`."""
        near = NEAR_STARTS_NANOSECONDS // NANOSECONDS_PER_MICROSECOND
        ids = [series_id for series_id, _ in starts]
        times = [timestamp_text(start) for _, start in starts]
        self._cursor.execute(_STREAMS_NEAR, (ids, times, near))
        return list(map(stream_of_row, self._cursor.fetchall()))

    def rates_of_quantities(self, quantity_ids: Collection[int]) -> list[int]:
        """See `CostTables.rates_of_quantities`."""
        self._cursor.execute(_RATES, (sorted(quantity_ids),))
        return [series_id for (series_id,) in self._cursor.fetchall()]

    def store_streams(self, streams: Sequence[CostStream]) -> None:
        """See `CostTables.store_streams`."""
        if streams:
            columns = zip(*map(self._encoder.stream, streams), strict=True)
            self._cursor.execute(_STORE_STREAMS, list(map(array_text, columns)))

    def delete_streams(self, keys: Sequence[tuple[int, int]]) -> None:
        """See `CostTables.delete_streams`."""
        rows = [(series_id, timestamp_text(start)) for series_id, start in keys]
        self._execute_values(_DELETE_STREAMS, rows, "(%s, CAST(%s AS timestamptz))")

    def entries_between(
        self, series_id: int, stream_start: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[StoredCost]:
        """See `StoredEntries.entries_between`."""
        found = self._fetch_near(_BETWEEN, series_id, stream_start, first_unix_nano, last_unix_nano)
        times = [one.source.point.time_unix_nano for one in found]
        has_previous = bool(times) and times[0] < first_unix_nano
        has_next = last_unix_nano == END_OF_TIME or (bool(times) and times[-1] > last_unix_nano)
        if not (has_previous and has_next):
            found = self._fetch_far(
                _BETWEEN, series_id, stream_start, first_unix_nano, last_unix_nano
            )
        return found

    def entries_of(self, series_id: int, stream_starts: Collection[int]) -> list[StoredCost]:
        """See `StoredEntries.entries_of`."""
        starts = [timestamp_text(start) for start in stream_starts]
        return self._fetch(_ENTRIES_OF, {"series_id": series_id, "stream_starts": starts})

    def quantities(
        self, quantity_id: int, first_unix_nano: int, last_unix_nano: int
    ) -> list[CostPoint]:
        """See `StoredEntries.quantities`."""
        bounds = (quantity_id, UNKNOWN_START, first_unix_nano, last_unix_nano)
        found = self._fetch_near(_QUANTITIES, *bounds)
        times = [one.source.point.time_unix_nano for one in found]
        if sum(time < first_unix_nano for time in times) < 2:
            found = self._fetch_far(_QUANTITIES, *bounds)
        return [one.source.point for one in found]

    def _fetch_near(
        self, statement: str, series_id: int, stream_start: int, first: int, last: int
    ) -> list[StoredCost]:
        """The rows of a statement whose timestamps are within `_NEAR_DAYS` of two times."""
        near = _NEAR_DAYS * NANOSECONDS_PER_DAY
        times = {"begin": timestamp_text(max(first - near, 0)), "end": timestamp_text(last + near)}
        return self._fetch(statement, _bounds(series_id, stream_start, first, last) | times)

    def _fetch_far(
        self, statement: str, series_id: int, stream_start: int, first: int, last: int
    ) -> list[StoredCost]:
        """The rows of a statement, whatever their timestamps are."""
        times = {"begin": "epoch", "end": "infinity"}
        return self._fetch(statement, _bounds(series_id, stream_start, first, last) | times)

    def _fetch(self, statement: str, parameters: Mapping[str, object]) -> list[StoredCost]:
        self._cursor.execute(statement, parameters)
        return list(map(stored_cost_of_row, self._cursor.fetchall()))

    def _execute_values(self, statement: str, rows: Sequence[tuple[object, ...]], row: str) -> None:
        if rows:
            execute_values(self._cursor, statement, rows, row, _PAGE_ROWS)


def _bounds(series_id: int, stream_start: int, first: int, last: int) -> dict[str, object]:
    return {
        "series_id": series_id,
        "stream_start": timestamp_text(stream_start),
        "first": timestamp_text(first),
        "last": timestamp_text(last),
    }
