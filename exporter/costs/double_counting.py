"""Finds spend that senders report twice, and logs a warning once where only the user can decide.

Not thread-safe: it is called under the lock of the series cache.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from exporter.costs.entry_fields import first_text
from exporter.costs.gen_ai import TOKEN_USAGE_METRIC, model_names
from exporter.costs.rules import series_attributes
from exporter.model import CostSample, Series

_log = logging.getLogger(__name__)

NODE_METRIC: Final = "node_total_hourly_cost"
# Cluster and name of a service, see `Spend`; cluster and name of a node.
_Service = tuple[str, str]
_Node = tuple[str, str]
_NODE_NAMES: Final = ("exported_node", "node", "exported_instance", "instance")


class Spend(NamedTuple):
    """What one series says about the use of language models.

    Attributes:
        service: the cluster and the name of the service, or its resource if it has no name.
        service_name: its name, None if it has none.
        metric_name: of the series.
        models: the names of the model, in small letters; empty if the series names none.
        is_tokens: whether the series counts tokens; otherwise it is a cost.
    """

    service: _Service
    service_name: str | None
    metric_name: str
    models: frozenset[str]
    is_tokens: bool

    @classmethod
    def of(cls, series: Series, *, is_tokens: bool) -> Spend:
        """The spend of a series."""
        return cls(
            (series.cluster_id, series.service_name or series.resource),
            series.service_name,
            series.metric_name,
            model_names(series),
            is_tokens,
        )


class StatedCosts:
    """The services that send the cost of their calls to language models, besides the tokens.

    If the cost names a model, the tokens of this model from this service are not priced. A cost
    that names no model can be anything, so the tokens are priced and the service is logged.
    """

    def __init__(self) -> None:
        # What each service sends: the models with costs, a cost without a model, and the tokens.
        self._models: dict[_Service, set[str]] = {}
        self._costs_without_model: dict[_Service, Spend] = {}
        self._tokens: dict[_Service, set[Spend]] = {}
        # Costs that came after tokens of their model were priced.
        self._late_costs: dict[_Service, Spend] = {}
        self._warned: set[_Service] = set()

    def replace(self, spends: Sequence[Spend]) -> None:
        """Forget everything but these, after series were evicted from the cache."""
        self._models.clear()
        self._costs_without_model.clear()
        self._tokens.clear()
        self.add(spends)
        self._warned &= self._costs_without_model.keys() | self._models.keys()

    def add(self, spends: Sequence[Spend]) -> None:
        """Add the new series of one request. Their order does not matter: costs are added first."""
        for spend in spends:
            if spend.is_tokens:
                continue
            if not spend.models:
                self._costs_without_model[spend.service] = spend
                continue
            if any(spend.models & tokens.models for tokens in self._priced(spend.service)):
                self._late_costs[spend.service] = spend
            self._models.setdefault(spend.service, set()).update(spend.models)
        for spend in spends:
            if spend.is_tokens:
                self._tokens.setdefault(spend.service, set()).add(spend)

    def is_stated(self, tokens: Spend) -> bool:
        """Whether the service sends the cost of these tokens."""
        return not tokens.models.isdisjoint(self._models.get(tokens.service, ()))

    def warn(self) -> int:
        """Log each service with spend that may be counted twice, once.

        Returns:
            The number of services that were logged.
        """
        found = 0
        for service in self._late_costs.keys() - self._warned:
            found += self._warn(
                self._late_costs[service],
                "sends the cost of a model (%s) whose tokens (%s) were priced before; they are "
                "counted twice, and further tokens are not priced; to prevent it,",
            )
        self._late_costs.clear()
        for service in self._tokens.keys() & self._costs_without_model.keys() - self._warned:
            if self._priced(service):
                found += self._warn(
                    self._costs_without_model[service],
                    "sends costs (%s) that name no model, and tokens (%s), which are priced; if "
                    "the costs are those of the tokens, they are counted twice:",
                )
        return found

    def _priced(self, service: _Service) -> list[Spend]:
        """The tokens of a service that are priced."""
        return [one for one in self._tokens.get(service, ()) if not self.is_stated(one)]

    def _warn(self, cost: Spend, problem: str) -> int:
        """Log what a service sends, and how to exclude its tokens; 1, for the count.

        Args:
            cost: of the service.
            problem: continues the name of the service; `%s` is the metric of the cost, and then
                that of the tokens.
        """
        self._warned.add(cost.service)
        _log.warning(
            f"service %r {problem} add {{metric: %s, attributes: {{service.name: %s}}, kind: none}}"
            " to cost_rules",
            cost.service_name or "",
            cost.metric_name,
            TOKEN_USAGE_METRIC,
            TOKEN_USAGE_METRIC,
            cost.service_name or "...",
        )
        return 1


class DuplicateNodes:
    """The nodes whose price OpenCost sends as several series with different attributes."""

    def __init__(self) -> None:
        self._series: dict[_Node, set[int]] = {}
        # By series id, the nodes with several series that were not logged yet.
        self._suspects: dict[int, _Node] = {}

    def add(self, series: Series, cost_series_id: int) -> None:
        """Add a series of `NODE_METRIC`.

        Args:
            series: the series.
            cost_series_id: the `series_id` of its samples, which replicas of OpenCost share.
        """
        point, _ = series_attributes(series)
        node = series.cluster_id, first_text(point, _NODE_NAMES)
        series_ids = self._series.setdefault(node, set())
        series_ids.add(cost_series_id)
        if len(series_ids) > 1:
            self._suspects.update(dict.fromkeys(series_ids, node))

    def retain(self, cost_series_ids: Iterable[int]) -> None:
        """Forget all series but these, after series were evicted from the cache."""
        kept = set(cost_series_ids)
        remaining = {node: series_ids & kept for node, series_ids in self._series.items()}
        self._series = {node: series_ids for node, series_ids in remaining.items() if series_ids}
        self._suspects = {one: node for one, node in self._suspects.items() if one in kept}

    def warn(self, samples: Sequence[CostSample]) -> int:
        """Log each node of which two series have samples of one time, once.

        Returns:
            The number of nodes that were logged.
        """
        if not self._suspects:
            return 0
        found = 0
        series_ids: dict[tuple[_Node, int], int] = {}
        for sample in samples:
            node = self._suspects.get(sample.series_id)
            if node is None:
                continue
            first = series_ids.setdefault((node, sample.time_unix_nano), sample.series_id)
            if first != sample.series_id:
                found += 1
                for series_id in self._series[node]:
                    self._suspects.pop(series_id, None)
                _log.warning(
                    "OpenCost sends node %r of cluster %r twice, as series of %s with different "
                    "attributes; the node is counted twice: exclude one of the series with a rule "
                    "of kind none in cost_rules",
                    node[1],
                    node[0],
                    NODE_METRIC,
                )
        return found
