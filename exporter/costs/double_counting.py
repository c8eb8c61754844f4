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
_NODE_NAMES: Final = ("exported_node", "node", "exported_instance", "instance")


class Spend(NamedTuple):
    """What one series says about the use of language models.

    Attributes:
        service: name of the service, with the cluster it runs in.
        service_name: its name, None if it has none.
        metric_name: of the series.
        models: the names of the model, in small letters; empty if the series names none.
        is_tokens: whether the series counts tokens; otherwise it is a cost.
    """

    service: tuple[str, str]
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
        self._models: dict[tuple[str, str], set[str]] = {}
        self._unnamed: dict[tuple[str, str], Spend] = {}
        self._tokens: dict[tuple[str, str], Spend] = {}
        self._warned: set[tuple[str, str]] = set()

    def replace(self, spends: Iterable[Spend]) -> None:
        """Keep these alone, after series were evicted."""
        self._models.clear()
        self._unnamed.clear()
        self._tokens.clear()
        for spend in spends:
            self.add(spend)
        self._warned &= self._unnamed.keys()

    def add(self, spend: Spend) -> None:
        """Take note of a series."""
        if spend.is_tokens:
            self._tokens[spend.service] = spend
        elif spend.models:
            self._models.setdefault(spend.service, set()).update(spend.models)
        else:
            self._unnamed[spend.service] = spend

    def is_stated(self, tokens: Spend) -> bool:
        """Whether the service sends the cost of these tokens."""
        return not tokens.models.isdisjoint(self._models.get(tokens.service, ()))

    def warn(self) -> int:
        """Log each service that is known to send both, once.

        Returns:
            How many services were found whose spend may be counted twice.
        """
        twice = self._tokens.keys() & self._unnamed.keys() - self._warned
        self._warned |= twice
        for service in twice:
            cost = self._unnamed[service]
            _log.warning(
                "service %r sends costs (%s) that name no model, and tokens (%s), which are "
                "priced; if the costs are those of the tokens, they are counted twice: add "
                "{metric: %s, attributes: {service.name: %s}, kind: none} to cost_rules",
                cost.service_name or "",
                cost.metric_name,
                self._tokens[service].metric_name,
                TOKEN_USAGE_METRIC,
                cost.service_name or "...",
            )
        return len(twice)


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
