"""All costs or points of a time range, page by page, in bounded memory.

Each page continues after the key of the last row (keyset pagination), so that all pages together
read a table once. Rows that arrive during the read may be included or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final

from exporter.backends.base import Backend
from exporter.backends.cost_rows import cost_point_of
from exporter.costs.stored_basis import parse_basis
from exporter.model import CostEntry, SeriesPoint
from exporter.query.catalog import definitions_statement, listed_series_condition
from exporter.query.costs import CostFilters, cost_columns, parse_amount
from exporter.query.filters import SeriesFilters, series_condition, series_id_in_subquery
from exporter.query.points import (
    TABLE_OF_TYPE,
    point_columns,
    point_rows,
    points_statement,
    types_statement,
)
from exporter.query.rows import PointRow
from exporter.query.sql_builder import Sql, fetch_all, joined, sql
from exporter.query.times import TimeRange
from exporter.time_units import NANOSECONDS_PER_MICROSECOND, seconds_to_micros

_PAGE_ROWS: Final = 10_000
_Row = tuple[Any, ...]
_TIME_AND_SERIES: Final = itemgetter(0, 1)


# The points from which the next ones will be counted, also if they cost nothing themselves.
_IS_NEWEST: Final = """(m.series_id, m.stream_start, m.period_end) IN (
    SELECT s.series_id, s.stream_start, s.last_timestamp FROM cost_streams AS s
    WHERE s.last_timestamp IS NOT NULL)"""


# Of a cost entry, in the order of `cost_columns`.
_FIELDS_AFTER_AMOUNT: Final = (
    "currency",
    "region",
    "cluster_id",
    "node_id",
    "service_name",
    "tags",
    "description",
    "billing_period",
    "source",
    "source_name",
)


def cost_pages(
    backend: Backend, time_range: TimeRange, page_rows: int = _PAGE_ROWS
) -> Iterator[list[CostEntry]]:
    """Cost entries with exact amounts, oldest first.

    Entries of points that cost nothing are left out, but for the newest of each stream.

    Args:
        backend: started.
        time_range: of the entries.
        page_rows: the maximum number of entries in a page.
    """
    dialect = backend.dialect
    condition = sql(
        "{in_range} AND (m.series_id IS NULL OR m.amount <> 0 OR {is_newest})",
        in_range=CostFilters().condition(time_range, dialect),
        is_newest=Sql((_IS_NEWEST,)),
    )
    after = sql("TRUE")
    while True:
        statement = sql(
            "SELECT {columns}, m.series_id, {stream_start}, {start}, m.value, m.point_count, "
            "CAST(m.basis AS TEXT) "
            "FROM cost_entries AS m WHERE {condition} AND {after} "
            "ORDER BY m.timestamp, m.entry_id LIMIT {page_rows}",
            columns=cost_columns(dialect),
            stream_start=sql(dialect.micros, time=sql("m.stream_start")),
            start=sql(dialect.micros, time=sql("m.start_timestamp")),
            condition=condition,
            after=after,
            page_rows=page_rows,
        )
        page = [_entry(row) for row in fetch_all(backend, statement)]
        if page:
            yield page
        if len(page) < page_rows:
            return
        last_micros = page[-1].time_unix_nano // NANOSECONDS_PER_MICROSECOND
        # The time is compared on its own too: only that lets a database skip partitions.
        after = sql(
            "m.timestamp >= {last} AND (m.timestamp, m.entry_id) > ({last}, {last_id})",
            last=dialect.time_parameter(last_micros),
            last_id=page[-1].entry_id,
        )


def point_pages(
    backend: Backend, filters: SeriesFilters, time_range: TimeRange, page_rows: int = _PAGE_ROWS
) -> Iterator[list[PointRow]]:
    """Points as `Reader.query_historical_metrics` returns them, one table after another.

    Within a table the newest come first. A point that is stored twice is returned once; points of
    one series and time with other starts are several points.

    Args:
        backend: started.
        filters: of the series.
        time_range: of the points.
        page_rows: the maximum number of points in a page.
    """
    condition = series_condition(filters, backend.dialect)
    types = fetch_all(backend, types_statement(condition))
    series = None if condition is None else series_id_in_subquery(condition)
    for table in sorted({TABLE_OF_TYPE[metric_type] for (metric_type,) in types}):
        for points in _table_pages(backend, table, series, time_range, page_rows):
            series_ids = dict.fromkeys(point[1] for point in points)
            wanted = listed_series_condition(series_ids, backend.dialect)
            definitions = fetch_all(backend, definitions_statement(wanted))
            yield point_rows(points, point_columns([table]), definitions)


def _table_pages(
    backend: Backend, table: str, series: Sql | None, time_range: TimeRange, page_rows: int
) -> Iterator[list[_Row]]:
    dialect = backend.dialect
    conditions = [] if series is None else [series]
    limit = page_rows
    while True:
        condition = joined(" AND ", conditions) if conditions else None
        statement = points_statement([table], condition, time_range, limit, dialect)
        points = fetch_all(backend, statement)
        is_last_page = len(points) < limit
        if not is_last_page:
            # The last series and time can have points beyond the limit; the next page has them.
            last_key = _TIME_AND_SERIES(points[-1])
            while points and _TIME_AND_SERIES(points[-1]) == last_key:
                points.pop()
            if not points:
                limit *= 2
                continue
        if points:
            yield list({point[:3]: point for point in reversed(points)}.values())[::-1]
        if is_last_page:
            return
        limit = page_rows
        seconds, series_id = points[-1][:2]
        last_micros = seconds_to_micros(seconds)
        time_range = TimeRange(time_range.start_micros, last_micros + 1)
        older = sql(
            "(m.timestamp, m.series_id) < ({last}, {series_id})",
            last=dialect.time_parameter(last_micros),
            series_id=series_id,
        )
        conditions = [older] if series is None else [series, older]


def _entry(row: _Row) -> CostEntry:
    entry_id, micros, resource_id, category, amount, *others, period_start, period_end = row[:-6]
    series_id, stream_start, start, value, count, basis = row[-6:]
    derived_from = None
    if series_id is not None:
        derived_from = SeriesPoint(
            series_id,
            (stream_start or 0) * NANOSECONDS_PER_MICROSECOND,
            cost_point_of(period_end, start, value, count),
            None if basis is None else parse_basis(basis),
        )
    return CostEntry(
        entry_id,
        micros * NANOSECONDS_PER_MICROSECOND,
        resource_id,
        category,
        parse_amount(amount),
        **dict(zip(_FIELDS_AFTER_AMOUNT, others, strict=True)),
        period_start_unix_nano=(period_start or 0) * NANOSECONDS_PER_MICROSECOND,
        period_end_unix_nano=period_end * NANOSECONDS_PER_MICROSECOND,
        derived_from=derived_from,
    )
