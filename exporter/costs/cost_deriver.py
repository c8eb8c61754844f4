"""Finds the points of a batch that carry cost.

A series is matched against the rules once, when its definition is handed out; afterwards a point
is recognised by its series id, all points of a batch at once. What is remembered follows from the
definitions alone, so that the same request read again, from the spool, gives the same costs. The
one thing more is the size of a volume: the latest of `pod_pvc_allocation`, of the request itself
where it holds one, as OpenCost's do.

Not thread-safe: used beside the series cache, under the same lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np

from exporter.costs.default_rules import OPENCOST_RULES, unit_currency, unit_rule
from exporter.costs.fields import CostRefusedError, check_amount
from exporter.costs.gen_ai import TOKEN_USAGE_METRIC, TokenPrices
from exporter.costs.rules import CostRule, QuantityMetric, attribute_of, cost_basis
from exporter.model import (
    Batch,
    CostBasis,
    CostSample,
    HistogramPoint,
    Int64Array,
    Series,
    SummaryPoint,
)

__all__ = ["CostDeriver"]

_KEPT: Final = "its cost cannot be counted, although the point itself is stored: "
# Below this many series it is not worth looking which of them are forgotten.
_LOOKED_THROUGH_AT: Final = 10_000
_NUMBERS: Final = frozenset({"gauge", "sum"})

# Series id, time, start time, and the value: None where a histogram's or summary's sum is left out.
_Point = tuple[int, int, int, float | None]
# What a quantity is of: its metric, the cluster, and the value of the attribute that joins.
_QuantityKey = tuple[str, str, str]


@dataclass(slots=True)
class _Carrier:
    """A series that carries cost: how its points do, or why they cannot.

    `scaled` is the basis with the quantity that it was last needed with.
    """

    name: str
    basis: CostBasis | None = None
    refusal: str = ""
    quantity: QuantityMetric | None = None
    quantity_key: _QuantityKey | None = None
    scaled: tuple[float, CostBasis] | None = None


class CostDeriver:
    """Turns points into cost samples.

    Args:
        rules: of the configuration; the first that matches a series counts.
        use_defaults: whether the shipped rules follow them.
        prices: of tokens; None does not price them.
        is_cached: whether a series still has its definition handed out. What is forgotten there is
            matched again when it comes back, so it can be forgotten here.
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
        self._is_known = is_cached
        self._carriers: dict[int, _Carrier] = {}
        # Those of histograms and summaries. While there are none, no row of these is looked at:
        # a batch makes its rows when they are first read.
        self._summed: set[int] = set()
        self._quantities = {
            rule.quantity.metric: rule.quantity for rule in self._rules if rule.quantity
        }
        self._measuring: dict[int, _QuantityKey] = {}
        self._measured: dict[_QuantityKey, tuple[int, float]] = {}
        self._series_ids: Int64Array = np.empty(0, np.int64)
        self._look_through_at = _LOOKED_THROUGH_AT

    @property
    def series_count(self) -> int:
        """How many series are remembered."""
        return len(self._carriers) + len(self._measuring)

    def derive(self, batch: Batch) -> tuple[Batch, Mapping[tuple[str, str], int]]:
        """Find what a decoded request costs.

        Returns:
            The batch with its cost samples, and how many points were refused as a cost, by metric
            name and reason; these stay in the batch as points.
        """
        if batch.new_series:
            self._learn(batch)
        refused: Counter[tuple[str, str]] = Counter()
        if not len(self._series_ids):
            return batch, refused
        points = list(self._points(batch))
        for series_id, time_unix_nano, _, value in points:
            self._measure(series_id, time_unix_nano, value)
        samples = tuple(self._samples(points, refused))
        # Not earlier: the cache may have forgotten series of this very batch.
        if self.series_count > self._look_through_at:
            self._forget()
        return (replace(batch, cost_samples=samples) if samples else batch), refused

    def _learn(self, batch: Batch) -> None:
        for series in batch.new_series:
            quantity = self._quantities.get(series.metric_name)
            if quantity is not None:
                key = _quantity_key(quantity, series)
                self._measuring[series.series_id] = key
            carrier = self._match(series, batch)
            if carrier is not None:
                self._carriers[series.series_id] = carrier
                if series.metric_type not in _NUMBERS:
                    self._summed.add(series.series_id)
        if self.series_count != len(self._series_ids):
            self._index()

    def _index(self) -> None:
        ids = [*self._carriers, *self._measuring]
        self._series_ids = np.sort(np.fromiter(ids, np.int64, len(ids)))

    def _match(self, series: Series, batch: Batch) -> _Carrier | None:
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
            return _Carrier(series.metric_name, refusal=str(error))
        key = rule.quantity and _quantity_key(rule.quantity, series)
        return _Carrier(series.metric_name, basis, quantity=rule.quantity, quantity_key=key)

    def _match_tokens(self, series: Series, batch: Batch) -> _Carrier | None:
        if self._prices is None or series.metric_name != TOKEN_USAGE_METRIC:
            return None
        # Not the present moment: read again from the spool it must have the same price.
        seen = (one.time_unix_nano for one in batch.histograms if one.series_id == series.series_id)
        basis = self._prices.basis(series, next(seen, 0))
        return None if basis is None else _Carrier(series.metric_name, basis)

    def _forget(self) -> None:
        for series_id in [one for one in self._carriers if not self._is_known(one)]:
            del self._carriers[series_id]
        for series_id in [one for one in self._measuring if not self._is_known(one)]:
            del self._measuring[series_id]
        self._summed &= self._carriers.keys()
        wanted = set(self._measuring.values())
        self._measured = {key: found for key, found in self._measured.items() if key in wanted}
        self._index()
        self._look_through_at = max(_LOOKED_THROUGH_AT, 2 * self.series_count)

    def _points(self, batch: Batch) -> Iterator[_Point]:
        """Points of the batch whose series mean something here, in its order."""
        points = batch.points
        if len(points):
            places = np.searchsorted(self._series_ids, points.series_id)
            places[places == len(self._series_ids)] = 0
            hits = (self._series_ids[places] == points.series_id) & points.recorded
            found = points.take(np.flatnonzero(hits))
            yield from zip(
                found.series_id.tolist(),
                found.time_unix_nano.tolist(),
                found.start_time_unix_nano.tolist(),
                found.value.tolist(),
                strict=True,
            )
        if not self._summed:
            return
        rows: Sequence[HistogramPoint | SummaryPoint] = (*batch.histograms, *batch.summaries)
        for one in rows:
            if one.series_id in self._summed and one.count is not None:
                yield one.series_id, one.time_unix_nano, one.start_time_unix_nano, _sum(one)

    def _measure(self, series_id: int, time_unix_nano: int, value: float | None) -> None:
        key = self._measuring.get(series_id)
        if key is not None and value is not None and value >= 0:
            # Several pods that share a volume report the same of it; of two, the larger.
            self._measured[key] = max(self._measured.get(key, (0, 0.0)), (time_unix_nano, value))

    def _samples(
        self, points: Sequence[_Point], refused: Counter[tuple[str, str]]
    ) -> Iterator[CostSample]:
        for series_id, time_unix_nano, start_time_unix_nano, value in points:
            carrier = self._carriers.get(series_id)
            if carrier is None:
                continue
            try:
                basis = self._basis(carrier)
                if basis is not None:
                    checked = _checked(value, basis)
                    yield CostSample(
                        series_id, time_unix_nano, start_time_unix_nano, checked, basis
                    )
            except CostRefusedError as error:
                refused[carrier.name, f"{_KEPT}{error}"] += 1

    def _basis(self, carrier: _Carrier) -> CostBasis | None:
        """None where a quantity is not known, which is no mistake: a volume that no pod has."""
        if carrier.basis is None:
            raise CostRefusedError(carrier.refusal)
        if carrier.quantity is None or carrier.quantity_key is None:
            return carrier.basis
        measured = self._measured.get(carrier.quantity_key)
        if measured is None:
            return None
        _, quantity = measured
        if carrier.scaled is None or carrier.scaled[0] != quantity:
            factor = carrier.basis.factor * Decimal(repr(quantity)) * carrier.quantity.scale
            carrier.scaled = quantity, replace(carrier.basis, factor=factor)
        return carrier.scaled[1]


def _quantity_key(quantity: QuantityMetric, series: Series) -> _QuantityKey:
    return quantity.metric, series.cluster_id, attribute_of(series, quantity.attribute)


def _sum(point: HistogramPoint | SummaryPoint) -> float | None:
    """Of nothing it may be left out and is 0; left out otherwise it is unknown."""
    return 0.0 if point.sum is None and not point.count else point.sum


def _checked(value: float | None, basis: CostBasis) -> float:
    if value is None:
        raise CostRefusedError("it has no sum")
    amount = value * float(basis.factor)
    if basis.kind == "cumulative" and not basis.is_monotonic:
        amount = abs(amount)  # such a total may be below 0, and its fall is a credit
    check_amount(amount, basis.category)
    return value
