"""Everything of a stretch of time, a page after the other, in bounded memory.

Each page goes on behind the key of the last row, so that all of them together read a table once.
Rows that arrive meanwhile may be among the answer or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from exporter.backends.base import Backend
from exporter.model import CostEntry
from exporter.query.costs import CostFilters, cost_columns, parse_amount
from exporter.query.filters import Filters, TimeRange, series_condition
from exporter.query.point_rows import history_rows
from exporter.query.point_sql import (
    TABLE_OF_TYPE,
    definitions_statement,
    history_statement,
    point_columns,
    series_id_in_subquery,
    types_statement,
)
from exporter.query.sql import Sql, fetch_all, joined, sql

__all__ = ["cost_pages", "point_pages"]

_PAGE_ROWS: Final = 10_000
_Row = tuple[Any, ...]
_KEY_OF_POINT: Final = itemgetter(0, 1)


def cost_pages(
    backend: Backend, time_range: TimeRange, page_rows: int = _PAGE_ROWS
) -> Iterator[list[CostEntry]]:
    """Cost entries with exact amounts, oldest first; without those of points that came to nothing.

    Args:
        backend: a started one.
        time_range: of which time.
        page_rows: most entries of a page.
    """
    dialect = backend.dialect
    wanted = CostFilters().on_entries(time_range, dialect)
    after = sql("TRUE")
    while True:
        statement = sql(
            "SELECT {columns} FROM cost_entries AS m WHERE {wanted} AND {after} "
            "ORDER BY m.timestamp, m.entry_id LIMIT {page_rows}",
            columns=cost_columns(dialect),
            wanted=wanted,
            after=after,
            page_rows=page_rows,
        )
        page = [_entry(row) for row in fetch_all(backend, statement)]
        if page:
            yield page
        if len(page) < page_rows:
            return
        last_micros = page[-1].time_unix_nano // 1_000
        # The time by itself as well: a database leaves out partitions by that alone.
        after = sql(
            "m.timestamp >= {last} AND (m.timestamp, m.entry_id) > ({last}, {last_id})",
            last=dialect.time_parameter(last_micros),
            last_id=page[-1].entry_id,
        )


def point_pages(
    backend: Backend, filters: Filters, time_range: TimeRange, page_rows: int = _PAGE_ROWS
) -> Iterator[list[dict[str, Any]]]:
    """Points as `Reader.query_historical_metrics` gives them, one table after another.

    Within a table the newest come first. Of points with one series and time there is one.

    Args:
        backend: a started one.
        filters: of which series.
        time_range: of which time.
        page_rows: most points of a page.
    """
    condition = series_condition(filters, backend.dialect)
    types = fetch_all(backend, types_statement(condition))
    chosen = None if condition is None else series_id_in_subquery(condition)
    for table in sorted({TABLE_OF_TYPE[metric_type] for (metric_type,) in types}):
        for points in _table_pages(backend, table, chosen, time_range, page_rows):
            series_ids = dict.fromkeys(point[1] for point in points)
            definitions = fetch_all(backend, definitions_statement(series_ids, backend.dialect))
            yield history_rows(points, point_columns([table]), definitions)


def _table_pages(
    backend: Backend, table: str, chosen: Sql | None, time_range: TimeRange, page_rows: int
) -> Iterator[list[_Row]]:
    dialect = backend.dialect
    conditions = [] if chosen is None else [chosen]
    while True:
        series = joined(" AND ", conditions) if conditions else None
        statement = history_statement([table], series, time_range, page_rows, dialect)
        points = fetch_all(backend, statement)
        if points:
            yield [next(same) for _, same in groupby(points, key=_KEY_OF_POINT)]
        if len(points) < page_rows:
            return
        seconds, series_id = points[-1][:2]
        last_micros = round(seconds * 1_000_000)
        time_range = TimeRange(time_range.start_micros, last_micros + 1)
        behind = sql(
            "(m.timestamp, m.series_id) < ({last}, {series_id})",
            last=dialect.time_parameter(last_micros),
            series_id=series_id,
        )
        conditions = [behind] if chosen is None else [chosen, behind]


def _entry(row: _Row) -> CostEntry:
    entry_id, micros, resource_id, category, amount, *others = row
    return CostEntry(entry_id, micros * 1_000, resource_id, category, parse_amount(amount), *others)
