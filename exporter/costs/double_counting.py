"""Finds spend that senders report twice. Warns once of what only the user can decide.

Not thread-safe: called under the lock of the series cache.
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
# The cluster and the name of a service, or its resource if it has no name.
_Service = tuple[str, str]
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
    """The services that send the cost of their calls, and by that make the tokens a second count.

    A service that sends a cost that names a model pays for this model by it, so its tokens of this
    model are not priced. A cost that names no model may be anything, so it does not change how
    tokens are priced; the service is named in the log.
    """

    def __init__(self) -> None:
        self._models: dict[_Service, set[str]] = {}
        self._unnamed: dict[_Service, Spend] = {}
        self._tokens: dict[_Service, set[Spend]] = {}
        # Costs that came after tokens of their model were priced.
        self._late: dict[_Service, Spend] = {}
        self._warned: set[_Service] = set()

    def replace(self, spends: Sequence[Spend]) -> None:
        """Keep these alone, after series were evicted."""
        self._models.clear()
        self._unnamed.clear()
        self._tokens.clear()
        self.add(spends)
        self._warned &= self._unnamed.keys() | self._models.keys()

    def add(self, spends: Sequence[Spend]) -> None:
        """Take note of the series of one request, whose order does not matter."""
        for spend in spends:
            if spend.is_tokens:
                continue
            if not spend.models:
                self._unnamed[spend.service] = spend
                continue
            if any(spend.models & tokens.models for tokens in self._priced(spend.service)):
                self._late[spend.service] = spend
            self._models.setdefault(spend.service, set()).update(spend.models)
        for spend in spends:
            if spend.is_tokens:
                self._tokens.setdefault(spend.service, set()).add(spend)

    def is_stated(self, tokens: Spend) -> bool:
        """Whether the service sends the cost of these tokens."""
        return not tokens.models.isdisjoint(self._models.get(tokens.service, ()))

    def warn(self) -> int:
        """Log each service of which a spend may be counted twice, once.

        Returns:
            How many there are.
        """
        found = 0
        for service in self._late.keys() - self._warned:
            found += self._warn(
                self._late[service],
                "sends the cost of a model (%s) whose tokens (%s) were priced before; they are "
                "counted twice, and further tokens are not priced; to prevent it,",
            )
        self._late.clear()
        for service in self._tokens.keys() & self._unnamed.keys() - self._warned:
            if self._priced(service):
                found += self._warn(
                    self._unnamed[service],
                    "sends costs (%s) that name no model, and tokens (%s), which are priced; if "
                    "the costs are those of the tokens, they are counted twice:",
                )
        return found

    def _priced(self, service: _Service) -> list[Spend]:
        return [one for one in self._tokens.get(service, ()) if not self.is_stated(one)]

    def _warn(self, cost: Spend, what: str) -> int:
        self._warned.add(cost.service)
        name = cost.service_name
        _log.warning(
            f"service %r {what} add {{metric: %s, attributes: {{service.name: %s}}, kind: none}} "
            "to cost_rules",
            name or "",
            cost.metric_name,
            TOKEN_USAGE_METRIC,
            TOKEN_USAGE_METRIC,
            name or "...",
        )
        return 1


class NodeTwins:
    """The nodes that OpenCost sends as two series with different attributes."""

    def __init__(self) -> None:
        self._chains: dict[tuple[str, str], set[int]] = {}
        self._twins: dict[int, tuple[str, str]] = {}

    def add(self, series: Series, chain_id: int) -> None:
        """Take note of a series of `NODE_METRIC`."""
        point, _ = series_attributes(series)
        node = series.cluster_id, first_text(point, _NODE_NAMES)
        chains = self._chains.setdefault(node, set())
        chains.add(chain_id)
        if len(chains) > 1:
            self._twins.update(dict.fromkeys(chains, node))

    def retain(self, chain_ids: Iterable[int]) -> None:
        """Keep these chains alone, after series were evicted."""
        kept = set(chain_ids)
        self._chains = {
            node: chains & kept for node, chains in self._chains.items() if chains & kept
        }
        self._twins = {chain: node for chain, node in self._twins.items() if chain in kept}

    def warn(self, samples: Sequence[CostSample]) -> int:
        """Log each node of which two chains have a sample of one time, once.

        Returns:
            How many nodes were found.
        """
        if not self._twins:
            return 0
        found = 0
        seen: dict[tuple[tuple[str, str], int], int] = {}
        for sample in samples:
            node = self._twins.get(sample.series_id)
            if node is None:
                continue
            other = seen.setdefault((node, sample.time_unix_nano), sample.series_id)
            if other != sample.series_id:
                found += 1
                for chain_id in self._chains[node]:
                    self._twins.pop(chain_id, None)
                _log.warning(
                    "OpenCost sends node %r of cluster %r twice, as series of %s with different "
                    "attributes; the node is counted twice: exclude one of the series with a rule "
                    "of kind none in cost_rules",
                    node[1],
                    node[0],
                    NODE_METRIC,
                )
        return found
