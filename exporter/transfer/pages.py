"""The tables of a backend read in pages, in bounded memory.

A page of a fact table ends between two times, so that the time of its last row is enough to
continue after it. Cost cursors are read in pages by series id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from exporter import tables
from exporter.backends.base import Backend
from exporter.backends.dialect import Dialect
from exporter.model import CostCursor, Series
from exporter.query.filters import time_condition
from exporter.query.sql_builder import Sql, fetch_all, joined, sql
from exporter.query.times import TimeRange
from exporter.transfer.row_decoders import CopiedTable, Row, decode_series

Item = TypeVar("Item")

_IDS_PER_STATEMENT: Final = 500
_MIN_SERIES_ID: Final = -(2**63)
_MAX_SERIES_ID: Final = 2**63 - 1

_CURSORS: Final = """
    SELECT {columns} FROM cost_cursors AS m
    WHERE m.series_id >= {from_id} AND m.first_timestamp IS NOT NULL"""
# Cursors of series that have points after the end of the period, as they were at the end: the last
# entry before it has the last point.
_CURSORS_AT_END: Final = """
    SELECT c.series_id, {first}, {time}, {start}, m.value
    FROM cost_cursors AS c JOIN cost_entries AS m ON m.series_id = c.series_id
    AND m.timestamp = (
        SELECT max(e.timestamp) FROM cost_entries AS e
        WHERE e.series_id = c.series_id AND e.timestamp < {end})
    WHERE c.series_id >= {from_id} AND c.last_timestamp >= {end}"""


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Rows in the order of time; no later page has the time of the last row, `last_micros`."""

    rows: list[Item]
    last_micros: int


def table_pages(
    backend: Backend, table: CopiedTable, time_range: TimeRange, *, after: int = 0, rows: int
) -> Iterator[Page[Row]]:
    """The pages of a fact table.

    Args:
        backend: open, for reading at least.
        table: the table to read.
        time_range: which of its rows.
        after: microseconds since 1970; rows up to this time are left out.
        rows: rows of a page; more if more of them have the same time.
    """

    def read(part: TimeRange, limit: int | None) -> list[Row]:
        return _read_rows(backend, table, part, limit)

    return paginate(read, lambda row: int(row[0]), time_range, after=after, rows=rows)


def paginate(
    read: Callable[[TimeRange, int | None], list[Item]],
    time_of: Callable[[Item], int],
    time_range: TimeRange,
    *,
    after: int,
    rows: int,
) -> Iterator[Page[Item]]:
    """Pages of anything that can be read in the order of time.

    Args:
        read: called with a time range and a limit; returns the first rows of the range, all if
            the limit is None.
        time_of: the time of a row, microseconds since 1970.
        time_range: which rows.
        after: microseconds since 1970; rows up to this time are left out.
        rows: rows of a page; more if more of them have the same time.
    """
    start = max(time_range.start_micros or 0, after + 1)
    while time_range.end_micros is None or start < time_range.end_micros:
        found = read(TimeRange(start, time_range.end_micros), rows)
        if not found:
            return
        is_last_page = len(found) < rows
        first, last = time_of(found[0]), time_of(found[-1])
        if not is_last_page and first == last:
            # More rows than a page have one time: read all of them, whatever their number.
            found = read(TimeRange(last, last + 1), None)
        elif not is_last_page:
            # The last time can have rows beyond the limit; the next page begins with it.
            del found[bisect_left(found, last, key=time_of) :]
        last = time_of(found[-1])
        yield Page(found, last)
        if is_last_page:
            return
        start = last + 1


def _read_rows(
    backend: Backend, table: CopiedTable, time_range: TimeRange, limit: int | None
) -> list[Row]:
    statement = sql(
        "SELECT {columns} FROM {table} AS m WHERE {condition} ORDER BY m.timestamp {limit}",
        columns=_select_list(backend.dialect, table.columns),
        table=Sql((table.name,)),
        condition=time_condition(time_range, backend.dialect),
        limit=sql("") if limit is None else sql("LIMIT {limit}", limit=limit),
    )
    return list(fetch_all(backend, statement))


def _select_list(dialect: Dialect, columns: Iterable[tables.Column]) -> Sql:
    return joined(", ", (_select(dialect, column) for column in columns))


def _select(dialect: Dialect, column: tables.Column) -> Sql:
    """The column `m` as `row_decoders` takes it; an absent time is 0."""
    name = Sql((f"m.{column.name}",))
    if column.kind == "time":
        micros = sql(dialect.micros, time=name)
        return sql("COALESCE({micros}, 0)", micros=micros) if column.nullable else micros
    if column.kind == "amount":
        return sql(dialect.cost_amount)
    return sql("CAST({name} AS TEXT)", name=name) if column.kind == "json" else name


def read_series(backend: Backend, series_ids: Iterable[int]) -> Iterator[Series]:
    """The definitions of these series, in any order."""
    for id_list in _id_lists(list(series_ids)):
        statement = sql(
            "SELECT {columns} FROM metric_series AS m WHERE m.series_id IN ({id_list})",
            columns=_select_list(backend.dialect, tables.SERIES.columns),
            id_list=id_list,
        )
        for row in fetch_all(backend, statement):
            yield decode_series(row)


def _id_lists(series_ids: Sequence[int]) -> Iterator[Sql]:
    """Ids as lists for IN, each short enough for every database."""
    for begin in range(0, len(series_ids), _IDS_PER_STATEMENT):
        part = series_ids[begin : begin + _IDS_PER_STATEMENT]
        yield joined(", ", (sql("{series_id}", series_id=series_id) for series_id in part))


def cursor_pages(
    backend: Backend, time_range: TimeRange, *, rows: int
) -> Iterator[tuple[CostCursor, ...]]:
    """All cost cursors, as they were at the end of a period, by series id.

    Args:
        backend: open, for reading at least.
        time_range: the period. Its start is ignored: later points are counted from earlier ones.
        rows: cursors of a page.
    """
    from_id = _MIN_SERIES_ID
    while True:
        statement = _cursors_statement(backend.dialect, time_range.end_micros, from_id, rows)
        page = _fetch_cursors(backend, statement)
        if page:
            yield page
        if len(page) < rows or page[-1].series_id == _MAX_SERIES_ID:
            return
        from_id = page[-1].series_id + 1


def read_cursors(backend: Backend, series_ids: Sequence[int]) -> Iterator[CostCursor]:
    """The cost cursors of these series, of those that have one, in any order."""
    cursors = _all_cursors(backend.dialect, _MIN_SERIES_ID)
    for id_list in _id_lists(series_ids):
        statement = sql(
            "{cursors} AND m.series_id IN ({id_list})", cursors=cursors, id_list=id_list
        )
        yield from _fetch_cursors(backend, statement)


def _fetch_cursors(backend: Backend, statement: Sql) -> tuple[CostCursor, ...]:
    return tuple(CostCursor.from_micros(*row) for row in fetch_all(backend, statement))


def _all_cursors(dialect: Dialect, from_id: int) -> Sql:
    columns = _select_list(dialect, tables.COST_CURSORS.columns)
    return sql(_CURSORS, columns=columns, from_id=from_id)


def _cursors_statement(dialect: Dialect, end_micros: int | None, from_id: int, rows: int) -> Sql:
    cursors = _all_cursors(dialect, from_id)
    if end_micros is None:
        return sql("{cursors} ORDER BY 1 LIMIT {rows}", cursors=cursors, rows=rows)
    end = dialect.time_parameter(end_micros)
    cursors_at_end = sql(
        _CURSORS_AT_END,
        first=sql(dialect.micros, time=sql("c.first_timestamp")),
        time=sql(dialect.micros, time=sql("m.timestamp")),
        start=sql(dialect.micros, time=sql("m.start_timestamp")),
        from_id=from_id,
        end=end,
    )
    return sql(
        "{cursors} AND m.last_timestamp < {end} UNION ALL {at_end} ORDER BY 1 LIMIT {rows}",
        cursors=cursors,
        at_end=cursors_at_end,
        end=end,
        rows=rows,
    )
