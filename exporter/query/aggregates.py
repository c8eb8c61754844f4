"""What can be asked of which metric, and how the answer is put together.

| aggregation | of a gauge or a sum | of a histogram | of a summary |
|---|---|---|---|
| min, max | of all points | as recorded by the sender | - |
| avg | of all points | sum by count of what was added | likewise |
| sum | over all points of all series | sum of what was added | likewise |
| count | of points | of measurements added | likewise |
| last | the newest point | - | - |
| increase | what a counter grew by | as count | as count |
| rate | increase by second | measurements by second | likewise |
| p50, p99.9 | - | interpolated in its bucket | the sender's own, newest |

`sum` and `avg` take every point in the bucket, as Prometheus' sum_over_time does: two exports of
a gauge count twice. What a level is over several series at one moment is the sum of their `avg`
or `last` with one group for each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final

from exporter.errors import QueryError
from exporter.query.aggregate_query import Scope
from exporter.query.aggregate_sql import extreme, last, oldest, statistic
from exporter.query.counter_deltas import COUNTS_OF_HISTOGRAMS, COUNTS_OF_SUMMARIES, VALUES, growth
from exporter.query.point_sql import TABLE_OF_TYPE
from exporter.query.quantile_sql import (
    explicit_buckets,
    explicit_quantiles,
    exponential_buckets,
    exponential_quantiles,
    summary_quantiles,
    summary_values,
)
from exporter.query.rollup_planner import METRIC_ROLLUPS, coverage_of
from exporter.query.rollups import COVERED_AGGREGATIONS, last_of_rollup, statistic_of_rollup
from exporter.query.series_selection import Group, Member
from exporter.query.sql import Sql

__all__ = ["Aggregation", "aggregate_rows", "require_answerable"]

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

_Fetch = Callable[[Sql], list[tuple[Any, ...]]]
_Cell = tuple[int, int, float]  # bucket in microseconds, group, value


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What is asked for; `quantile` is 0 to 1 for pNN and None for all others."""

    name: str
    quantile: float | None = None

    @classmethod
    def of(cls, name: object) -> Aggregation:
        """From its name.

        Raises:
            QueryError: there is none of this name.
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
        """The types of metric that it can be asked of."""
        return _QUANTILE_TYPES if self.quantile is not None else _TYPES_OF[self.name]

    @property
    def is_growth(self) -> bool:
        """Whether it looks at how counters grew, and so has no answer for what also shrinks."""
        return self.name in {"rate", "increase"}


def require_answerable(aggregation: Aggregation, members: Iterable[Member]) -> None:
    """Refuse what has no answer for one of the series.

    Raises:
        QueryError: names the metric, says why, and what can be asked instead.
    """
    for member in members:
        if member.metric_type not in aggregation.metric_types:
            raise QueryError(_unsuitable(aggregation, member))
        if aggregation.is_growth and member.metric_type == "sum" and not member.is_monotonic:
            instead = "sum" if member.temporality == "delta" else "last, avg, min or max"
            raise QueryError(
                f"{aggregation.name} of {member.metric_name!r}: it is a sum that also goes down "
                f"(not monotonic), so a fall is no reset; use {instead}"
            )


def _unsuitable(aggregation: Aggregation, member: Member) -> str:
    names = [name for name, types in _TYPES_OF.items() if member.metric_type in types]
    if member.metric_type in _QUANTILE_TYPES:
        names.append("pNN")
    reason = {
        "gauge": "it is a gauge, a level and no count",
        "sum": "it is a sum, which has no distribution",
    }.get(member.metric_type, f"not of the type {member.metric_type.replace('_', ' ')}")
    return f"{aggregation.name} of {member.metric_name!r}: {reason}; use {', '.join(names)}"


def aggregate_rows(aggregation: Aggregation, scope: Scope, fetch: _Fetch) -> list[dict[str, Any]]:
    """The answer, newest bucket first, groups in their order.

    Args:
        aggregation: what is asked for.
        scope: of what; `require_answerable` has passed it.
        fetch: runs a statement.

    Raises:
        QueryError: a quantile cannot be had from what is stored.
    """
    if scope.bucket_micros is None and scope.time_range.start_micros is None:
        scope = replace(scope, origin_micros=_oldest(scope, fetch))
    cells = sorted(_cells(aggregation, scope, fetch), key=itemgetter(1))
    cells.sort(key=itemgetter(0), reverse=True)  # keeps the order of groups within a bucket
    templates = [_template(aggregation.name, group) for group in scope.chosen.groups]
    return [_row(templates[cell[1]], cell) for cell in cells[: scope.limit]]


def _oldest(scope: Scope, fetch: _Fetch) -> int:
    tables = {TABLE_OF_TYPE[member.metric_type] for member in scope.chosen.members}
    return min((row[0] for table in tables for row in fetch(oldest(scope, table))), default=0)


def _cells(aggregation: Aggregation, scope: Scope, fetch: _Fetch) -> Iterator[_Cell]:
    for types, cells in (
        (_NUMBERS, _number_cells),
        (("histogram",), _explicit_cells),
        (("exponential_histogram",), _exponential_cells),
        (("summary",), _summary_cells),
    ):
        part = scope.of_type(*types)
        if part.chosen.members:
            yield from cells(aggregation, part, fetch)


def _number_cells(aggregation: Aggregation, scope: Scope, fetch: _Fetch) -> Iterator[_Cell]:
    for bucket, group, value in fetch(_number_statement(aggregation.name, scope, fetch)):
        if aggregation.name == "count":
            yield bucket, group, value
        else:
            yield bucket, group, math.nan if value is None else float(value)


def _number_statement(aggregation: str, scope: Scope, fetch: _Fetch) -> Sql:
    if aggregation in {"rate", "increase"}:
        return growth(scope, VALUES, aggregation)
    rollups = METRIC_ROLLUPS if aggregation in COVERED_AGGREGATIONS else ()
    coverage = coverage_of(rollups, scope.time_range, scope.bucket_micros, scope.dialect, fetch)
    if aggregation == "last":
        if coverage:
            return last_of_rollup(scope, coverage)
        return last(scope, "system_metrics", "value", ("value",))
    if coverage:
        return statistic_of_rollup(scope, aggregation, coverage)
    return statistic(scope, aggregation)


def _explicit_cells(aggregation: Aggregation, scope: Scope, fetch: _Fetch) -> Iterable[_Cell]:
    if aggregation.quantile is None:
        return _histogram_cells(aggregation, scope, fetch)
    answer = fetch(explicit_buckets(scope))
    return explicit_quantiles(answer, aggregation.quantile, scope.chosen.groups)


def _exponential_cells(aggregation: Aggregation, scope: Scope, fetch: _Fetch) -> Iterable[_Cell]:
    if aggregation.quantile is None:
        return _histogram_cells(aggregation, scope, fetch)
    return exponential_quantiles(fetch(exponential_buckets(scope)), aggregation.quantile)


def _histogram_cells(aggregation: Aggregation, scope: Scope, fetch: _Fetch) -> list[Any]:
    if aggregation.name in {"min", "max"}:
        return fetch(extreme(scope, aggregation.name))
    return fetch(growth(scope, COUNTS_OF_HISTOGRAMS, aggregation.name))


def _summary_cells(aggregation: Aggregation, scope: Scope, fetch: _Fetch) -> Iterable[_Cell]:
    if aggregation.quantile is None:
        return fetch(growth(scope, COUNTS_OF_SUMMARIES, aggregation.name))
    answer = fetch(summary_values(scope))
    return summary_quantiles(answer, aggregation.quantile, scope.chosen.groups)


def _template(aggregation: str, group: Group) -> dict[str, Any]:
    """What all rows of a group share, every key in its place."""
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
    row["timestamp"], row["value"] = cell[0] / 1_000_000, cell[2]
    row["attributes"] = row["attributes"].copy()
    return row


def _unit(aggregation: str, group: Group) -> str:
    """The unit of the answer, which is not always that of the metric."""
    counts_measurements = group.metric_type not in _NUMBERS
    if aggregation == "rate":
        return "1/s" if counts_measurements else f"{group.unit or '1'}/s"
    if aggregation == "count" or (aggregation == "increase" and counts_measurements):
        return ""
    return group.unit
