"""A table read in pages, each of which ends between two times, so that a time tells a place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from exporter.backends.base import Backend
from exporter.model import Series
from exporter.query.selection import TimeRange, within
from exporter.query.sql import Sql, fetched, joined, sql
from exporter.transfer.tables import SERIES_COLUMNS, Column, Row, Table, series_of

__all__ = ["Page", "pages", "series_with_ids"]

_IDS_A_STATEMENT: Final = 500


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order of time; `last_micro` is that of the last, and no later page has it."""

    rows: list[Row]
    last_micro: int


def pages(
    backend: Backend, table: Table, wanted: TimeRange, *, after: int = 0, rows: int
) -> Iterator[Page]:
    """Pages of about so many rows, in bounded memory.

    Args:
        backend: open, for reading at least.
        table: what to read.
        wanted: which of its rows.
        after: microseconds; rows up to this time are left out.
        rows: of a page; more where more have the very same time.
    """
    at = max(wanted.start_micros or 0, after + 1)
    while wanted.end_micros is None or at < wanted.end_micros:
        found = _read(backend, table, TimeRange(at, wanted.end_micros), rows)
        if not found:
            return
        is_last = len(found) < rows
        if not is_last:
            found = _whole_times(backend, table, found)
        yield Page(found, found[-1][0])
        if is_last:
            return
        at = found[-1][0] + 1


def _whole_times(backend: Backend, table: Table, found: list[Row]) -> list[Row]:
    # The last time may have rows that did not fit; leave it to the next page, if this has another.
    first, last = found[0][0], found[-1][0]
    if first == last:
        return _read(backend, table, TimeRange(last, last + 1), None)
    return [row for row in found if row[0] < last]


def _read(backend: Backend, table: Table, wanted: TimeRange, rows: int | None) -> list[Row]:
    key = (Column("timestamp", "time"), Column("series_id"))
    statement = sql(
        "SELECT {columns} FROM {table} AS m WHERE {wanted} ORDER BY m.timestamp {limit}",
        columns=_columns(backend, (*key, *table.columns)),
        table=Sql((table.name,)),
        wanted=within(wanted, backend.dialect),
        limit=sql("") if rows is None else sql("LIMIT {rows}", rows=rows),
    )
    return list(fetched(backend, statement))


def _columns(backend: Backend, columns: Iterable[Column]) -> Sql:
    return joined(", ", (_column(backend, column) for column in columns))


def _column(backend: Backend, column: Column) -> Sql:
    name = Sql((f"m.{column.name}",))
    if column.kind == "time":
        return sql(backend.dialect.micros, time=name)
    if column.kind == "amount":
        return sql(backend.dialect.cost_amount)
    return sql("CAST({name} AS TEXT)", name=name) if column.kind == "json" else name


def series_with_ids(backend: Backend, series_ids: Iterable[int]) -> Iterator[Series]:
    """The definitions of these series, in no order."""
    ids = list(series_ids)
    for begin in range(0, len(ids), _IDS_A_STATEMENT):
        some = ids[begin : begin + _IDS_A_STATEMENT]
        chosen = joined(", ", (sql("{one}", one=one) for one in some))
        statement = sql(
            "SELECT {columns} FROM metric_series AS m WHERE m.series_id IN ({chosen})",
            columns=_columns(backend, SERIES_COLUMNS),
            chosen=chosen,
        )
        for row in fetched(backend, statement):
            yield series_of(row)
