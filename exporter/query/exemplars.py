"""The newest exemplars of some series: what was noted beside single points."""

from __future__ import annotations

import json
from typing import Any

from exporter.backends.base import Backend
from exporter.backends.dialect import Dialect
from exporter.query.history import of_series
from exporter.query.selection import Filters, TimeRange, row_limit, series_condition, within
from exporter.query.sql import Sql, fetched, sql

__all__ = ["newest_exemplars"]


def newest_exemplars(
    backend: Backend, filters: Filters, time_range: TimeRange, limit: int
) -> list[dict[str, Any]]:
    """The attributes of exemplars, newest first.

    Args:
        backend: a started one.
        filters: which series; they must choose some.
        time_range: when.
        limit: most that come back.

    Raises:
        QueryError: the limit is no whole number from 0 up.
        ExporterError: what the backend raises.
    """
    series = series_condition(filters, backend.dialect)
    if series is None:
        raise AssertionError("exemplars are asked for by series")
    statement = _statement(series, time_range, row_limit(limit), backend.dialect)
    return [json.loads(row) for (row,) in fetched(backend, statement)]


def _statement(series: Sql, time_range: TimeRange, limit: int, dialect: Dialect) -> Sql:
    return sql(
        """
        SELECT m.attributes FROM metric_exemplars AS m
        WHERE {series} AND {time}
        ORDER BY m.timestamp DESC, m.series_id DESC LIMIT {limit}
        """,
        series=of_series(series),
        time=within(time_range, dialect),
        limit=limit,
    )
