"""How much counters grew: the delta from point to point of each series, with resets.

A cumulative value is compared with the previous point of its series, and the delta counts at the
time of the later point. The previous point may be up to ten minutes before the range
(`AggregateQuery.look_back_range`). The whole value counts instead of the difference:

- if the value fell: the counter was reset to zero (the rule of Prometheus);
- if the sender reported a reset: the start time is later than that of the previous point, and not
  before that point. A start time that varies a little, as the boot time of some senders does, is
  before that point and means nothing;
- if there is no previous point and the counter started within the extended range, so that the
  value before was zero.

A start time equal to the point's time says that the sender did not see the counter begin
(OpenTelemetry metrics data model, "Cumulative streams: handling unknown start time"). A first point
without a previous value or usable start time counts nothing; it only becomes the previous value.
Delta points count as they are. A point of the same time as the previous one is a duplicate and
counts nothing.

Start times are trusted, so that a job that counts once and ends is counted. The price: a sender
that reports the bytes since boot with the start time of its own process has all of them in its
first increase. Nothing in OTLP distinguishes the two. A rate leaves out first points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exporter.query.aggregate_query import AggregateQuery
from exporter.query.sql_builder import Sql, sql


@dataclass(frozen=True, slots=True)
class CounterColumns:
    """Where the values of counters are.

    Attributes:
        table: with the points.
        value: the column that only grows.
        total: the column that is summed with it: the sum of a histogram or summary.
    """

    table: str
    value: Sql
    total: Sql


SUM_VALUES: Final = CounterColumns("system_metrics", sql("m.value"), sql("m.value"))
HISTOGRAM_COUNTS: Final = CounterColumns("metric_histograms", sql("m.count"), sql("m.sum"))
SUMMARY_COUNTS: Final = CounterColumns("metric_summaries", sql("m.count"), sql("m.sum"))

# 1: the whole value is the delta. 0: the difference is. NULL: the value is only the next previous
# value.
_IS_RESET: Final = """
    CASE
        WHEN cumulative = 0 THEN 1
        WHEN previous_time IS NULL THEN
            CASE WHEN start < time AND start >= {horizon} THEN 1 END
        WHEN value < previous_value THEN 1
        WHEN start < time AND start >= previous_time AND start > COALESCE(previous_start, 0) THEN 1
        ELSE 0
    END
"""


def counter_deltas(query: AggregateQuery, counter: CounterColumns) -> Sql:
    """The tables of a WITH clause, the last of which is `deltas`.

    It has series_id, grp, bucket, time, previous_time (NULL for the first point), is_reset (1 if
    the whole value counts, else 0), delta and total_delta.
    """
    return sql(
        """
        {selected},
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
        deltas AS (
            SELECT series_id, grp, {bucket} AS bucket, time, previous_time, is_reset,
                   CASE is_reset WHEN 1 THEN value ELSE value - previous_value END AS delta,
                   CASE is_reset WHEN 1 THEN total ELSE total - previous_total END AS total_delta
            FROM (SELECT pairs.*, {is_reset} AS is_reset FROM pairs) AS classified
            WHERE time >= {first} AND is_reset IS NOT NULL
                AND (previous_time IS NULL OR previous_time < time)
        )
        """,
        selected=query.selected_table(),
        time=query.micros(sql("m.timestamp")),
        start=query.micros(sql("m.start_timestamp")),
        value=query.number(counter.value),
        total=query.number(counter.total),
        points=query.points(counter.table, query.look_back_range),
        bucket=query.bucket(sql("time")),
        is_reset=sql(_IS_RESET, horizon=query.look_back_range.start_micros or 0),
        first=query.time_range.start_micros or 0,
    )


_GROWTH: Final = {
    "increase": sql("SUM(delta)"),
    "count": sql("SUM(delta)"),
    "sum": sql("SUM(total_delta)"),
    "avg": sql(
        "SUM(total_delta) / NULLIF(SUM(CASE WHEN total_delta IS NOT NULL THEN delta END), 0)"
    ),
}


def growth_statement(query: AggregateQuery, counter: CounterColumns, aggregation: str) -> Sql:
    """Rows of bucket, grp and value: what was added in each bucket.

    Args:
        query: with the series, all of them counters.
        counter: where their values are.
        aggregation: "increase" or "count" (of the value), "sum" (of the total), "avg" (total by
            value), or "rate".
    """
    if aggregation == "rate":
        return _rate_statement(query, counter)
    return sql(
        """
        WITH {deltas}
        SELECT bucket, grp, {value} AS value FROM deltas
        GROUP BY bucket, grp
        HAVING {value} IS NOT NULL
        {order_and_limit}
        """,
        deltas=counter_deltas(query, counter),
        value=_GROWTH[aggregation],
        order_and_limit=query.order_and_limit(),
    )


def _rate_statement(query: AggregateQuery, counter: CounterColumns) -> Sql:
    """Deltas per second of the time between points, added up over the series of a group.

    The divisor is not the width of the bucket: of exports at uneven intervals of about 60 s, every
    other bucket of 60 s would have two or none. The first point of a series has no rate, because
    its start time is that of the first measurement, often milliseconds ago.
    """
    return sql(
        """
        WITH {deltas}
        SELECT bucket, grp, SUM(rate) AS value
        FROM (
            SELECT bucket, grp, series_id,
                   SUM(delta) * 1000000.0 / SUM(time - previous_time) AS rate
            FROM deltas
            WHERE previous_time IS NOT NULL
            GROUP BY bucket, grp, series_id
        ) AS rates
        GROUP BY bucket, grp
        {order_and_limit}
        """,
        deltas=counter_deltas(query, counter),
        order_and_limit=query.order_and_limit(),
    )
