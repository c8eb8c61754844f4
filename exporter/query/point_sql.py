"""Single points as they were received, newest first: the statements that ask for them.

Points and the definitions of their series are asked for apart: thousands of points share a few
definitions, and one of 300 bytes with every point takes longer to send and read than the points.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from exporter.backends.dialect import Dialect
from exporter.query.filters import MAX_LISTED_SERIES, TimeRange, time_condition
from exporter.query.sql import Sql, joined, sql

__all__ = [
    "DEFINITION_COLUMNS",
    "TABLE_OF_TYPE",
    "definitions_statement",
    "few_definitions_statement",
    "history_statement",
    "point_columns",
    "series_id_in_subquery",
    "types_statement",
]

TABLE_OF_TYPE: Final = {
    "gauge": "system_metrics",
    "sum": "system_metrics",
    "histogram": "metric_histograms",
    "exponential_histogram": "metric_histograms",
    "summary": "metric_summaries",
}

DEFINITION_COLUMNS: Final = (
    "series_id",
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

_DEFINITION: Final = Sql((", ".join(f"s.{name}" for name in DEFINITION_COLUMNS),))

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


def types_statement(series: Sql | None) -> Sql:
    """The types that the chosen series have, each once.

    Args:
        series: the condition on `metric_series AS s`, None for all of them.
    """
    return sql(
        "SELECT DISTINCT s.metric_type FROM metric_series AS s WHERE {series}",
        series=sql("TRUE") if series is None else series,
    )


def few_definitions_statement(series: Sql) -> Sql:
    """`DEFINITION_COLUMNS` of the chosen series, one more than a statement names if too many."""
    return sql(
        "SELECT {columns} FROM metric_series AS s WHERE {series} LIMIT {most}",
        columns=_DEFINITION,
        series=series,
        most=MAX_LISTED_SERIES + 1,
    )


def series_id_in_subquery(series: Sql) -> Sql:
    """The condition that a point `m` is of a chosen series, of which there may be any number."""
    return sql(
        "m.series_id IN (SELECT s.series_id FROM metric_series AS s WHERE {series})", series=series
    )


def point_columns(tables: Iterable[str]) -> tuple[str, ...]:
    """What `history_statement` answers of these tables after time, series_id and start."""
    there = {name for table in tables for name in _COLUMNS_OF_TABLE[table]}
    return tuple(name for name in _POINT_COLUMNS if name in there)


def history_statement(
    tables: Sequence[str],
    series: Sql | None,
    time_range: TimeRange,
    limit: int,
    dialect: Dialect,
) -> Sql:
    """The newest points of some tables together: time, series_id, start, `point_columns`.

    Times are seconds since 1970, which a database divides faster than Python does.

    Each table is read backwards along its primary key (timestamp, series_id) and left as soon as
    it has given `limit` points, so a short answer about recent points is quick in a table of any
    size. A series that stopped sending long ago makes it read back to `start_micros`. Plan:

        SEARCH m USING PRIMARY KEY (timestamp>? AND timestamp<?)
        LIST SUBQUERY (the chosen series, looked up for each point)

    Args:
        tables: names of point tables, at least one.
        series: the condition on points `m` of the chosen series, None for all of them.
        time_range: which points.
        limit: most rows that come back.
        dialect: of the database.
    """
    columns = point_columns(tables)
    condition = time_condition(time_range, dialect)
    if series is not None:
        condition = sql("{time} AND {series}", time=condition, series=series)
    newest = [_points(table, columns, condition, limit, dialect) for table in tables]
    if len(newest) == 1:
        return newest[0]
    return sql(
        "SELECT * FROM ({newest}) AS p ORDER BY time DESC, series_id DESC LIMIT {limit}",
        newest=joined(
            " UNION ALL ",
            [
                sql("SELECT * FROM ({points}) AS {table}", points=points, table=Sql((table,)))
                for points, table in zip(newest, tables, strict=True)
            ],
        ),
        limit=limit,
    )


def definitions_statement(series_ids: Iterable[int], dialect: Dialect) -> Sql:
    """The definitions of these series: `DEFINITION_COLUMNS`."""
    ids = list(series_ids)
    listed, nothing = (f"{{{','.join(map(str, one))}}}" for one in (ids, [0] * len(ids)))
    chosen = sql(
        dialect.members,
        members=json.dumps([(series_id, 0, 0) for series_id in ids]),
        series_ids=listed,
        groups=nothing,
        cumulatives=nothing,
    )
    return sql(
        "SELECT {columns} FROM metric_series AS s "
        "WHERE s.series_id IN (SELECT chosen.series_id FROM ({chosen}) AS chosen)",
        columns=_DEFINITION,
        chosen=chosen,
    )


def _points(
    table: str,
    columns: Iterable[str],
    condition: Sql,
    limit: int,
    dialect: Dialect,
) -> Sql:
    return sql(
        """
        SELECT {time} AS time, m.series_id, {start} AS start, {columns}
        FROM {table} AS m
        WHERE {condition}
        ORDER BY m.timestamp DESC, m.series_id DESC LIMIT {limit}
        """,
        time=sql(dialect.seconds, time=sql("m.timestamp")),
        start=sql(dialect.seconds, time=sql("m.start_timestamp")),
        columns=joined(", ", [_column(table, name, dialect) for name in columns]),
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
