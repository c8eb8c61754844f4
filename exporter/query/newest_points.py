"""The newest points and exemplars of some series.

In a columnstore the newest points are read in short time windows, which spares unpacking a whole
chunk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from exporter.backends.base import Backend
from exporter.backends.hypertable_catalog import NewestChunk
from exporter.query.catalog import (
    DEFINITION_COLUMNS,
    definitions_statement,
    listed_series_condition,
)
from exporter.query.filters import (
    MAX_LISTED_SERIES,
    SeriesFilters,
    checked_limit,
    series_condition,
    series_id_in_list,
    series_id_in_subquery,
    time_condition,
)
from exporter.query.points import (
    TABLE_OF_TYPE,
    point_columns,
    point_rows,
    points_statement,
    types_statement,
)
from exporter.query.rows import PointRow
from exporter.query.sql_builder import Sql, fetch_all, sql
from exporter.query.times import TimeRange

_Rows = list[tuple[Any, ...]]

_ID_AT: Final = DEFINITION_COLUMNS.index("series_id")
_TYPE_AT: Final = DEFINITION_COLUMNS.index("metric_type")

# For fewer series, a columnstore finds the batches by the ids of the series.
_MIN_SERIES_FOR_WINDOWS: Final = 20
# For more points, the whole chunk has to be unpacked anyway.
_MAX_POINTS_FOR_WINDOWS: Final = 100_000
FIRST_WINDOW_MICROS: Final = 300_000_000
# A window is this much longer than the rows found so far suggest, because series are uneven.
_WINDOW_MARGIN: Final = 1.5
# After windows without rows, the next is this much longer than all before: 5 minutes, 40, 5 hours.
# For senders that report each quarter of an hour, reading the rest at once took 49 to 70 ms, and
# the longer windows take 11 to 17.
_EMPTY_WINDOW_FACTOR: Final = 7.0
_MAX_WINDOWS: Final = 4


def newest_points(
    backend: Backend, condition: Sql | None, time_range: TimeRange, limit: int
) -> list[PointRow]:
    """The points of every type, newest first; see `Reader.query_historical_metrics`.

    Args:
        backend: started.
        condition: on `metric_series AS s`, from `series_condition`; None for all series.
        time_range: of the points.
        limit: the maximum number of points.
    """
    dialect = backend.dialect
    by_subquery = None if condition is None else series_id_in_subquery(condition)
    by_id, definitions = by_subquery, None
    if condition is not None and dialect.series_id_in_list is not None:
        # One row more than a statement may list, to detect that there are too many series.
        found = fetch_all(backend, definitions_statement(condition, MAX_LISTED_SERIES + 1))
        listed = series_id_in_list([row[_ID_AT] for row in found], dialect)
        if listed is not None:
            by_id, definitions = listed, found
    if definitions is None:
        types = {row[0] for row in fetch_all(backend, types_statement(condition))}
    else:
        types = {row[_TYPE_AT] for row in definitions}
    tables = sorted({TABLE_OF_TYPE[metric_type] for metric_type in types})
    if not tables:
        return []

    def read(series: Sql | None, part: TimeRange, most: int) -> _Rows:
        return fetch_all(backend, points_statement(tables, series, part, most, dialect))

    chunk = None
    if (
        backend.hypertable_catalog is not None
        and "system_metrics" in tables
        and limit <= _MAX_POINTS_FOR_WINDOWS
        and (definitions is None or len(definitions) > _MIN_SERIES_FOR_WINDOWS)
    ):
        chunk = backend.hypertable_catalog.newest_chunk(time_range.end_micros)
    if chunk is None:
        points = read(by_id, time_range, limit)
    else:
        # A columnstore would search each batch for each listed id, so the subquery is faster. A
        # chunk of rows is read backwards until there are enough; the subquery would sort it.
        read_window = partial(read, by_subquery if chunk.is_columnstore else by_id)
        points = read_windows(read_window, partial(read, by_id), time_range, chunk, limit)
    if definitions is None:
        series_ids = dict.fromkeys(point[1] for point in points)
        wanted = listed_series_condition(series_ids, dialect)
        definitions = fetch_all(backend, definitions_statement(wanted))
    return point_rows(points, point_columns(tables), definitions)


def read_windows(
    read_window: Callable[[TimeRange, int], _Rows],
    read_rest: Callable[[TimeRange, int], _Rows],
    time_range: TimeRange,
    chunk: NewestChunk,
    limit: int,
) -> _Rows:
    """The newest rows of a range, newest first, by a few windows that do not overlap.

    A columnstore is ordered by series, so it cannot be read backwards in time: the newest thousand
    rows cost as much as all rows of the newest chunk. But each batch of rows that one COPY
    compressed has its first and last time, and few batches are of the last minutes. So a short
    window at the end of the chunk is read first. The next window should hold the missing rows,
    judging by the rows found so far; if there were none, it is much longer. The rest of the range
    is read at once.

    It also pays if the newest chunk is not a columnstore yet and others are. For two hundred
    series PostgreSQL plans both kinds together as a sort of all their rows in the newest chunk:
    110 ms instead of 10.

    Args:
        read_window: the newest rows of a short range, newest first, up to a number of rows.
        read_rest: the same for a long range.
        time_range: of the question.
        chunk: the newest chunk.
        limit: the maximum number of rows.
    """
    earliest = max(chunk.begin_micros, time_range.start_micros or 0)
    last = chunk.last_point_micros
    if time_range.end_micros is not None:
        last = min(last, time_range.end_micros)  # so that the first window begins in the range
    begin, end = last - FIRST_WINDOW_MICROS, time_range.end_micros
    rows: _Rows = []
    for _ in range(_MAX_WINDOWS):
        if begin <= earliest or len(rows) >= limit:
            break
        rows += read_window(TimeRange(begin, end), limit - len(rows))
        factor = _EMPTY_WINDOW_FACTOR
        if rows:
            factor = (limit - len(rows)) / len(rows) * _WINDOW_MARGIN
        begin, end = begin - int((last - begin) * factor), begin
    if len(rows) < limit:
        rows += read_rest(TimeRange(time_range.start_micros, end), limit - len(rows))
    return rows


def latest_exemplars(
    backend: Backend, filters: SeriesFilters, time_range: TimeRange, limit: int
) -> list[dict[str, Any]]:
    """The attributes of the exemplars of some series, newest first.

    Args:
        backend: started.
        filters: of the series; at least one condition.
        time_range: of the exemplars.
        limit: the maximum number of rows.

    Raises:
        QueryError: the limit is not a whole number from 0 up.
        ExporterError: what the backend raises.
    """
    condition = series_condition(filters, backend.dialect)
    if condition is None:
        raise AssertionError("exemplars need a filter of their series")
    statement = sql(
        """
        SELECT m.attributes FROM metric_exemplars AS m
        WHERE {series} AND {time}
        ORDER BY m.timestamp DESC, m.series_id DESC LIMIT {limit}
        """,
        series=series_id_in_subquery(condition),
        time=time_condition(time_range, backend.dialect),
        limit=checked_limit(limit),
    )
    return [json.loads(row) for (row,) in fetch_all(backend, statement)]
