"""Finds the points of a batch that carry cost. Reads no clock and no store.

A series is matched against the rules once, when its definition comes. After that its points are
found by series id, all points of a batch in one step. The definitions alone decide the result, so
a request that is read again from the spool gives the same costs. The one exception is the size of
a volume: the latest value of `pod_pvc_allocation`, which OpenCost sends in the same request.

Not thread-safe: it is called under the lock of the series cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np

from exporter.costs.default_rules import OPENCOST_RULES, unit_currency, unit_rule
from exporter.costs.entry_fields import CostRefusedError, check_amount
from exporter.costs.gen_ai import TOKEN_USAGE_METRIC, TokenPrices
from exporter.costs.rules import CostRule, QuantityMetric, cost_basis, point_attribute
from exporter.model import (
    Batch,
    CostBasis,
    CostSample,
    HistogramPoint,
    Int64Array,
    Series,
    SummaryPoint,
)

_REFUSAL_PREFIX: Final = "its cost cannot be counted, although the point itself is stored: "
# Evicted series are pruned only above this number, because each search costs time.
_MIN_PRUNE_SIZE: Final = 10_000
_NUMBER_TYPES: Final = frozenset({"gauge", "sum"})

# Series id, time, start time, and the value: None for a histogram or summary without a sum.
_Point = tuple[int, int, int, float | None]
# Name of the quantity metric, cluster id, and the attribute value that both series have.
_QuantityKey = tuple[str, str, str]


@dataclass(slots=True)
class _CostSeries:
    """A series that carries cost: the basis of its entries, or why it is refused.

    Attributes:
        metric_name: for the reasons of refusals.
        basis: None if the series is refused.
        refusal: the reason, "" if there is a basis.
        quantity: what each value is multiplied by, None for 1.
        quantity_key: where the latest value of the quantity is found.
        scaled_basis: the quantity used last, and the basis multiplied by it.
    """

    metric_name: str
    basis: CostBasis | None = None
    refusal: str = ""
    quantity: QuantityMetric | None = None
    quantity_key: _QuantityKey | None = None
    scaled_basis: tuple[float, CostBasis] | None = None


class CostDeriver:
    """Turns points into cost samples.

    Args:
        rules: of the configuration; the first that matches a series counts.
        use_defaults: whether the shipped rules come after them.
        prices: of tokens; None to leave tokens without a price.
        is_cached: whether the series cache still has a series. A series that it evicted comes with
            its definition again, and is matched again then, so it can be dropped here.
    """

    def __init__(
        self,
        rules: Sequence[CostRule] = (),
        *,
        use_defaults: bool = True,
        prices: TokenPrices | None = None,
        is_cached: Callable[[int], bool],
    ) -> None:
        self._rules = (*rules, *(OPENCOST_RULES if use_defaults else ()))
        self._use_defaults = use_defaults
        self._prices = prices
        self._is_cached = is_cached
        self._cost_series: dict[int, _CostSeries] = {}
        # The histograms and summaries among them. While there are none, `batch.histograms` is not
        # touched: it builds its rows when they are first read.
        self._distribution_ids: set[int] = set()
        self._quantity_metrics = {
            rule.quantity.metric: rule.quantity for rule in self._rules if rule.quantity
        }
        self._quantity_series: dict[int, _QuantityKey] = {}
        # Time in nanoseconds and value.
        self._latest_quantities: dict[_QuantityKey, tuple[int, float]] = {}
        self._sorted_ids: Int64Array = np.empty(0, np.int64)
        self._prune_above = _MIN_PRUNE_SIZE

    @property
    def series_count(self) -> int:
        """The number of series that carry cost or a quantity."""
        return len(self._cost_series) + len(self._quantity_series)

    def derive(self, batch: Batch) -> tuple[Batch, Mapping[tuple[str, str], int]]:
        """Find what a decoded request costs.

        Returns:
            The batch with its cost samples, and how many points were refused as a cost, by metric
            name and reason. Refused points stay in the batch as points.
        """
        if batch.new_series:
            self._match_new_series(batch)
        refused: Counter[tuple[str, str]] = Counter()
        if not len(self._sorted_ids):
            return batch, refused
        points = list(self._relevant_points(batch))
        for series_id, time_unix_nano, _, value in points:
            self._update_quantity(series_id, time_unix_nano, value)
        samples = tuple(self._samples(points, refused))
        # After the samples: the series cache may have evicted series of this very batch.
        if self.series_count > self._prune_above:
            self._prune()
        return (replace(batch, cost_samples=samples) if samples else batch), refused

    def _match_new_series(self, batch: Batch) -> None:
        for series in batch.new_series:
            quantity = self._quantity_metrics.get(series.metric_name)
            if quantity is not None:
                self._quantity_series[series.series_id] = _quantity_key(quantity, series)
            cost_series = self._match(series, batch)
            if cost_series is not None:
                self._cost_series[series.series_id] = cost_series
                if series.metric_type not in _NUMBER_TYPES:
                    self._distribution_ids.add(series.series_id)
        if self.series_count != len(self._sorted_ids):
            self._sort_ids()

    def _sort_ids(self) -> None:
        ids = [*self._cost_series, *self._quantity_series]
        self._sorted_ids = np.sort(np.fromiter(ids, np.int64, len(ids)))

    def _match(self, series: Series, batch: Batch) -> _CostSeries | None:
        try:
            rule = next((rule for rule in self._rules if rule.matches(series)), None)
            if rule is None and self._use_defaults:
                rule = unit_rule(series)
            if rule is None:
                return self._match_tokens(series, batch)
            if rule.kind is None:
                return None
            basis = cost_basis(rule, series, unit_currency=unit_currency(series.unit))
        except CostRefusedError as error:
            return _CostSeries(series.metric_name, refusal=str(error))
        key = rule.quantity and _quantity_key(rule.quantity, series)
        return _CostSeries(series.metric_name, basis, quantity=rule.quantity, quantity_key=key)

    def _match_tokens(self, series: Series, batch: Batch) -> _CostSeries | None:
        if self._prices is None or series.metric_name != TOKEN_USAGE_METRIC:
            return None
        # The time of the point and not the clock: a request that is read again from the spool must
        # have the same price.
        times = (
            point.time_unix_nano
            for point in batch.histograms
            if point.series_id == series.series_id
        )
        basis = self._prices.basis(series, next(times, 0))
        return None if basis is None else _CostSeries(series.metric_name, basis)

    def _prune(self) -> None:
        """Drop the series that the series cache has evicted."""
        for series in (self._cost_series, self._quantity_series):
            for series_id in [one for one in series if not self._is_cached(one)]:
                del series[series_id]
        self._distribution_ids &= self._cost_series.keys()
        used_keys = set(self._quantity_series.values())
        self._latest_quantities = {
            key: latest for key, latest in self._latest_quantities.items() if key in used_keys
        }
        self._sort_ids()
        self._prune_above = max(_MIN_PRUNE_SIZE, 2 * self.series_count)

    def _relevant_points(self, batch: Batch) -> Iterator[_Point]:
        """The points of series that carry cost or a quantity, in the order of the batch."""
        points = batch.points
        if len(points):
            positions = np.searchsorted(self._sorted_ids, points.series_id)
            positions[positions == len(self._sorted_ids)] = 0
            is_relevant = (self._sorted_ids[positions] == points.series_id) & points.recorded
            relevant = points.take(np.flatnonzero(is_relevant))
            yield from zip(
                relevant.series_id.tolist(),
                relevant.time_unix_nano.tolist(),
                relevant.start_time_unix_nano.tolist(),
                relevant.value.tolist(),
                strict=True,
            )
        if not self._distribution_ids:
            return
        rows: Sequence[HistogramPoint | SummaryPoint] = (*batch.histograms, *batch.summaries)
        for row in rows:
            if row.series_id in self._distribution_ids and row.count is not None:
                yield row.series_id, row.time_unix_nano, row.start_time_unix_nano, _sum(row)

    def _update_quantity(self, series_id: int, time_unix_nano: int, value: float | None) -> None:
        key = self._quantity_series.get(series_id)
        if key is not None and value is not None and value >= 0:
            # Pods that share a volume all report its size. Of values with one time the larger
            # counts.
            latest = self._latest_quantities.get(key, (0, 0.0))
            self._latest_quantities[key] = max(latest, (time_unix_nano, value))

    def _samples(
        self, points: Sequence[_Point], refused: Counter[tuple[str, str]]
    ) -> Iterator[CostSample]:
        for series_id, time_unix_nano, start_time_unix_nano, value in points:
            series = self._cost_series.get(series_id)
            if series is None:
                continue
            try:
                basis = self._basis(series)
                if basis is not None:
                    checked = _checked_value(value, basis)
                    yield CostSample(
                        series_id, time_unix_nano, start_time_unix_nano, checked, basis
                    )
            except CostRefusedError as error:
                refused[series.metric_name, f"{_REFUSAL_PREFIX}{error}"] += 1

    def _basis(self, series: _CostSeries) -> CostBasis | None:
        """The basis of a series with its quantity.

        Returns:
            None if the quantity is unknown. That is no error: no pod claims the volume.

        Raises:
            CostRefusedError: the series is refused.
        """
        if series.basis is None:
            raise CostRefusedError(series.refusal)
        if series.quantity is None or series.quantity_key is None:
            return series.basis
        latest = self._latest_quantities.get(series.quantity_key)
        if latest is None:
            return None
        _, quantity = latest
        if series.scaled_basis is None or series.scaled_basis[0] != quantity:
            factor = series.basis.factor * Decimal(repr(quantity)) * series.quantity.scale
            series.scaled_basis = quantity, replace(series.basis, factor=factor)
        return series.scaled_basis[1]


def _quantity_key(quantity: QuantityMetric, series: Series) -> _QuantityKey:
    return quantity.metric, series.cluster_id, point_attribute(series, quantity.attribute)


def _sum(point: HistogramPoint | SummaryPoint) -> float | None:
    """The sum of a point. An absent sum is 0 if nothing was counted, else unknown."""
    return 0.0 if point.sum is None and not point.count else point.sum


def _checked_value(value: float | None, basis: CostBasis) -> float:
    if value is None:
        raise CostRefusedError("it has no sum")
    amount = value * float(basis.factor)
    if basis.kind == "cumulative" and not basis.is_monotonic:
        amount = abs(amount)  # A non-monotonic total may be negative, and a decrease is a credit.
    check_amount(amount, basis.category)
    return value
