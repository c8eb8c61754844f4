"""Statistics of gauges and sums out of a roll-up, the rest of the range out of the points."""

from __future__ import annotations

from typing import Final

from exporter.query.aggregate_query import Scope
from exporter.query.filters import TimeRange
from exporter.query.rollup_planner import Coverage
from exporter.query.sql import Sql, sql

__all__ = ["COVERED_AGGREGATIONS", "last_of_rollup", "statistic_of_rollup"]

# What is put together, for each row of a roll-up and for each point; a NaN counts as a point and
# goes into nothing else.
_ROLLED: Final = sql("m.points, m.numbers, m.sum, m.min, m.max")
_PLAIN: Final = """
    1 AS points, CASE WHEN {number} IS NULL THEN 0 ELSE 1 END AS numbers,
    {number} AS sum, {number} AS min, {number} AS max"""
_TOGETHER: Final = {
    "min": sql("MIN(min)"),
    "max": sql("MAX(max)"),
    "avg": sql("SUM(sum) / NULLIF(SUM(numbers), 0)"),
    "sum": sql("SUM(sum)"),
    "count": sql("CAST(SUM(points) AS BIGINT)"),
}

COVERED_AGGREGATIONS: Final = frozenset({*_TOGETHER, "last"})
"""What can be put together from the buckets of a roll-up."""


def statistic_of_rollup(scope: Scope, aggregation: str, coverage: Coverage) -> Sql:
    """The same rows as `levels.statistic`; sums may differ in their last digits.

    Args:
        scope: which series.
        aggregation: min, max, avg, sum or count.
        coverage: the roll-up and its stretch.
    """
    plain = sql(_PLAIN, number=scope.number(sql("m.value")))
    return sql(
        """
        WITH {chosen}, {parts}
        SELECT bucket, grp, {value} AS value FROM parts
        GROUP BY bucket, grp
        {tail}
        """,
        chosen=scope.series_table(),
        parts=_parts(scope, coverage, _ROLLED, plain),
        value=_TOGETHER[aggregation],
        tail=scope.tail(),
    )


def last_of_rollup(scope: Scope, coverage: Coverage) -> Sql:
    """The same rows as `levels.last` of the column value."""
    rolled = sql("m.series_id, m.last_timestamp AS time, m.last_value AS value")
    plain = sql("m.series_id, m.timestamp AS time, m.value")
    return sql(
        """
        WITH {chosen}, {parts},
        ranked AS (
            SELECT bucket, grp, value,
                   ROW_NUMBER() OVER (
                       PARTITION BY bucket, grp ORDER BY time DESC, series_id DESC
                   ) AS place
            FROM parts
        )
        SELECT bucket, grp, value FROM ranked WHERE place = 1
        {tail}
        """,
        chosen=scope.series_table(),
        parts=_parts(scope, coverage, rolled, plain),
        tail=scope.tail(),
    )


def _parts(scope: Scope, coverage: Coverage, rolled: Sql, plain: Sql) -> Sql:
    """For a WITH: `parts` has bucket, grp and the columns, of rows of the roll-up and points."""

    def of_rollup(view: str, part: TimeRange, also: Sql) -> Sql:
        return _piece(scope, view, part, rolled, sql("m.points > 0 AND {also}", also=also))

    def of_points(part: TimeRange, also: Sql) -> Sql:
        recorded = sql("m.value IS NOT NULL AND {also}", also=also)
        return _piece(scope, "system_metrics", part, plain, recorded)

    return coverage.parts(scope.time_range, of_rollup, of_points)


def _piece(scope: Scope, table: str, time_range: TimeRange, columns: Sql, condition: Sql) -> Sql:
    return sql(
        "SELECT {bucket} AS bucket, c.grp AS grp, {columns} {points} AND {condition}",
        bucket=scope.bucket(scope.time(sql("m.timestamp"))),
        columns=columns,
        points=scope.points(table, time_range),
        condition=condition,
    )
