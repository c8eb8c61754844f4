"""A table read in pages, each of which ends between two times, so that a time tells a place."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from exporter.backends.base import Backend
from exporter.model import Series
from exporter.query.filters import TimeRange, time_condition
from exporter.query.sql import Sql, fetch_all, joined, sql
from exporter.transfer.tables import SERIES_COLUMNS, Column, Row, Table, series_of

__all__ = ["Page", "named_ids", "paged", "pages", "series_with_ids"]

Item = TypeVar("Item")

_IDS_A_STATEMENT: Final = 500


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Rows in the order of time; `last_micro` is that of the last, and no later page has it."""

    rows: list[Item]
    last_micro: int


def pages(
    backend: Backend, table: Table, wanted: TimeRange, *, after: int = 0, rows: int
) -> Iterator[Page[Row]]:
    """Pages of about so many rows, in bounded memory.

    Args:
        backend: open, for reading at least.
        table: what to read.
        wanted: which of its rows.
        after: microseconds; rows up to this time are left out.
        rows: of a page; more where more have the very same time.
    """

    def read(some: TimeRange, most: int | None) -> list[Row]:
        return _read(backend, table, some, most)

    return paged(read, lambda row: int(row[0]), wanted, after=after, rows=rows)


def paged(
    read: Callable[[TimeRange, int | None], list[Item]],
    micro: Callable[[Item], int],
    wanted: TimeRange,
    *,
    after: int,
    rows: int,
) -> Iterator[Page[Item]]:
    """Likewise, of whatever can be read in the order of time.

    Args:
        read: the first so many rows of a stretch of time, or all.
        micro: the time of a row, microseconds since 1970.
        wanted: as for `pages`.
        after: likewise.
        rows: likewise.
    """
    at = max(wanted.start_micros or 0, after + 1)
    while wanted.end_micros is None or at < wanted.end_micros:
        found = read(TimeRange(at, wanted.end_micros), rows)
        if not found:
            return
        is_last = len(found) < rows
        first, last = micro(found[0]), micro(found[-1])
        if not is_last and first == last:
            found = read(TimeRange(last, last + 1), None)
        elif not is_last:
            # The last time may have rows that did not fit; leave it to the next page.
            del found[bisect_left(found, last, key=micro) :]
        last = micro(found[-1])
        yield Page(found, last)
        if is_last:
            return
        at = last + 1


def _read(backend: Backend, table: Table, wanted: TimeRange, rows: int | None) -> list[Row]:
    key = (Column("timestamp", "time"), Column("series_id"))
    statement = sql(
        "SELECT {columns} FROM {table} AS m WHERE {wanted} ORDER BY m.timestamp {limit}",
        columns=_columns(backend, (*key, *table.columns)),
        table=Sql((table.name,)),
        wanted=time_condition(wanted, backend.dialect),
        limit=sql("") if rows is None else sql("LIMIT {rows}", rows=rows),
    )
    return list(fetch_all(backend, statement))


def _columns(backend: Backend, columns: Iterable[Column]) -> Sql:
    return joined(", ", (_column(backend, column) for column in columns))


def _column(backend: Backend, column: Column) -> Sql:
    name = Sql((f"m.{column.name}",))
    if column.kind == "time":
        return sql(backend.dialect.micros, time=name)
    if column.kind == "start":
        return sql("COALESCE({micros}, 0)", micros=sql(backend.dialect.micros, time=name))
    if column.kind == "amount":
        return sql(backend.dialect.cost_amount)
    return sql("CAST({name} AS TEXT)", name=name) if column.kind == "json" else name


def series_with_ids(backend: Backend, series_ids: Iterable[int]) -> Iterator[Series]:
    """The definitions of these series, in no order."""
    for chosen in named_ids(list(series_ids)):
        statement = sql(
            "SELECT {columns} FROM metric_series AS m WHERE m.series_id IN ({chosen})",
            columns=_columns(backend, SERIES_COLUMNS),
            chosen=chosen,
        )
        for row in fetch_all(backend, statement):
            yield series_of(row)


def named_ids(series_ids: Sequence[int]) -> Iterator[Sql]:
    """Ids as lists for IN, in pieces that every database takes."""
    for begin in range(0, len(series_ids), _IDS_A_STATEMENT):
        some = series_ids[begin : begin + _IDS_A_STATEMENT]
        yield joined(", ", (sql("{one}", one=one) for one in some))
