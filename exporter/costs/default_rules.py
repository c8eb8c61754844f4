"""The rules that the exporter ships: costs by name or unit, of OpenCost, and of AI senders."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from exporter.costs.entry_fields import (
    CURRENCIES,
    FIELD_ATTRIBUTES,
    CostRefusedError,
    first_text,
)
from exporter.costs.identity import EVERY_ATTRIBUTE
from exporter.costs.rules import CostRule, FieldSource, QuantityMetric, series_attributes
from exporter.model import Series

_COST_METRIC: Final = "openfinops.cost"
_CURRENCY_UNIT: Final = re.compile(
    r"(?P<open>\{)?(?P<code>[A-Z]{3}|[$€£])(?(open)\})(?P<per_hour>/(?:h|hr|hour))?", re.IGNORECASE
)
_SYMBOLS: Final = MappingProxyType({"$": "USD", "€": "EUR", "£": "GBP"})
# In lower case these are words, and a unit such as {try} counts attempts.
_WORDS: Final = frozenset({"ALL", "BOB", "CUP", "GEL", "MAD", "MOP", "PEN", "SOS", "TOP", "TRY"})
_NO_UNIT: Final = frozenset({"", "1"})
_USD: Final = (FieldSource(constant="USD"),)
_CURRENCY_OR_USD: Final = (
    *(FieldSource(attribute=name) for name in FIELD_ATTRIBUTES["currency"]),
    *_USD,
)
_NODE: Final = ("provider_id", "node", "instance")
# OpenCost's "GB" is 2^30 bytes.
_GIB_PER_BYTE: Final = Decimal(1) / (1 << 30)

MODEL_ATTRIBUTES: Final = ("gen_ai.response.model", "gen_ai.request.model")
MODEL_SOURCES: Final = (*MODEL_ATTRIBUTES, "model")
# Names with every "." written as "_", without "_total" and without "_usd" at the end.
_AI_COST_METRICS: Final = frozenset(
    {
        "gen_ai_usage_cost",  # LiteLLM, OpenLIT
        "gen_ai_client_token_cost",  # LiteLLM before
        "claude_code_cost_usage",
    }
)
_MICRO_USD: Final = Decimal("1e-6")
_AMOUNT_TYPES: Final = frozenset({"sum", "histogram", "exponential_histogram", "summary"})
PERSON_TAGS: Final = MappingProxyType(
    {
        "user": (
            "user",
            "user.email",
            "user.id",
            "enduser.id",
            "metadata.user_api_key_user_email",
            "metadata.user_api_key_user_id",
        ),
        "team": ("team", "metadata.user_api_key_team_alias", "metadata.user_api_key_team_id"),
        "session": ("session", "session.id", "gen_ai.conversation.id"),
    }
)


def ai_rule(rule: CostRule) -> CostRule:
    """The rule, with the fields of an entry for the use of a language model."""
    category = (*_attributes(*FIELD_ATTRIBUTES["category"]), FieldSource(constant="ai"))
    resource_id = _attributes(*FIELD_ATTRIBUTES["resource_id"][:2], *MODEL_SOURCES)
    return replace(
        rule,
        category=rule.category or category,
        resource_id=rule.resource_id or resource_id,
        more_tags=PERSON_TAGS if rule.tags is None else {},
    )


def _attributes(*names: str) -> tuple[FieldSource, ...]:
    return tuple(FieldSource(attribute=name) for name in names)


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
        resource_id=_attributes(*resource_attributes),
        currency=_USD,
        quantity=quantity,
        # Two replicas of OpenCost, or one that was replaced, report the same things.
        identity=(EVERY_ATTRIBUTE,),
    )


_OPENCOST_RULES: Final = (
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
OPENCOST_RULES: Final = MappingProxyType({rule.metric: rule for rule in _OPENCOST_RULES})
"""By metric. In USD an hour, because OpenCost's metrics name no currency."""


def unit_currency(unit: str) -> str:
    """The currency that a unit such as `USD`, `{usd}`, `$` or `USD/h` names, "" if none."""
    match = _CURRENCY_UNIT.fullmatch(unit)
    if match is None:
        return ""
    text = match["code"]
    code = _SYMBOLS.get(text) or text.upper()
    return code if code in CURRENCIES and (text == code or code not in _WORDS) else ""


def default_rule(series: Series) -> CostRule | None:
    """The shipped rule for a series, else None.

    Raises:
        CostRefusedError: the name says that it is a cost, and its type or unit contradicts.
    """
    rule = _rule_of_metric(series.metric_name, series.metric_type, series.unit)
    return rule and with_known_fields(rule, series)


def with_known_fields(rule: CostRule, series: Series) -> CostRule:
    """The rule with the fields that it does not set, as far as the series says what they are.

    The name of the metric may say currency and factor. If the points name a language model, the
    other fields are those of `ai_rule`.
    """
    known = _name_rule(series.metric_name, series.unit)
    if known is not None:
        factor = known.factor if rule.factor == 1 else rule.factor
        rule = replace(rule, currency=rule.currency or known.currency, factor=factor)
    names = MODEL_ATTRIBUTES if known is None else MODEL_SOURCES
    return ai_rule(rule) if first_text(series_attributes(series)[0], names) else rule


# Series are many more than metrics.
@lru_cache(maxsize=4_096)
def _rule_of_metric(name: str, metric_type: str, unit: str) -> CostRule | None:
    opencost = OPENCOST_RULES.get(name)
    if opencost is not None:
        return opencost
    rule = _name_rule(name, unit) if metric_type in _AMOUNT_TYPES else None
    return rule or _unit_rule(name, metric_type, unit)


@lru_cache(maxsize=4_096)
def _name_rule(name: str, unit: str) -> CostRule | None:
    """The rule for a metric whose name is known to be a cost, or ends in its currency."""
    rule = CostRule(metric=name, kind="cumulative")
    name = name.lower().replace(".", "_").removesuffix("_total")
    if name.removesuffix("_usd") in _AI_COST_METRICS:
        currency = () if unit_currency(unit) else _CURRENCY_OR_USD
        return ai_rule(replace(rule, currency=currency))
    if name.endswith("_cost_usd") or name == "cost_usd":
        return replace(rule, currency=_USD)
    if name.endswith(("_microusd", "_micro_usd")):
        return replace(rule, currency=_USD, factor=_MICRO_USD)
    return None


def _unit_rule(name: str, metric_type: str, unit: str) -> CostRule | None:
    """The rule for a metric whose unit says that it is a cost."""
    is_named_cost = name == _COST_METRIC
    has_currency = bool(unit_currency(unit))
    if not is_named_cost and not has_currency:
        return None
    if unit not in _NO_UNIT and not has_currency:
        raise CostRefusedError(f"its unit {unit[:20]!r} names no ISO 4217 currency")
    match = _CURRENCY_UNIT.fullmatch(unit)
    per_hour = match is not None and match["per_hour"] is not None
    rule = CostRule(metric=name, kind="cumulative")
    if metric_type == "gauge" and per_hour:
        return replace(rule, kind="hourly_rate")
    if metric_type in _AMOUNT_TYPES and not per_hour:
        return rule
    if is_named_cost:
        raise CostRefusedError(
            f"a {metric_type} in {unit or 'no unit'!r} is neither an amount nor a rate; use a sum, "
            "a histogram, a gauge with a unit such as USD/h, or a rule in cost_rules"
        )
    # For example a gauge in USD: a balance or a budget.
    return None
