"""Finds the points of a batch that carry cost. Reads no clock and no store.

A series is matched against the rules once, when its definition comes. After that its points are
found by series id, all points of a batch in one step. The definitions alone decide the result, so
a request that is read again from the spool gives the same costs.

Not thread-safe: it is called under the lock of the series cache.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np

from exporter.costs.cost_series import CostSeries, KindRefusedError, cost_series, quantity_series
from exporter.costs.default_rules import (
    OPENCOST_RULES,
    default_rule,
    unit_currency,
    with_known_fields,
)
from exporter.costs.double_counting import NODE_METRIC, DuplicateNodes, Spend, StatedCosts
from exporter.costs.entry_fields import CostRefusedError, check_amount
from exporter.costs.gen_ai import TOKEN_RULE, TokenPrices, states_its_cost
from exporter.costs.rules import CostRule
from exporter.model import (
    Batch,
    CostBasis,
    CostSample,
    HistogramPoint,
    Int64Array,
    Series,
    SummaryPoint,
)
from exporter.stats import Counters

_REFUSAL_PREFIX: Final = "its cost cannot be counted, although the point itself is stored: "
# Evicted series are pruned only above this number, because each search costs time.
_MIN_PRUNE_SIZE: Final = 10_000
_NUMBER_TYPES: Final = frozenset({"gauge", "sum"})

# Series id, time, start time, the value, and the count of a histogram or summary. The value is None
# for a histogram or summary without a sum.
_Point = tuple[int, int, int, float | None, int | None]


@dataclass(frozen=True, slots=True)
class _MatchedSeries:
    """A series that a rule matches: how its points become samples, or why they are refused.

    Attributes:
        metric_name: names the series in refusals.
        costs: None if the points are refused.
        refusal: the reason, "" if they are not refused.
        spend: what it says about the use of language models; None if nothing.
        unpriced_basis: of tokens whose cost the service sends itself; None for other series. Their
            entries of 0 keep the total: if they are priced later, only later tokens count.
    """

    metric_name: str
    costs: CostSeries | None = None
    refusal: str = ""
    spend: Spend | None = None
    unpriced_basis: CostBasis | None = None


class CostDeriver:
    """Turns points into cost samples.

    Args:
        rules: of the configuration; the first that matches a series and can apply to its type
            counts.
        use_defaults: whether the shipped rules come after them.
        prices: of tokens; None to leave tokens without a price.
        is_cached: whether the series cache still has a series. A series that it evicted comes with
            its definition again, and is matched again then, so it can be dropped here.
        counters: where `costs_counted_twice` is counted; None to count nothing.
    """

    def __init__(
        self,
        rules: Sequence[CostRule] = (),
        *,
        use_defaults: bool = True,
        prices: TokenPrices | None = None,
        is_cached: Callable[[int], bool],
        counters: Counters | None = None,
    ) -> None:
        self._rules = tuple(rules)
        self._use_defaults = use_defaults
        self._prices = prices
        self._is_cached = is_cached
        self._counters = counters
        self._matched: dict[int, _MatchedSeries] = {}
        # The histograms and summaries among them. While there are none, `batch.histograms` is not
        # touched: it builds its rows when they are first read.
        self._distribution_ids: set[int] = set()
        all_rules = (*rules, *(OPENCOST_RULES.values() if use_defaults else ()))
        self._quantity_rules = {rule.quantity.metric: rule for rule in all_rules if rule.quantity}
        self._stated_costs = StatedCosts()
        self._duplicate_nodes = DuplicateNodes()
        self._sorted_ids: Int64Array = np.empty(0, np.int64)
        self._prune_above = _MIN_PRUNE_SIZE

    @property
    def series_count(self) -> int:
        """The number of series that carry cost or a quantity."""
        return len(self._matched)

    def derive(self, batch: Batch) -> tuple[Batch, Mapping[tuple[str, str], int]]:
        """Add the cost samples of a decoded request to its batch.

        Returns:
            The batch with its cost samples, and how many points were refused as a cost, by metric
            name and reason. Refused points stay in the batch as points.
        """
        if batch.new_series:
            self._match_new_series(batch)
        refused: Counter[tuple[str, str]] = Counter()
        if not len(self._sorted_ids):
            return batch, refused
        samples = tuple(self._samples(batch, refused))
        self._count_duplicates(self._duplicate_nodes.warn(samples))
        # After the samples: the series cache may have evicted series of this very batch.
        if self.series_count > self._prune_above:
            self._prune()
        return (replace(batch, cost_samples=samples) if samples else batch), refused

    def _match_new_series(self, batch: Batch) -> None:
        spends: list[Spend] = []
        for series in batch.new_series:
            matched = self._match(series)
            if matched is None:
                continue
            self._matched[series.series_id] = matched
            if series.metric_type not in _NUMBER_TYPES:
                self._distribution_ids.add(series.series_id)
            if matched.costs is None:
                continue
            if matched.spend is not None:
                spends.append(matched.spend)
            if series.metric_name == NODE_METRIC:
                self._duplicate_nodes.add(series, matched.costs.series_id)
        if spends:
            self._stated_costs.add(spends)
            self._count_duplicates(self._stated_costs.warn())
        if self.series_count != len(self._sorted_ids):
            self._sort_ids()

    def _count_duplicates(self, found: int) -> None:
        if found and self._counters is not None:
            self._counters.add(costs_counted_twice=found)

    def _sort_ids(self) -> None:
        ids = np.fromiter(self._matched, np.int64, len(self._matched))
        self._sorted_ids = np.sort(ids)

    def _match(self, series: Series) -> _MatchedSeries | None:
        refusal = ""
        spend = None
        try:
            for rule in self._matching_rules(series):
                # Tokens under a rule of the user are priced whatever else the service sends, so
                # they have no spend that is compared with its costs.
                spend = Spend.of(series, is_tokens=True) if rule is TOKEN_RULE else None
                try:
                    return self._apply(rule, series, spend)
                except KindRefusedError as error:
                    # The next rule may be for this type. If none is, the first reason counts.
                    refusal = refusal or str(error)
        except CostRefusedError as error:
            refusal = refusal or str(error)
        if refusal:
            return _MatchedSeries(series.metric_name, refusal=refusal, spend=spend)
        quantity_rule = self._quantity_rules.get(series.metric_name)
        costs = quantity_rule and quantity_series(quantity_rule, series)
        return costs and _MatchedSeries(series.metric_name, costs)

    def _matching_rules(self, series: Series) -> Iterator[CostRule]:
        """The rules for a series, in the order in which they are asked."""
        for rule in self._rules:
            if rule.matches(series):
                yield with_known_fields(rule, series)
        shipped = default_rule(series) if self._use_defaults else None
        if shipped is not None:
            yield shipped
        if series.metric_name == TOKEN_RULE.metric and not states_its_cost(series):
            yield TOKEN_RULE

    def _apply(self, rule: CostRule, series: Series, spend: Spend | None) -> _MatchedSeries | None:
        """The costs of a series under a rule; None if it has none.

        Raises:
            KindRefusedError: the rule makes no sense for the type of the series.
            CostRefusedError: the series cannot be the cost that the rule says.
        """
        if rule.kind is None:
            return None
        if rule.kind == "tokens":
            priced = self._prices.cost_series(rule, series) if self._prices else None
            if priced is None:
                return None
            unpriced_basis = replace(priced.basis, factor=Decimal(0))
            return _MatchedSeries(
                series.metric_name, priced, spend=spend, unpriced_basis=unpriced_basis
            )
        costs = cost_series(rule, series, unit_currency=unit_currency(series.unit))
        if costs.basis.kind in {"amount", "cumulative"}:
            spend = Spend.of(series, is_tokens=False)
        return _MatchedSeries(series.metric_name, costs, spend=spend)

    def _prune(self) -> None:
        """Drop the series that the series cache has evicted."""
        for series_id in [one for one in self._matched if not self._is_cached(one)]:
            del self._matched[series_id]
        self._distribution_ids &= self._matched.keys()
        kept = self._matched.values()
        self._stated_costs.replace([one.spend for one in kept if one.spend and one.costs])
        self._duplicate_nodes.retain(one.costs.series_id for one in kept if one.costs)
        self._sort_ids()
        self._prune_above = max(_MIN_PRUNE_SIZE, 2 * self.series_count)

    def _cost_points(self, batch: Batch) -> Iterator[_Point]:
        """The points of series that carry cost or a quantity, in the order of the batch."""
        points = batch.points
        if len(points):
            positions = np.searchsorted(self._sorted_ids, points.series_id)
            positions[positions == len(self._sorted_ids)] = 0
            has_cost = (self._sorted_ids[positions] == points.series_id) & points.recorded
            cost_points = points.take(np.flatnonzero(has_cost))
            for point in zip(
                cost_points.series_id.tolist(),
                cost_points.time_unix_nano.tolist(),
                cost_points.start_time_unix_nano.tolist(),
                cost_points.value.tolist(),
                strict=True,
            ):
                yield *point, None
        if not self._distribution_ids:
            return
        rows: Sequence[HistogramPoint | SummaryPoint] = (*batch.histograms, *batch.summaries)
        for row in rows:
            if row.series_id in self._distribution_ids and row.count is not None:
                yield (
                    row.series_id,
                    row.time_unix_nano,
                    row.start_time_unix_nano,
                    _sum(row),
                    row.count,
                )

    def _samples(self, batch: Batch, refused: Counter[tuple[str, str]]) -> Iterator[CostSample]:
        for point in self._cost_points(batch):
            series_id, time_unix_nano, start_time_unix_nano, value, count = point
            series = self._matched[series_id]
            try:
                is_stated = self._is_stated(series)
                if series.costs is None:
                    if is_stated:
                        continue
                    raise CostRefusedError(series.refusal)
                cost_series_id, basis, basis_at = series.costs
                if is_stated and series.unpriced_basis is not None:
                    basis = series.unpriced_basis
                elif basis_at is not None:
                    basis = basis_at(time_unix_nano)
                checked = _checked_value(value, basis)
            except CostRefusedError as error:
                refused[series.metric_name, f"{_REFUSAL_PREFIX}{error}"] += 1
                continue
            yield CostSample(
                cost_series_id, time_unix_nano, start_time_unix_nano, checked, basis, count
            )

    def _is_stated(self, series: _MatchedSeries) -> bool:
        """Whether these are tokens, and their service sends their cost itself."""
        spend = series.spend
        return spend is not None and spend.is_tokens and self._stated_costs.is_stated(spend)


def _sum(point: HistogramPoint | SummaryPoint) -> float | None:
    """The sum of a point. A missing sum is 0 if the count is 0, else unknown (None)."""
    return 0.0 if point.sum is None and not point.count else point.sum


def _checked_value(value: float | None, basis: CostBasis) -> float:
    if value is None:
        raise CostRefusedError("it has no sum")
    if basis.kind == "quantity":
        if not 0 <= value < math.inf:
            raise CostRefusedError("a size cannot be negative, infinite or not a number")
        return value
    amount = value * float(basis.factor)
    # An UpDownCounter may take back, and a gauge of a total may be corrected below 0. A part of the
    # input that is cheaper than the whole has a negative price.
    may_fall = not basis.is_monotonic or (basis.kind == "cumulative" and not basis.has_known_starts)
    if basis.factor < 0 or (basis.kind != "hourly_rate" and may_fall):
        amount = abs(amount)
    check_amount(amount, basis.category)
    return value
