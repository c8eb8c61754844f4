"""Quantiles of histograms and summaries: the database adds up buckets, Python interpolates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final

from exporter.errors import QueryError
from exporter.json_text import read_float
from exporter.query.aggregate_query import AggregateQuery, SeriesGroup
from exporter.query.aggregate_sql import last_statement
from exporter.query.counter_deltas import HISTOGRAM_COUNTS, counter_deltas
from exporter.query.filters import time_condition
from exporter.query.quantiles import ExponentialCounts, explicit_quantile, exponential_quantile
from exporter.query.sql_builder import Sql, sql

_Rows = Iterable[tuple[Any, ...]]
_Cells = Iterator[tuple[int, int, float]]  # bucket in microseconds, group, value

# A delta is the buckets of its point less those of the point before in its stream. If one delta
# follows another in the same bucket of time, the point between them is added and subtracted, so its
# weight is 0. Only the first and last points of each run are left, and only their arrays are
# unpacked. The condition on the time is implied by the join, but lets a database skip partitions.
# Of points with one series, start and time that with the largest count is taken, as in the deltas.
_ENDS: Final = """
    {deltas},
    steps AS (
        SELECT bucket, grp, series_id, time, start, 1 AS weight FROM deltas
        UNION ALL
        SELECT bucket, grp, series_id, previous_time, previous_start, -1
        FROM deltas WHERE is_reset = 0
    ),
    ends AS (
        SELECT bucket, grp, series_id, time, start, SUM(weight) AS weight
        FROM steps GROUP BY bucket, grp, series_id, time, start HAVING SUM(weight) <> 0
    ),
    points AS (
        SELECT *
        FROM (
            SELECT ends.bucket, ends.grp, ends.weight, m.*,
                   ROW_NUMBER() OVER (
                       PARTITION BY ends.bucket, ends.grp, m.series_id, m.timestamp,
                                    m.start_timestamp
                       ORDER BY m.count DESC, m.sum DESC
                   ) AS place
            FROM ends
            {ordered_join} metric_histograms AS m
                ON m.timestamp = {time} AND m.series_id = ends.series_id AND {condition}
            WHERE COALESCE({start}, 0) = ends.start AND m.count IS NOT NULL
        ) AS ranked
        WHERE place = 1
    ),
    limits AS (
        SELECT bucket, grp,
               CASE WHEN COUNT({low}) = COUNT(*) THEN MIN({low}) END AS low,
               CASE WHEN COUNT({high}) = COUNT(*) THEN MAX({high}) END AS high,
               MAX(zero_threshold) AS zero_threshold
        FROM points WHERE weight > 0 AND count > 0
        GROUP BY bucket, grp
    )
"""


def _ends(query: AggregateQuery) -> Sql:
    return sql(
        _ENDS,
        deltas=counter_deltas(query, replace(HISTOGRAM_COUNTS, total=None)),
        ordered_join=Sql((query.dialect.ordered_join,)),
        time=sql(query.dialect.time_from_micros, micros=sql("ends.time")),
        start=query.micros(sql("m.start_timestamp")),
        condition=time_condition(query.look_back_range, query.dialect),
        low=query.number(sql("points.min")),
        high=query.number(sql("points.max")),
    )


def explicit_buckets_statement(query: AggregateQuery) -> Sql:
    """Rows of bucket, grp, low, high, bounds, index and count, for histograms."""
    return sql(
        """
        WITH {ends}
        SELECT points.bucket AS bucket, points.grp AS grp, limits.low, limits.high, points.bounds,
               item.key, SUM(points.weight * item.value)
        FROM points
        JOIN limits ON limits.bucket = points.bucket AND limits.grp = points.grp
        CROSS JOIN {items} AS item
        GROUP BY points.bucket, points.grp, limits.low, limits.high, points.bounds, item.key
        ORDER BY bucket DESC, grp, points.bounds, item.key
        """,
        ends=_ends(query),
        items=sql(query.dialect.array_items, array=sql("points.bucket_counts")),
    )


def explicit_quantiles(answer: _Rows, quantile: float, groups: Sequence[SeriesGroup]) -> _Cells:
    """The answer to `explicit_buckets_statement`, one quantile per cell.

    Raises:
        QueryError: one cell has histograms with different bounds.
    """
    for (bucket, group, low, high), rows in groupby(answer, key=lambda row: row[:4]):
        counts_of_bounds: dict[str, list[float]] = {}
        for *_, bounds, _index, count in rows:  # ordered by index
            counts_of_bounds.setdefault(bounds, []).append(count)
        if len(counts_of_bounds) > 1:
            raise QueryError(_different_bounds(groups[group], counts_of_bounds))
        bounds, counts = counts_of_bounds.popitem()
        limits = read_float(low), read_float(high)
        value = explicit_quantile(quantile, _numbers(bounds), counts, *limits)
        if value is not None:
            yield bucket, group, value


def _different_bounds(group: SeriesGroup, all_bounds: Iterable[str]) -> str:
    return (
        f"quantile of {group.metric_name!r}: the histograms of one group have different bucket "
        f"bounds, {' and '.join(sorted(all_bounds))}, and cannot be added up; put them in "
        "different groups with group_by (such as service_name), filter, or shorten the range"
    )


def exponential_buckets_statement(query: AggregateQuery) -> Sql:
    """Rows of bucket, grp, low, high, zero threshold, scale, sign, index and count."""
    return sql(
        """
        WITH {ends},
        counted AS (
            SELECT bucket, grp, scale, 0 AS sign, 0 AS bucket_index, weight * zero_count AS amount
            FROM points
            UNION ALL
            SELECT bucket, grp, scale, 1, positive_offset + item.key, weight * item.value
            FROM points CROSS JOIN {positive} AS item
            UNION ALL
            SELECT bucket, grp, scale, -1, negative_offset + item.key, weight * item.value
            FROM points CROSS JOIN {negative} AS item
        )
        SELECT c.bucket AS bucket, c.grp AS grp, limits.low, limits.high, limits.zero_threshold,
               c.scale, c.sign, c.bucket_index, SUM(c.amount)
        FROM counted AS c
        JOIN limits ON limits.bucket = c.bucket AND limits.grp = c.grp
        GROUP BY c.bucket, c.grp, limits.low, limits.high, limits.zero_threshold,
                 c.scale, c.sign, c.bucket_index
        ORDER BY bucket DESC, grp
        """,
        ends=_ends(query),
        positive=sql(query.dialect.array_items, array=sql("points.positive_counts")),
        negative=sql(query.dialect.array_items, array=sql("points.negative_counts")),
    )


def exponential_quantiles(answer: _Rows, quantile: float) -> _Cells:
    """The answer to `exponential_buckets_statement`, one quantile per cell."""
    for (bucket, group, low, high, threshold), rows in groupby(answer, key=lambda row: row[:5]):
        counts = ExponentialCounts.merge((row[5:] for row in rows), read_float(threshold) or 0.0)
        value = exponential_quantile(quantile, counts, read_float(low), read_float(high))
        if value is not None:
            yield bucket, group, value


def summary_values_statement(query: AggregateQuery) -> Sql:
    """Rows of bucket, grp, quantiles and values of the newest point of each cell."""
    return last_statement(query, "metric_summaries", "count", ("quantiles", "quantile_values"))


def summary_quantiles(answer: _Rows, quantile: float, groups: Sequence[SeriesGroup]) -> _Cells:
    """The cells of the answer to `summary_values_statement` that have this quantile.

    Raises:
        QueryError: no summary has it.
    """
    cells, known, names = [], set(), set()
    for bucket, group, quantiles, values in answer:
        names.add(groups[group].metric_name)
        for own, value in zip(_numbers(quantiles), _numbers(values), strict=True):
            known.add(own)
            if abs(own - quantile) < 1e-9:
                cells.append((bucket, group, value))
    if names and not cells:
        available = ", ".join(f"p{own * 100:.12g}" for own in sorted(known)) or "none"
        raise QueryError(
            f"quantile p{quantile * 100:.12g} of {', '.join(sorted(names))}: a summary has only "
            f"the quantiles that its sender computed, here: {available}"
        )
    yield from cells


def _numbers(text: str) -> list[float]:
    return [float(item) for item in json.loads(text)]
