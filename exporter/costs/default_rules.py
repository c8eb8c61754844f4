"""The rules that are shipped: cost by name or by unit, and what OpenCost exports.

Of OpenCost's metrics only those are taken that add up: node_total_hourly_cost is the sum of a
node's CPU, memory and GPU, so node_cpu_hourly_cost and its siblings, which are prices for one
unit, never count beside it. Prices for traffic (kubecost_network_*) are no cost without the
traffic.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Final

from exporter.costs.currencies import CURRENCIES
from exporter.costs.fields import CostRefusedError
from exporter.costs.rules import CostRule, FieldSource, QuantityMetric
from exporter.model import Series

__all__ = ["OPENCOST_RULES", "unit_currency", "unit_rule"]

_INSTRUMENT: Final = "openfinops.cost"
_UNIT: Final = re.compile(r"(?:([A-Z]{3})|\{([A-Z]{3})\})(?P<per_hour>/(?:h|hr|hour))?")
_NO_UNIT: Final = frozenset({"", "1"})
_USD: Final = (FieldSource(constant="USD"),)
_NODE: Final = ("provider_id", "node", "instance")
# OpenCost's "GB" is 2^30 bytes.
_GIB: Final = Decimal(1) / (1 << 30)


def _opencost(
    metric: str, category: str, resource: tuple[str, ...], quantity: QuantityMetric | None = None
) -> CostRule:
    return CostRule(
        metric=metric,
        kind="hourly_rate",
        category=(FieldSource(constant=category),),
        resource_id=tuple(FieldSource(attribute=name) for name in resource),
        currency=_USD,
        quantity=quantity,
    )


OPENCOST_RULES: Final = (
    _opencost("node_total_hourly_cost", "compute", _NODE),
    _opencost(
        "pv_hourly_cost",
        "storage",
        ("persistentvolume", "volumename"),
        QuantityMetric("pod_pvc_allocation", "persistentvolume", _GIB),
    ),
    _opencost("kubecost_load_balancer_cost", "network", ("ingress_ip", "service_name")),
    _opencost("kubecost_cluster_management_cost", "management", ("provisioner_name",)),
    # Even where a sender gives them a unit such as USD/h.
    CostRule(metric="node_cpu_hourly_cost", kind=None),
    CostRule(metric="node_ram_hourly_cost", kind=None),
    CostRule(metric="node_gpu_hourly_cost", kind=None),
)
"""In USD an hour, which is all that OpenCost's metrics say."""


def unit_currency(unit: str) -> str:
    """The currency that a unit such as `USD`, `{USD}` or `USD/h` names; "" where it names none."""
    found = _UNIT.fullmatch(unit)
    code = "" if found is None else found[1] or found[2]
    return code if code in CURRENCIES else ""


def unit_rule(series: Series) -> CostRule | None:
    """The rule for a series that says itself that it is a cost, by its name or unit.

    Raises:
        CostRefusedError: its name says so, and yet it cannot be one.
    """
    is_named = series.metric_name == _INSTRUMENT
    if not is_named and not unit_currency(series.unit):
        return None
    rule = CostRule(metric=series.metric_name, kind=None)
    found = _UNIT.fullmatch(series.unit)
    per_hour = found is not None and found["per_hour"] is not None
    if is_named and series.unit not in _NO_UNIT and not unit_currency(series.unit):
        raise CostRefusedError(f"its unit {series.unit[:20]!r} names no ISO 4217 currency")
    if series.metric_type == "gauge" and per_hour:
        return replace(rule, kind="hourly_rate")
    if series.metric_type == "sum" and not per_hour:
        return replace(rule, kind="amount" if series.temporality == "delta" else "cumulative")
    if is_named:
        raise CostRefusedError(
            f"a {series.metric_type} in {series.unit or 'no unit'!r} is neither an amount nor a "
            "rate; use a sum, a gauge with a unit such as USD/h, or a rule in cost_rules"
        )
    return None
