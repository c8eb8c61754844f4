"""Statistics of the points themselves: min, max, avg, sum, count, last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.query.aggregate_query import Scope
from exporter.query.sql import Sql, joined, sql

__all__ = ["extreme", "last", "oldest", "statistic"]

_STATISTICS: Final = {
    "min": "MIN({number})",
    "max": "MAX({number})",
    "avg": "AVG({number})",
    "sum": "SUM({number})",
    "count": "COUNT({value})",
}


def statistic(scope: Scope, aggregation: str) -> Sql:
    """Rows of bucket, grp and value over all recorded points of gauges and sums.

    A NaN counts as a point and goes into no other statistic; the value is NULL where a bucket has
    nothing else, or infinities of both signs.
    """
    cut = scope.cut(sql("m.timestamp"))
    return sql(
        """
        WITH {chosen}
        SELECT {bucket} AS bucket, c.grp AS grp, {statistic} AS value
        {points} AND m.value IS NOT NULL
        GROUP BY {cut}, c.grp
        {tail}
        """,
        chosen=scope.series_table(),
        bucket=scope.start_of(cut),
        cut=cut,
        statistic=_statistic(scope, aggregation, sql("m.value")),
        points=scope.points("system_metrics", scope.time_range),
        tail=scope.tail(),
    )


def extreme(scope: Scope, aggregation: str) -> Sql:
    """Rows of bucket, grp and value: the least `min` or greatest `max` that histograms recorded.

    Those of a running total hold since the counter started, not since the bucket did.
    """
    value = _statistic(scope, aggregation, sql(f"m.{aggregation}"))
    return sql(
        """
        WITH {chosen}
        SELECT {bucket} AS bucket, c.grp AS grp, {value} AS value
        {points} AND m.count IS NOT NULL
        GROUP BY bucket, grp
        HAVING {value} IS NOT NULL
        {tail}
        """,
        chosen=scope.series_table(),
        bucket=scope.bucket(scope.time(sql("m.timestamp"))),
        value=value,
        points=scope.points("metric_histograms", scope.time_range),
        tail=scope.tail(),
    )


def last(scope: Scope, table: str, recorded: str, columns: Sequence[str]) -> Sql:
    """Rows of bucket, grp and some columns of the newest recorded point of each.

    Args:
        scope: which series.
        table: where their points are.
        recorded: the column of the table that is NULL for a point without a recorded value.
        columns: of the table.
    """
    bucket = scope.bucket(scope.time(sql("m.timestamp")))
    return sql(
        """
        WITH {chosen},
        ranked AS (
            SELECT {bucket} AS bucket, c.grp AS grp, {columns},
                   ROW_NUMBER() OVER (
                       PARTITION BY {bucket}, c.grp ORDER BY m.timestamp DESC, m.series_id DESC
                   ) AS place
            {points} AND {recorded} IS NOT NULL
        )
        SELECT bucket, grp, {names} FROM ranked WHERE place = 1
        {tail}
        """,
        chosen=scope.series_table(),
        bucket=bucket,
        points=scope.points(table, scope.time_range),
        recorded=_column(recorded),
        columns=joined(", ", [_column(name) for name in columns]),
        names=Sql((", ".join(columns),)),
        tail=scope.tail(),
    )


def _column(name: str) -> Sql:
    return Sql((f"m.{name}",))


def oldest(scope: Scope, table: str) -> Sql:
    """One row with the time of the first point in microseconds; no row if there is no point."""
    return sql(
        "WITH {chosen} SELECT {time} {points} ORDER BY m.timestamp LIMIT 1",
        chosen=scope.series_table(),
        time=scope.time(sql("m.timestamp")),
        points=scope.points(table, scope.time_range),
    )


def _statistic(scope: Scope, aggregation: str, value: Sql) -> Sql:
    return sql(_STATISTICS[aggregation], value=value, number=scope.number(value))
