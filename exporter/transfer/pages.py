"""The tables of a backend read in pages, in bounded memory.

A page of a fact table ends between two times, so that the time of its last row is enough to
continue after it. Cost streams are read in pages by series id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from exporter import tables
from exporter.backends.base import Backend
from exporter.backends.cost_rows import cost_point_of, stream_of_row
from exporter.backends.dialect import Dialect
from exporter.model import CostPoint, CostStream, Series
from exporter.query.filters import time_condition
from exporter.query.sql_builder import Sql, fetch_all, joined, sql
from exporter.query.times import TimeRange
from exporter.time_units import NANOSECONDS_PER_MICROSECOND, nanos_to_micros
from exporter.transfer.row_decoders import CopiedTable, Row, decode_series

Item = TypeVar("Item")

_IDS_PER_STATEMENT: Final = 500
_MIN_SERIES_ID: Final = -(2**63)

_STREAMS: Final = """
    SELECT {columns} FROM cost_streams AS m
    WHERE (m.series_id, m.stream_start) > ({series_id}, {stream_start})
    -- PostgreSQL also has rows that say nothing yet and are only locked.
    AND (m.last_timestamp IS NOT NULL OR m.closed_timestamp IS NOT NULL
        OR m.zero_length_points > 0 OR m.quantity_id IS NOT NULL)"""
# The newest point that a stream had at a time, of those that have later points.
_LAST_BEFORE: Final = """
    SELECT m.series_id, {stream_start}, {time}, {start}, m.value, m.point_count
    FROM cost_entries AS m
    WHERE m.series_id IN ({id_list}) AND m.timestamp = (
        SELECT max(e.timestamp) FROM cost_entries AS e
        WHERE e.series_id = m.series_id AND e.stream_start = m.stream_start
            AND e.timestamp < {end})"""


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


def stream_pages(
    backend: Backend, time_range: TimeRange, *, rows: int
) -> Iterator[tuple[CostStream, ...]]:
    """All cost streams, with their newest points at the end of a period, by series id.

    Args:
        backend: open, for reading at least.
        time_range: the period. Its start is ignored: later points are counted from earlier ones.
        rows: streams of a page.
    """
    after = (_MIN_SERIES_ID, 0)
    while True:
        page = _fetch_streams(backend, _streams_after(backend.dialect, *after, rows))
        if page:
            yield _at_end(backend, page, time_range.end_micros)
        if len(page) < rows:
            return
        after = (page[-1].series_id, page[-1].stream_start)


def read_streams(backend: Backend, series_ids: Sequence[int]) -> Iterator[CostStream]:
    """The cost streams of these series, in any order."""
    for id_list in _id_lists(series_ids):
        statement = sql(
            "SELECT {columns} FROM cost_streams AS m WHERE m.series_id IN ({id_list})",
            columns=_select_list(backend.dialect, tables.COST_STREAMS.columns),
            id_list=id_list,
        )
        yield from _fetch_streams(backend, statement)


def _fetch_streams(backend: Backend, statement: Sql) -> tuple[CostStream, ...]:
    return tuple(stream_of_row(row) for row in fetch_all(backend, statement))


def _streams_after(dialect: Dialect, series_id: int, stream_start: int, rows: int) -> Sql:
    return sql(
        "{streams} ORDER BY m.series_id, m.stream_start LIMIT {rows}",
        streams=sql(
            _STREAMS,
            columns=_select_list(dialect, tables.COST_STREAMS.columns),
            series_id=series_id,
            stream_start=dialect.time_parameter(nanos_to_micros(stream_start)),
        ),
        rows=rows,
    )


def _at_end(
    backend: Backend, page: tuple[CostStream, ...], end_micros: int | None
) -> tuple[CostStream, ...]:
    """The streams with the newest points that they had at a time."""
    later = [
        stream
        for stream in page
        if end_micros is not None
        and stream.last is not None
        and nanos_to_micros(stream.last.time_unix_nano) >= end_micros
    ]
    if not later or end_micros is None:
        return page
    last: dict[tuple[int, int], CostPoint] = {}
    dialect = backend.dialect
    for id_list in _id_lists(sorted({stream.series_id for stream in later})):
        statement = sql(
            _LAST_BEFORE,
            stream_start=sql(dialect.micros, time=sql("m.stream_start")),
            time=sql(dialect.micros, time=sql("m.period_end")),
            start=sql(dialect.micros, time=sql("m.start_timestamp")),
            id_list=id_list,
            end=dialect.time_parameter(end_micros),
        )
        for series_id, stream_start, *point in fetch_all(backend, statement):
            key = (series_id, stream_start * NANOSECONDS_PER_MICROSECOND)
            found = cost_point_of(*point)
            last[key] = max(last.get(key, found), found)
    return tuple(
        stream._replace(last=last.get((stream.series_id, stream.stream_start)))
        if stream in later
        else stream
        for stream in page
    )
