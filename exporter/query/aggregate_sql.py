"""Statements for min, max, avg, sum, count and last, from the points or from a roll-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.query.aggregate_query import AggregateQuery
from exporter.query.rollup_planner import RollupPlan
from exporter.query.sql_builder import Sql, joined, sql
from exporter.query.times import TimeRange

_STATISTICS: Final = {
    "min": "MIN({number})",
    "max": "MAX({number})",
    "avg": "AVG({number})",
    "sum": "SUM({number})",
    "count": "COUNT({value})",
}

# The columns of a roll-up that statistics are computed from, and the same of a single point. A NaN
# counts as a point and is left out of every other statistic.
_ROLLUP_COLUMNS: Final = sql("m.points, m.numbers, m.sum, m.min, m.max")
_POINT_COLUMNS: Final = """
    1 AS points, CASE WHEN {number} IS NULL THEN 0 ELSE 1 END AS numbers,
    {number} AS sum, {number} AS min, {number} AS max"""
_COMBINED: Final = {
    "min": sql("MIN(min)"),
    "max": sql("MAX(max)"),
    "avg": sql("SUM(sum) / NULLIF(SUM(numbers), 0)"),
    "sum": sql("SUM(sum)"),
    "count": sql("CAST(SUM(points) AS BIGINT)"),
}

ROLLUP_AGGREGATIONS: Final = frozenset({*_COMBINED, "last"})
"""The aggregations that can be computed from the buckets of a roll-up."""


def statistic_statement(query: AggregateQuery, aggregation: str) -> Sql:
    """Rows of bucket, grp and value over all recorded points of gauges and sums.

    A NaN counts as a point and is left out of every other statistic. The value is NULL if a bucket
    has nothing but NaN, or infinities of both signs.
    """
    bucket = query.stored_bucket(sql("m.timestamp"))
    return sql(
        """
        WITH {selected}
        SELECT {start} AS bucket, c.grp AS grp, {statistic} AS value
        {points} AND m.value IS NOT NULL
        GROUP BY {bucket}, c.grp
        {order_and_limit}
        """,
        selected=query.selected_table(),
        start=query.stored_bucket_start(bucket),
        bucket=bucket,
        statistic=_statistic(query, aggregation, sql("m.value")),
        points=query.points("system_metrics", query.time_range),
        order_and_limit=query.order_and_limit(),
    )


def extreme_statement(query: AggregateQuery, aggregation: str) -> Sql:
    """Rows of bucket, grp and value: the smallest `min` or largest `max` recorded by histograms.

    In a cumulative histogram they cover the time since the counter started, not the bucket.
    """
    value = _statistic(query, aggregation, sql(f"m.{aggregation}"))
    return sql(
        """
        WITH {selected}
        SELECT {bucket} AS bucket, c.grp AS grp, {value} AS value
        {points} AND m.count IS NOT NULL
        GROUP BY bucket, grp
        HAVING {value} IS NOT NULL
        {order_and_limit}
        """,
        selected=query.selected_table(),
        bucket=query.bucket(query.micros(sql("m.timestamp"))),
        value=value,
        points=query.points("metric_histograms", query.time_range),
        order_and_limit=query.order_and_limit(),
    )


def _statistic(query: AggregateQuery, aggregation: str, value: Sql) -> Sql:
    return sql(_STATISTICS[aggregation], value=value, number=query.number(value))


def last_statement(query: AggregateQuery, table: str, recorded: str, columns: Sequence[str]) -> Sql:
    """Rows of bucket, grp and some columns of the newest recorded point of each.

    Args:
        query: with the series.
        table: with their points.
        recorded: the column that is NULL for a point without a recorded value.
        columns: of the table.
    """
    bucket = query.bucket(query.micros(sql("m.timestamp")))
    return sql(
        """
        WITH {selected},
        ranked AS (
            SELECT {bucket} AS bucket, c.grp AS grp, {columns},
                   ROW_NUMBER() OVER (
                       PARTITION BY {bucket}, c.grp ORDER BY m.timestamp DESC, m.series_id DESC
                   ) AS place
            {points} AND {recorded} IS NOT NULL
        )
        SELECT bucket, grp, {names} FROM ranked WHERE place = 1
        {order_and_limit}
        """,
        selected=query.selected_table(),
        bucket=bucket,
        points=query.points(table, query.time_range),
        recorded=_column(recorded),
        columns=joined(", ", [_column(name) for name in columns]),
        names=Sql((", ".join(columns),)),
        order_and_limit=query.order_and_limit(),
    )


def _column(name: str) -> Sql:
    return Sql((f"m.{name}",))


def oldest_statement(query: AggregateQuery, table: str) -> Sql:
    """One row with the time of the first point in microseconds; no row if there is no point."""
    return sql(
        "WITH {selected} SELECT {time} {points} ORDER BY m.timestamp LIMIT 1",
        selected=query.selected_table(),
        time=query.micros(sql("m.timestamp")),
        points=query.points(table, query.time_range),
    )


def statistic_of_rollup_statement(query: AggregateQuery, aggregation: str, plan: RollupPlan) -> Sql:
    """The rows of `statistic_statement`; sums may differ in their last digits.

    Args:
        query: with the series.
        aggregation: min, max, avg, sum or count.
        plan: the roll-up and the range that it covers.
    """
    point_columns = sql(_POINT_COLUMNS, number=query.number(sql("m.value")))
    return sql(
        """
        WITH {selected}, {parts}
        SELECT bucket, grp, {value} AS value FROM parts
        GROUP BY bucket, grp
        {order_and_limit}
        """,
        selected=query.selected_table(),
        parts=_parts(query, plan, _ROLLUP_COLUMNS, point_columns),
        value=_COMBINED[aggregation],
        order_and_limit=query.order_and_limit(),
    )


def last_of_rollup_statement(query: AggregateQuery, plan: RollupPlan) -> Sql:
    """The rows of `last_statement` for the column value of system_metrics."""
    rollup_columns = sql("m.series_id, m.last_timestamp AS time, m.last_value AS value")
    point_columns = sql("m.series_id, m.timestamp AS time, m.value")
    return sql(
        """
        WITH {selected}, {parts},
        ranked AS (
            SELECT bucket, grp, value,
                   ROW_NUMBER() OVER (
                       PARTITION BY bucket, grp ORDER BY time DESC, series_id DESC
                   ) AS place
            FROM parts
        )
        SELECT bucket, grp, value FROM ranked WHERE place = 1
        {order_and_limit}
        """,
        selected=query.selected_table(),
        parts=_parts(query, plan, rollup_columns, point_columns),
        order_and_limit=query.order_and_limit(),
    )


def _parts(query: AggregateQuery, plan: RollupPlan, rollup_columns: Sql, point_columns: Sql) -> Sql:
    """`RollupPlan.parts` with bucket, grp and the columns, of the roll-up and of the points."""

    def select(table: str, part: TimeRange, columns: Sql, condition: Sql) -> Sql:
        return sql(
            "SELECT {bucket} AS bucket, c.grp AS grp, {columns} {points} AND {condition}",
            bucket=query.bucket(query.micros(sql("m.timestamp"))),
            columns=columns,
            points=query.points(table, part),
            condition=condition,
        )

    def select_rollup(view: str, part: TimeRange, condition: Sql) -> Sql:
        has_points = sql("m.points > 0 AND {condition}", condition=condition)
        return select(view, part, rollup_columns, has_points)

    def select_points(part: TimeRange, condition: Sql) -> Sql:
        is_recorded = sql("m.value IS NOT NULL AND {condition}", condition=condition)
        return select("system_metrics", part, point_columns, is_recorded)

    return plan.parts(query.time_range, select_rollup, select_points)
