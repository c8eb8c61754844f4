"""The newest exemplars of some series: what was noted beside single points."""

from __future__ import annotations

import json
from typing import Any

from exporter.backends.base import Backend
from exporter.backends.dialect import Dialect
from exporter.query.filters import (
    Filters,
    TimeRange,
    checked_limit,
    series_condition,
    time_condition,
)
from exporter.query.point_sql import series_id_in_subquery
from exporter.query.sql import Sql, fetch_all, sql

__all__ = ["latest_exemplars"]


def latest_exemplars(
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
    statement = _statement(series, time_range, checked_limit(limit), backend.dialect)
    return [json.loads(row) for (row,) in fetch_all(backend, statement)]


def _statement(series: Sql, time_range: TimeRange, limit: int, dialect: Dialect) -> Sql:
    return sql(
        """
        SELECT m.attributes FROM metric_exemplars AS m
        WHERE {series} AND {time}
        ORDER BY m.timestamp DESC, m.series_id DESC LIMIT {limit}
        """,
        series=series_id_in_subquery(series),
        time=time_condition(time_range, dialect),
        limit=limit,
    )
