"""How much counters grew: the change from point to point of each series, resets handled.

A running total is compared with the point before it in its series, and the change counts where
the later point lies. What comes before the range serves as the first starting value, as far back
as `LOOK_BACK_MICROS`. The whole value counts, and not the difference,

- if the value fell: the counter began again at zero (as Prometheus has it);
- if it began again by its own account: its start is later than that of the point before, and no
  earlier than that point. A start that only wavers, as the time of booting does with some
  senders, lies before that point and means nothing;
- if there is no point before it and the counter started within the range (or the look-back), so
  that the value before was zero.

A start that equals its point's time is no start: the sender did not see the counter begin
(OpenTelemetry metrics data model, "Cumulative streams: handling unknown start time"). A first
point of which no more is known is a starting value and no change. Deltas are changes as they are.

A point of the same time as the one before is that point stored twice, and changes nothing.

Starts are believed, so that a job that counts once and ends is counted. The price: a sender that
tells the bytes since boot with the start of its own process has all of them in its first increase.
Nothing on the wire tells the two apart. A rate leaves first points out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exporter.query.aggregate_query import Scope
from exporter.query.sql import Sql, sql

__all__ = ["COUNTS_OF_HISTOGRAMS", "COUNTS_OF_SUMMARIES", "VALUES", "Source", "changes", "growth"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where running totals are: a table, the column that only grows, and one that goes with it."""

    table: str
    value: Sql
    total: Sql


VALUES: Final = Source("system_metrics", sql("m.value"), sql("m.value"))
COUNTS_OF_HISTOGRAMS: Final = Source("metric_histograms", sql("m.count"), sql("m.sum"))
COUNTS_OF_SUMMARIES: Final = Source("metric_summaries", sql("m.count"), sql("m.sum"))

# 1: the whole value is the change; 0: the difference is; NULL: a starting value only.
_FRESH: Final = """
    CASE
        WHEN cumulative = 0 THEN 1
        WHEN previous_time IS NULL THEN
            CASE WHEN start < time AND start >= {horizon} THEN 1 END
        WHEN value < previous_value THEN 1
        WHEN start < time AND start >= previous_time AND start > COALESCE(previous_start, 0) THEN 1
        ELSE 0
    END
"""


def changes(scope: Scope, source: Source) -> Sql:
    """The tables of a WITH clause, the last of which is `changes`.

    It has series_id, grp, bucket, time, previous_time (NULL for the first point), fresh (1 if the
    whole value counts, else 0), change and total_change.
    """
    return sql(
        """
        {chosen},
        samples AS (
            SELECT m.series_id, c.grp, c.cumulative, {time} AS time, {start} AS start,
                   {value} AS value, {total} AS total
            {points} AND {value} IS NOT NULL
        ),
        pairs AS (
            SELECT samples.*,
                   LAG(time) OVER series AS previous_time,
                   LAG(start) OVER series AS previous_start,
                   LAG(value) OVER series AS previous_value,
                   LAG(total) OVER series AS previous_total
            FROM samples
            WINDOW series AS (PARTITION BY series_id ORDER BY time)
        ),
        changes AS (
            SELECT series_id, grp, {bucket} AS bucket, time, previous_time, fresh,
                   CASE fresh WHEN 1 THEN value ELSE value - previous_value END AS change,
                   CASE fresh WHEN 1 THEN total ELSE total - previous_total END AS total_change
            FROM (SELECT pairs.*, {fresh} AS fresh FROM pairs) AS judged
            WHERE time >= {first} AND fresh IS NOT NULL
                AND (previous_time IS NULL OR previous_time < time)
        )
        """,
        chosen=scope.series_table(),
        time=scope.time(sql("m.timestamp")),
        start=scope.time(sql("m.start_timestamp")),
        value=scope.number(source.value),
        total=scope.number(source.total),
        points=scope.points(source.table, scope.look_back_range),
        bucket=scope.bucket(sql("time")),
        fresh=sql(_FRESH, horizon=scope.look_back_range.start_micros or 0),
        first=scope.time_range.start_micros or 0,
    )


_GROWTH: Final = {
    "increase": sql("SUM(change)"),
    "count": sql("SUM(change)"),
    "sum": sql("SUM(total_change)"),
    "avg": sql(
        "SUM(total_change) / NULLIF(SUM(CASE WHEN total_change IS NOT NULL THEN change END), 0)"
    ),
}


def growth(scope: Scope, source: Source, aggregation: str) -> Sql:
    """Rows of bucket, grp and value: what was added in each bucket.

    Args:
        scope: which series, all of them counters.
        source: where their values are.
        aggregation: "increase" or "count" (of the column that only grows), "sum" (of the one that
            goes with it), "avg" (sum by count), or "rate".
    """
    if aggregation == "rate":
        return _rate(scope, source)
    return sql(
        """
        WITH {changes}
        SELECT bucket, grp, {value} AS value FROM changes
        GROUP BY bucket, grp
        HAVING {value} IS NOT NULL
        {tail}
        """,
        changes=changes(scope, source),
        value=_GROWTH[aggregation],
        tail=scope.tail(),
    )


def _rate(scope: Scope, source: Source) -> Sql:
    """Per second of the time between points, added up over the series of a group.

    Not by the length of the bucket: exports that come every 60 s, not quite evenly, would
    give every other bucket of 60 s two of them or none. A series' first point has no rate: its
    start is the time of the first measurement, often milliseconds ago.
    """
    return sql(
        """
        WITH {changes}
        SELECT bucket, grp, SUM(rate) AS value
        FROM (
            SELECT bucket, grp, series_id,
                   SUM(change) * 1000000.0 / SUM(time - previous_time) AS rate
            FROM changes
            WHERE previous_time IS NOT NULL
            GROUP BY bucket, grp, series_id
        ) AS rates
        GROUP BY bucket, grp
        {tail}
        """,
        changes=changes(scope, source),
        tail=scope.tail(),
    )
