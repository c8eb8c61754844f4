"""Single points as they were received, newest first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.query.selection import TimeRange, within
from exporter.query.sql import Sql, joined, sql

__all__ = ["TABLE_OF_TYPE", "history_rows", "history_statement"]

_Parse = Callable[[str], dict[str, Any]]

TABLE_OF_TYPE: Final = {
    "gauge": "system_metrics",
    "sum": "system_metrics",
    "histogram": "metric_histograms",
    "exponential_histogram": "metric_histograms",
    "summary": "metric_summaries",
}

_SERIES_COLUMNS: Final = (
    "metric_name",
    "metric_type",
    "unit",
    "temporality",
    "is_monotonic",
    "cluster_id",
    "node_id",
    "service_name",
    "attributes",
    "resource",
)

# What a table lacks is a NULL of this type, so that the three can be one UNION in any database;
# the names in braces are of the dialect.
_NUMBER_ARRAY: Final = "{number_array}"
_COUNT_ARRAY: Final = "{count_array}"
_POINT_COLUMNS: Final = {
    "value": "DOUBLE PRECISION",
    "count": "BIGINT",
    "sum": "DOUBLE PRECISION",
    "min": "DOUBLE PRECISION",
    "max": "DOUBLE PRECISION",
    "bounds": _NUMBER_ARRAY,
    "bucket_counts": _COUNT_ARRAY,
    "scale": "INTEGER",
    "zero_count": "BIGINT",
    "zero_threshold": "DOUBLE PRECISION",
    "positive_offset": "INTEGER",
    "positive_counts": _COUNT_ARRAY,
    "negative_offset": "INTEGER",
    "negative_counts": _COUNT_ARRAY,
    "quantiles": _NUMBER_ARRAY,
    "quantile_values": _NUMBER_ARRAY,
}
_COLUMNS_OF_TABLE: Final = {
    "system_metrics": ("value",),
    "metric_histograms": tuple(_POINT_COLUMNS)[1:14],
    "metric_summaries": ("count", "sum", "quantiles", "quantile_values"),
}


def history_statement(
    tables: Sequence[str],
    series: Sql | None,
    time_range: TimeRange,
    limit: int,
    dialect: Dialect,
) -> Sql:
    """The newest points of some tables together.

    Each table is read backwards along its primary key (timestamp, series_id) and left as soon as
    it has given `limit` points, so a short answer about recent points is quick in a table of any
    size. A series that stopped sending long ago makes it read back to `start_micros`. Plan:

        SEARCH m USING PRIMARY KEY (timestamp>? AND timestamp<?)
        LIST SUBQUERY (the chosen series, looked up for each point)
        SEARCH s USING INTEGER PRIMARY KEY (rowid=?)

    Args:
        tables: names of point tables, at least one.
        series: the condition on `metric_series AS s`, None for all of them.
        time_range: which points.
        limit: most rows that come back.
        dialect: of the database.
    """
    newest = joined(
        " UNION ALL ",
        [
            sql(
                "SELECT * FROM ({points}) AS {table}",
                points=_points(table, series, time_range, limit, dialect),
                table=Sql((table,)),
            )
            for table in tables
        ],
    )
    return sql(
        """
        SELECT p.time, p.start, {series_columns}, {point_columns}
        FROM (
            SELECT * FROM ({newest}) AS every
            ORDER BY time DESC, series_id DESC LIMIT {limit}
        ) AS p
        {look_up} metric_series AS s ON s.series_id = p.series_id
        ORDER BY p.time DESC, p.series_id DESC
        """,
        series_columns=_names("s", _SERIES_COLUMNS),
        point_columns=_names("p", _POINT_COLUMNS),
        newest=newest,
        limit=limit,
        look_up=Sql((dialect.look_up_join,)),
    )


def _points(
    table: str, series: Sql | None, time_range: TimeRange, limit: int, dialect: Dialect
) -> Sql:
    condition = within(time_range, dialect)
    if series is not None:
        condition = sql(
            "{time} AND m.series_id IN (SELECT s.series_id FROM metric_series AS s WHERE {series})",
            time=condition,
            series=series,
        )
    return sql(
        """
        SELECT {time} AS time, m.series_id, {start} AS start, {columns}
        FROM {table} AS m
        WHERE {condition}
        ORDER BY m.timestamp DESC, m.series_id DESC LIMIT {limit}
        """,
        time=sql(dialect.micros, time=sql("m.timestamp")),
        start=sql(dialect.micros, time=sql("m.start_timestamp")),
        columns=joined(", ", [_column(table, name, dialect) for name in _POINT_COLUMNS]),
        table=Sql((table,)),
        condition=condition,
        limit=limit,
    )


def _column(table: str, name: str, dialect: Dialect) -> Sql:
    if name in _COLUMNS_OF_TABLE[table]:
        return Sql((f'm."{name}"',))
    column_type = sql(
        _POINT_COLUMNS[name],
        number_array=Sql((dialect.number_array,)),
        count_array=Sql((dialect.count_array,)),
    )
    return sql("CAST(NULL AS {type}) AS {name}", type=column_type, name=Sql((f'"{name}"',)))


def _names(source: str, names: Iterable[str]) -> Sql:
    return Sql((", ".join(f'{source}."{name}"' for name in names),))


def history_rows(answer: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The answer to `history_statement` as dicts; each has its own `attributes` and `resource`."""
    parse: _Parse = cache(json.loads)  # most rows of an answer share a few texts
    return [_row(columns, parse) for columns in answer]


def _row(columns: tuple[Any, ...], parse: _Parse) -> dict[str, Any]:
    named = dict(zip(("time", "start", *_SERIES_COLUMNS, *_POINT_COLUMNS), columns, strict=True))
    point = _SHAPES[named["metric_type"]](named)
    return {
        "timestamp": named["time"] / 1_000_000,
        "metric_name": named["metric_name"],
        "metric_type": named["metric_type"],
        "value": _number(named["value"]),
        "unit": named["unit"],
        "cluster_id": named["cluster_id"],
        "node_id": named["node_id"],
        "service_name": named["service_name"],
        "attributes": dict(parse(named["attributes"])),
        "resource": dict(parse(named["resource"])),
        "temporality": named["temporality"],
        "is_monotonic": None if named["is_monotonic"] is None else bool(named["is_monotonic"]),
        "start_timestamp": None if named["start"] is None else named["start"] / 1_000_000,
        **point,
    }


def _nothing_more(_: dict[str, Any]) -> dict[str, Any]:
    return {}


def _statistics(named: dict[str, Any]) -> dict[str, Any]:
    return {"count": named["count"]} | {key: _number(named[key]) for key in ("sum", "min", "max")}


def _explicit(named: dict[str, Any]) -> dict[str, Any]:
    return {
        **_statistics(named),
        "bounds": _numbers(named["bounds"]),
        "bucket_counts": _array(named["bucket_counts"]),
    }


def _exponential(named: dict[str, Any]) -> dict[str, Any]:
    return {
        **_statistics(named),
        "scale": named["scale"],
        "zero_count": named["zero_count"],
        "zero_threshold": _number(named["zero_threshold"]),
        "positive_offset": named["positive_offset"],
        "positive_counts": _array(named["positive_counts"]),
        "negative_offset": named["negative_offset"],
        "negative_counts": _array(named["negative_counts"]),
    }


def _summary(named: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(_numbers(named["quantiles"]), _numbers(named["quantile_values"]), strict=True)
    return {
        "count": named["count"],
        "sum": _number(named["sum"]),
        "quantiles": [{"quantile": quantile, "value": value} for quantile, value in pairs],
    }


_SHAPES: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "gauge": _nothing_more,
    "sum": _nothing_more,
    "histogram": _explicit,
    "exponential_histogram": _exponential,
    "summary": _summary,
}


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)  # a NaN may come as text


def _array(text: str | None) -> list[int]:
    return [] if text is None else list(json.loads(text))


def _numbers(text: str | None) -> list[float]:
    return [float(item) for item in _array(text)]
