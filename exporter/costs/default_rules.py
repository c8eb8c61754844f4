"""The rules that the exporter ships: cost by name or unit, and the cost metrics of OpenCost."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Final

from exporter.costs.entry_fields import CURRENCIES, CostRefusedError
from exporter.costs.identity import EVERY_ATTRIBUTE
from exporter.costs.rules import CostRule, FieldSource, QuantityMetric
from exporter.model import Series

_COST_METRIC: Final = "openfinops.cost"
_CURRENCY_UNIT: Final = re.compile(r"(?:([A-Z]{3})|\{([A-Z]{3})\})(?P<per_hour>/(?:h|hr|hour))?")
_NO_UNIT: Final = frozenset({"", "1"})
_USD: Final = (FieldSource(constant="USD"),)
_NODE: Final = ("provider_id", "node", "instance")
# OpenCost's "GB" is 2^30 bytes.
_GIB_PER_BYTE: Final = Decimal(1) / (1 << 30)


def _opencost(
    metric: str,
    category: str,
    resource_attributes: tuple[str, ...],
    quantity: QuantityMetric | None = None,
) -> CostRule:
    return CostRule(
        metric=metric,
        kind="hourly_rate",
        category=(FieldSource(constant=category),),
        resource_id=tuple(FieldSource(attribute=name) for name in resource_attributes),
        currency=_USD,
        quantity=quantity,
        # Two replicas of OpenCost, or one that was replaced, report the same things.
        identity=(EVERY_ATTRIBUTE,),
    )


OPENCOST_RULES: Final = (
    _opencost("node_total_hourly_cost", "compute", _NODE),
    _opencost(
        "pv_hourly_cost",
        "storage",
        ("persistentvolume", "volumename"),
        QuantityMetric("pod_pvc_allocation", "persistentvolume", _GIB_PER_BYTE),
    ),
    _opencost("kubecost_load_balancer_cost", "network", ("ingress_ip", "service_name")),
    _opencost("kubecost_cluster_management_cost", "management", ("provisioner_name",)),
    # These are unit prices of CPU, RAM and so on. They are never a cost, even with a unit such as
    # USD/h, because node_total_hourly_cost already includes them.
    CostRule(metric="node_cpu_hourly_cost", kind=None),
    CostRule(metric="node_ram_hourly_cost", kind=None),
    CostRule(metric="node_gpu_hourly_cost", kind=None),
    # Prices of traffic (kubecost_network_*) have no rule: without the traffic they are no cost.
)
"""In USD an hour, because OpenCost's metrics name no currency."""


def unit_currency(unit: str) -> str:
    """The currency that a unit such as `USD`, `{USD}` or `USD/h` names, "" if it names none."""
    match = _CURRENCY_UNIT.fullmatch(unit)
    code = "" if match is None else match[1] or match[2]
    return code if code in CURRENCIES else ""


def unit_rule(series: Series) -> CostRule | None:
    """The rule for a series whose own name or unit says that it is a cost, else None.

    Raises:
        CostRefusedError: the name says that it is a cost, and its type or unit contradicts.
    """
    is_named_cost = series.metric_name == _COST_METRIC
    has_currency = bool(unit_currency(series.unit))
    if not is_named_cost and not has_currency:
        return None
    if series.unit not in _NO_UNIT and not has_currency:
        raise CostRefusedError(f"its unit {series.unit[:20]!r} names no ISO 4217 currency")
    match = _CURRENCY_UNIT.fullmatch(series.unit)
    per_hour = match is not None and match["per_hour"] is not None
    rule = CostRule(metric=series.metric_name, kind=None)
    if series.metric_type == "gauge" and per_hour:
        return replace(rule, kind="hourly_rate")
    if series.metric_type == "sum" and not per_hour:
        return replace(rule, kind="amount" if series.temporality == "delta" else "cumulative")
    if is_named_cost:
        raise CostRefusedError(
            f"a {series.metric_type} in {series.unit or 'no unit'!r} is neither an amount nor a "
            "rate; use a sum, a gauge with a unit such as USD/h, or a rule in cost_rules"
        )
    # For example a gauge in USD: a balance or a budget.
    return None
