"""How much counters grew: the delta from point to point of each stream, with restarts.

A stream is one running total: the points of one process between two restarts. A sender names it by
the start time of its points, and several processes may send streams of one series. A delta is the
difference to the point before in the same stream, at the time of the later point. The point before
may be up to ten minutes before the range (`AggregateQuery.look_back_range`). The
rules are those of costs (docs/costs.md, `exporter.costs.streams`):

- Points of one start are one stream. Its first point counts as a whole if the stream started
  within the extended range, because the value before was zero; else it is only a base.
- Points without a start are the stream "unknown" of their series, whose first point is only a base.
- A start that is not before the time of its point is real if a later point has it, or if no other
  point of the series is like that: a program whose first export falls into the microsecond of its
  start. Otherwise the sender repeats the time because it does not know its start, and these points
  are of the stream "unknown".
- Starts less than a second apart are one stream while the total never falls in order of time: a
  start that jitters (now minus uptime). If it falls, each start is a stream: forked workers.
- A total that falls to less than half has restarted without a new start, and counts as a whole. A
  smaller fall is a correction, a negative delta. In the stream "unknown" every fall is a restart,
  unless it is below a millionth, which is rounding. Histograms and summaries restart if their
  count falls.
- Of points with one series, start and time the one with the largest value counts.

Delta points count as they are.

Start times are trusted, so that a job that counts once and ends is counted. The price: a sender
that reports the bytes since boot with the start time of its own process has all of them in its
first increase. Nothing in OTLP distinguishes the two. A rate leaves out first points of series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from exporter.query.aggregate_query import AggregateQuery
from exporter.query.sql_builder import Sql, sql


@dataclass(frozen=True, slots=True)
class CounterColumns:
    """Where the values of counters are, and what a fall of them means.

    Attributes:
        table: with the points.
        value: the column that only grows.
        total: the column that is summed with it: the sum of a histogram or summary. None: nothing
            asks for it, which saves a tenth of the time.
        is_fall: whether a value is lower than `previous_value`, by more than rounding.
        is_restart: whether it restarted at zero since `previous_value` in the stream `stream`.
    """

    table: str
    value: Sql
    total: Sql | None
    is_fall: Sql
    is_restart: Sql


_COUNT_FALLS: Final = sql("value < previous_value")
_SUM_FALLS: Final = sql("value < previous_value AND value < previous_value * 0.999999")
_SUM_RESTARTS: Final = sql(
    "value < previous_value"
    " AND value < previous_value * CASE stream WHEN 0 THEN 0.999999 ELSE 0.5 END"
)

SUM_VALUES: Final = CounterColumns(
    "system_metrics", sql("m.value"), None, _SUM_FALLS, _SUM_RESTARTS
)
HISTOGRAM_COUNTS: Final = CounterColumns(
    "metric_histograms", sql("m.count"), sql("m.sum"), _COUNT_FALLS, _COUNT_FALLS
)
SUMMARY_COUNTS: Final = CounterColumns(
    "metric_summaries", sql("m.count"), sql("m.sum"), _COUNT_FALLS, _COUNT_FALLS
)

_NO_NUMBER: Final = sql("CAST(NULL AS DOUBLE PRECISION)")

# Most series are regular: each start is a stream of its own, and one window over the points finds
# the point before. `candidates` are the points that can make a series irregular; usually they are
# few.
# A stream is named by its start; 0 is the stream "unknown".
_REGULAR: Final = """
    samples AS (
        SELECT m.series_id, c.grp, c.cumulative, {time} AS time, COALESCE({start}, 0) AS start,
               {value} AS value, {total} AS total
        {points} AND {value} IS NOT NULL
    ),
    pairs AS MATERIALIZED (
        SELECT samples.*,
               LAG(time) OVER stream AS previous_time,
               LAG(value) OVER stream AS previous_value,
               {previous_total} AS previous_total
        FROM samples
        WINDOW stream AS (
            PARTITION BY series_id, CASE cumulative WHEN 1 THEN start END ORDER BY time
        )
    ),
    candidates AS MATERIALIZED (
        SELECT * FROM pairs
        WHERE previous_time IS NULL OR previous_time = time OR start >= time
    ),
    irregular AS MATERIALIZED (
        SELECT series_id
        FROM (
            SELECT candidates.*,
                   LAG(start) OVER (PARTITION BY series_id ORDER BY start) AS lower_start
            FROM candidates
        ) AS starts
        GROUP BY series_id
        HAVING SUM(
            CASE
                WHEN previous_time = time THEN 2
                WHEN cumulative = 0 OR start = 0 THEN 0
                WHEN lower_start > 0 AND start - lower_start < 1000000 THEN 2
                WHEN start >= time THEN 1
                ELSE 0
            END
        ) > 1
    )
"""

# The streams of irregular series. A start group has starts less than a second apart; known_start is
# 0 if the start is unknown. Windows and no joins, because PostgreSQL does not know how many rows a
# WITH query has, and would join them row by row.
_IRREGULAR: Final = """
    distinct_samples AS (
        SELECT *
        FROM (
            SELECT series_id, grp, cumulative, time, start, value, total,
                   LEAD(time) OVER series AS next_time, LEAD(start) OVER series AS next_start
            FROM pairs
            WHERE series_id IN (SELECT series_id FROM irregular)
            WINDOW series AS (PARTITION BY series_id ORDER BY time, start, value, total)
        ) AS ordered_samples
        WHERE next_time IS NULL OR next_time > time OR next_start > start
    ),
    zero_lengths AS (
        SELECT distinct_samples.*,
               CASE
                   WHEN start < time THEN 0
                   WHEN MIN(start - time) OVER (PARTITION BY series_id, start) < 0 THEN 0
                   ELSE 1
               END AS is_alone
        FROM distinct_samples
    ),
    known_starts AS (
        SELECT zero_lengths.*,
               CASE
                   WHEN is_alone = 1 AND SUM(is_alone) OVER (PARTITION BY series_id) > 1 THEN 0
                   ELSE start
               END AS known_start
        FROM zero_lengths
    ),
    gaps AS (
        SELECT known_starts.*,
               CASE
                   WHEN known_start - LAG(known_start) OVER (
                       PARTITION BY series_id, known_start = 0 ORDER BY known_start
                   ) < 1000000 THEN NULL
                   ELSE known_start
               END AS group_start
        FROM known_starts
    ),
    start_groups AS (
        SELECT series_id, grp, cumulative, time, start, value, total, known_start,
               MAX(group_start) OVER (
                   PARTITION BY series_id, known_start = 0 ORDER BY known_start
               ) AS start_group
        FROM gaps
    ),
    falls AS (
        SELECT group_pairs.*, CASE WHEN {is_fall} THEN 1 ELSE 0 END AS is_fall
        FROM (
            SELECT start_groups.*,
                   LAG(value) OVER (
                       PARTITION BY series_id, start_group ORDER BY time, start
                   ) AS previous_value
            FROM start_groups
        ) AS group_pairs
    ),
    streams AS (
        SELECT series_id, grp, cumulative, time, start, value, total,
               CASE
                   WHEN cumulative = 0 THEN 0
                   WHEN MAX(is_fall) OVER (PARTITION BY series_id, start_group) = 1 THEN known_start
                   ELSE start_group
               END AS stream
        FROM falls
    )
"""

# is_reset is 1 if the whole value is the delta, 0 if the difference is, and NULL if the value is
# only a base.
_CHANGES: Final = """
    changes AS (
        SELECT series_id, grp, time, start, value, total, first_time,
               previous_time, previous_start, previous_value, previous_total,
               CASE
                   WHEN cumulative = 0 THEN 1
                   WHEN previous_time IS NULL THEN
                       CASE WHEN stream > 0 AND stream >= {horizon} THEN 1 END
                   WHEN {is_restart} THEN 1
                   ELSE 0
               END AS is_reset
        FROM (
            SELECT series_id, grp, cumulative, time, start, value, total, start AS stream,
                   0 AS first_time,
                   previous_time, start AS previous_start, previous_value, previous_total
            FROM pairs
            WHERE previous_time IS NOT NULL
                AND series_id NOT IN (SELECT series_id FROM irregular)
            UNION ALL
            SELECT series_id, grp, cumulative, time, start, value, total, start AS stream,
                   MIN(time) OVER (PARTITION BY series_id) AS first_time,
                   NULL, NULL, NULL, NULL
            FROM candidates
            WHERE previous_time IS NULL AND series_id NOT IN (SELECT series_id FROM irregular)
            UNION ALL
            SELECT series_id, grp, cumulative, time, start, value, total, stream,
                   MIN(time) OVER (PARTITION BY series_id) AS first_time,
                   LAG(time) OVER stream, LAG(start) OVER stream,
                   LAG(value) OVER stream, {previous_total}
            FROM streams
            WINDOW stream AS (PARTITION BY series_id, stream ORDER BY time, start)
        ) AS neighbours
    )
"""


def counter_changes(query: AggregateQuery, counter: CounterColumns) -> Sql:
    """The tables of a WITH clause, the last of which is `changes`: every point of the counters.

    It has series_id, grp, time, start, value and total of each point, those of the point before it
    in its stream as previous_..., is_reset, and first_time: that of the series, or 0 if the point
    is certainly later.
    """
    total, previous_total = _NO_NUMBER, _NO_NUMBER
    if counter.total is not None:
        total, previous_total = query.number(counter.total), sql("LAG(total) OVER stream")
    return sql(
        "{selected}, {regular}, {irregular}, {changes}",
        selected=query.selected_table(),
        regular=sql(
            _REGULAR,
            time=query.micros(sql("m.timestamp")),
            start=query.micros(sql("m.start_timestamp")),
            value=query.number(counter.value),
            total=total,
            previous_total=previous_total,
            points=query.points(counter.table, query.look_back_range),
        ),
        irregular=sql(_IRREGULAR, is_fall=counter.is_fall),
        changes=sql(
            _CHANGES,
            horizon=query.look_back_range.start_micros or 0,
            is_restart=counter.is_restart,
            previous_total=previous_total,
        ),
    )


def counter_deltas(query: AggregateQuery, counter: CounterColumns) -> Sql:
    """The tables of a WITH clause, the last of which is `deltas`: the changes within the range.

    It has series_id, grp, bucket, time, start, previous_time and previous_start (NULL for the first
    point of a stream), is_reset (1 if the whole value counts, else 0), delta and total_delta.
    """
    return sql(
        """
        {changes},
        deltas AS (
            SELECT series_id, grp, {bucket} AS bucket, time, start, previous_time, previous_start,
                   is_reset,
                   CASE is_reset WHEN 1 THEN value ELSE value - previous_value END AS delta,
                   CASE is_reset WHEN 1 THEN total ELSE total - previous_total END AS total_delta
            FROM changes
            WHERE time >= {first} AND is_reset IS NOT NULL
        )
        """,
        changes=counter_changes(query, counter),
        bucket=query.bucket(sql("time")),
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
    if aggregation not in {"sum", "avg"}:
        counter = replace(counter, total=None)
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
    """Deltas per second of the time between points of a series, added up over a group.

    The divisor is not the width of the bucket: of exports at uneven intervals of about 60 s, every
    other bucket of 60 s would have two or none. It is the time of the series and not of a stream,
    so that the time between two processes counts. The first point of a series has no rate, because
    its start time is that of the first measurement, often milliseconds ago.
    """
    first = query.time_range.start_micros or 0
    return sql(
        """
        WITH {changes},
        intervals AS (
            SELECT series_id, grp, CASE WHEN time >= {first} THEN {bucket} END AS bucket,
                   MIN(time) AS first_time, MAX(time) AS last_time,
                   SUM(
                       CASE
                           WHEN time = first_time THEN NULL
                           WHEN is_reset = 1 THEN value
                           WHEN is_reset = 0 THEN value - previous_value
                       END
                   ) AS growth
            FROM changes
            GROUP BY 1, 2, 3
        ),
        rates AS (
            SELECT bucket, grp, growth,
                   last_time - LAG(last_time, 1, first_time) OVER (
                       PARTITION BY series_id ORDER BY last_time
                   ) AS elapsed
            FROM intervals
        )
        SELECT bucket, grp, SUM(growth * 1000000.0 / elapsed) AS value
        FROM rates
        WHERE bucket IS NOT NULL AND growth IS NOT NULL AND elapsed > 0
        GROUP BY bucket, grp
        {order_and_limit}
        """,
        changes=counter_changes(query, counter),
        first=first,
        bucket=query.bucket(sql("time")),
        order_and_limit=query.order_and_limit(),
    )
