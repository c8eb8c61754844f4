"""Which aggregations a metric has, and how their answers are computed.

| aggregation | of a gauge or a sum | of a histogram | of a summary |
|---|---|---|---|
| min, max | of all points | as recorded by the sender | - |
| avg | of all points | added sum by added count | added sum by added count |
| sum | over all points of all series | added sum | added sum |
| count | of points | of added measurements | of added measurements |
| last | the newest point | - | - |
| increase | how much a counter grew | as count | as count |
| rate | increase per second | measurements per second | measurements per second |
| p50, p99.9 | - | interpolated in its bucket | the newest that the sender computed |

`sum` and `avg` take every point in the bucket, as Prometheus' sum_over_time does: two exports of
a gauge count twice. The total of a gauge over several series at one time is the sum of their `avg`
or `last`, with one group per series.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final, cast

from exporter.backends.base import Backend
from exporter.errors import QueryError
from exporter.query.aggregate_query import AggregateQuery, SelectedSeries, SeriesGroup
from exporter.query.aggregate_sql import (
    ROLLUP_AGGREGATIONS,
    extreme_statement,
    last_of_rollup_statement,
    last_statement,
    oldest_statement,
    statistic_of_rollup_statement,
    statistic_statement,
)
from exporter.query.counter_deltas import (
    HISTOGRAM_COUNTS,
    SUM_VALUES,
    SUMMARY_COUNTS,
    growth_statement,
)
from exporter.query.points import TABLE_OF_TYPE
from exporter.query.quantile_sql import (
    explicit_buckets_statement,
    explicit_quantiles,
    exponential_buckets_statement,
    exponential_quantiles,
    summary_quantiles,
    summary_values_statement,
)
from exporter.query.rollup_planner import plan_rollup
from exporter.query.rows import AggregateRow
from exporter.query.sql_builder import Sql, fetch_all
from exporter.time_units import MICROSECONDS_PER_SECOND

_NUMBERS: Final = ("gauge", "sum")
_HISTOGRAMS: Final = ("histogram", "exponential_histogram")
_ALL: Final = (*_NUMBERS, *_HISTOGRAMS, "summary")
_COUNTERS: Final = ("sum", *_HISTOGRAMS, "summary")

_TYPES_OF: Final[dict[str, tuple[str, ...]]] = {
    "min": (*_NUMBERS, *_HISTOGRAMS),
    "max": (*_NUMBERS, *_HISTOGRAMS),
    "avg": _ALL,
    "sum": _ALL,
    "last": _NUMBERS,
    "count": _ALL,
    "rate": _COUNTERS,
    "increase": _COUNTERS,
}
_QUANTILE_TYPES: Final = (*_HISTOGRAMS, "summary")
_QUANTILE: Final = re.compile(r"p(\d{1,3}(?:\.\d+)?)")

_Cell = tuple[int, int, float]  # bucket in microseconds, group, value


@dataclass(frozen=True, slots=True)
class Aggregation:
    """An aggregation by its name; `quantile` is 0 to 1 for pNN and None for all others."""

    name: str
    quantile: float | None = None

    @classmethod
    def of(cls, name: object) -> Aggregation:
        """The aggregation of this name.

        Raises:
            QueryError: there is no such aggregation.
        """
        if isinstance(name, str):
            if name in _TYPES_OF:
                return cls(name)
            match = _QUANTILE.fullmatch(name)
            if match and float(match[1]) <= 100:
                return cls(name, float(match[1]) / 100)
        raise QueryError(
            f"aggregation {name!r} is not known; choose {', '.join(_TYPES_OF)}, or a quantile "
            "p0 to p100 such as p95 or p99.9"
        )

    @property
    def metric_types(self) -> tuple[str, ...]:
        """The metric types that have it."""
        return _QUANTILE_TYPES if self.quantile is not None else _TYPES_OF[self.name]

    @property
    def uses_counter_deltas(self) -> bool:
        """Whether it is computed from the growth of counters, which must not decrease."""
        return self.name in {"rate", "increase"}


def require_supported(aggregation: Aggregation, series: Iterable[SelectedSeries]) -> None:
    """Check that every series has this aggregation.

    Raises:
        QueryError: names the metric, the reason, and the aggregations that it has.
    """
    for one in series:
        if one.metric_type not in aggregation.metric_types:
            raise QueryError(_unsupported_message(aggregation, one))
        if aggregation.uses_counter_deltas and one.metric_type == "sum" and not one.is_monotonic:
            instead = "sum" if one.temporality == "delta" else "last, avg, min or max"
            raise QueryError(
                f"{aggregation.name} of {one.metric_name!r}: it is a sum that also decreases "
                f"(not monotonic), so a lower value is not a reset; use {instead}"
            )


def _unsupported_message(aggregation: Aggregation, series: SelectedSeries) -> str:
    names = [name for name, types in _TYPES_OF.items() if series.metric_type in types]
    if series.metric_type in _QUANTILE_TYPES:
        names.append("pNN")
    reason = {
        "gauge": "it is a gauge, which does not count anything",
        "sum": "it is a sum, which has no distribution",
    }.get(series.metric_type, f"not for the type {series.metric_type.replace('_', ' ')}")
    return f"{aggregation.name} of {series.metric_name!r}: {reason}; use {', '.join(names)}"


def aggregate_rows(
    aggregation: Aggregation, query: AggregateQuery, backend: Backend
) -> list[AggregateRow]:
    """The answer, newest bucket first, groups in their order.

    Args:
        aggregation: to compute.
        query: of which series; `require_supported` has accepted them.
        backend: started.

    Raises:
        QueryError: the stored data does not have the quantile.
    """
    if query.bucket_micros is None and query.time_range.start_micros is None:
        query = replace(query, origin_micros=_oldest_micros(query, backend))
    cells = sorted(_cells(aggregation, query, backend), key=itemgetter(1))
    cells.sort(key=itemgetter(0), reverse=True)  # stable: keeps the order of groups in a bucket
    templates = [_template(aggregation.name, group) for group in query.selection.groups]
    rows = [_row(templates[cell[1]], cell) for cell in cells[: query.limit]]
    return cast(list[AggregateRow], rows)


def _oldest_micros(query: AggregateQuery, backend: Backend) -> int:
    tables = {TABLE_OF_TYPE[one.metric_type] for one in query.selection.series}
    times = [fetch_all(backend, oldest_statement(query, table)) for table in tables]
    return min((time for rows in times for (time,) in rows), default=0)


def _cells(aggregation: Aggregation, query: AggregateQuery, backend: Backend) -> Iterator[_Cell]:
    numbers = query.of_type(*_NUMBERS)
    if numbers.selection.series:
        yield from _number_cells(aggregation.name, numbers, backend)
    for metric_type in _QUANTILE_TYPES:
        part = query.of_type(metric_type)
        if not part.selection.series:
            continue
        if aggregation.quantile is not None:
            yield from _quantile_cells(aggregation.quantile, metric_type, part, backend)
        elif aggregation.name in {"min", "max"}:
            yield from fetch_all(backend, extreme_statement(part, aggregation.name))
        else:
            counts = SUMMARY_COUNTS if metric_type == "summary" else HISTOGRAM_COUNTS
            yield from fetch_all(backend, growth_statement(part, counts, aggregation.name))


def _quantile_cells(
    quantile: float, metric_type: str, query: AggregateQuery, backend: Backend
) -> Iterator[_Cell]:
    groups = query.selection.groups
    if metric_type == "histogram":
        answer = fetch_all(backend, explicit_buckets_statement(query))
        return explicit_quantiles(answer, quantile, groups)
    if metric_type == "summary":
        answer = fetch_all(backend, summary_values_statement(query))
        return summary_quantiles(answer, quantile, groups)
    answer = fetch_all(backend, exponential_buckets_statement(query))
    return exponential_quantiles(answer, quantile)


def _number_cells(aggregation: str, query: AggregateQuery, backend: Backend) -> Iterator[_Cell]:
    statement = _number_statement(aggregation, query, backend)
    for bucket, group, value in fetch_all(backend, statement):
        if aggregation == "count":
            yield bucket, group, value
        else:
            yield bucket, group, math.nan if value is None else float(value)


def _number_statement(aggregation: str, query: AggregateQuery, backend: Backend) -> Sql:
    if aggregation in {"rate", "increase"}:
        return growth_statement(query, SUM_VALUES, aggregation)
    plan = None
    if aggregation in ROLLUP_AGGREGATIONS:
        catalog = backend.hypertable_catalog
        plan = plan_rollup(catalog, "system_metrics", query.time_range, query.bucket_micros)
    if aggregation == "last":
        if plan is not None:
            return last_of_rollup_statement(query, plan)
        return last_statement(query, "system_metrics", "value", ("value",))
    if plan is not None:
        return statistic_of_rollup_statement(query, aggregation, plan)
    return statistic_statement(query, aggregation)


def _template(aggregation: str, group: SeriesGroup) -> dict[str, Any]:
    """What all rows of a group share, with every key in its final order."""
    return {
        "timestamp": None,
        "metric_name": group.metric_name,
        "metric_type": group.metric_type,
        "aggregation": aggregation,
        "value": None,
        "unit": _unit(aggregation, group),
        **group.labels(),
    }


def _row(template: dict[str, Any], cell: _Cell) -> dict[str, Any]:
    row = template.copy()
    row["timestamp"], row["value"] = cell[0] / MICROSECONDS_PER_SECOND, cell[2]
    row["attributes"] = row["attributes"].copy()
    return row


def _unit(aggregation: str, group: SeriesGroup) -> str:
    """The unit of the answer, which can differ from that of the metric."""
    counts_measurements = group.metric_type not in _NUMBERS
    if aggregation == "rate":
        return "1/s" if counts_measurements else f"{group.unit or '1'}/s"
    if aggregation == "count" or (aggregation == "increase" and counts_measurements):
        return ""
    return group.unit
