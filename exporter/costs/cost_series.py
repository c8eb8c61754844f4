"""How the points of a series become cost samples: their series id and their basis. Pure."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple

from exporter.costs.entry_fields import (
    DEFAULT_CATEGORY,
    AttributeReader,
    Attributes,
    CostRefusedError,
    attribute_text,
    first_text,
    first_texts,
    parse_currency,
)
from exporter.costs.identity import EVERY_ATTRIBUTE, identity_attributes, shared_series_id
from exporter.costs.rules import (
    NOTIONAL_TAGS,
    CostRule,
    QuantityMetric,
    RuleKind,
    entry_tags,
    field_text,
    notional_currency,
    series_attributes,
)
from exporter.json_text import canonical_json
from exporter.model import CostBasis, CostKind, CostSource, Series

_UNKNOWN_NODE: Final = "default"
_NODE_ATTRIBUTES: Final = ("node_id", "k8s.node.name", "node")
# The columns cluster_id and node_id of a series are made from these.
_NEVER_TAGS: Final = frozenset({"cluster_id", "node_id"})


class KindRefusedError(CostRefusedError):
    """The kind of a rule makes no sense for the type of a series; another rule may apply."""


class CostSeries(NamedTuple):
    """What the samples of a series have in common.

    Attributes:
        series_id: of the samples: that of the series, or of the identity that several series share.
        basis: of the samples.
        basis_at: the basis of a sample at a time in nanoseconds, if prices change with time; it may
            raise `CostRefusedError`. None if all samples have `basis`.
    """

    series_id: int
    basis: CostBasis
    basis_at: Callable[[int], CostBasis] | None = None


def cost_series(
    rule: CostRule,
    series: Series,
    *,
    unit_currency: str = "",
    factor: Decimal = Decimal(1),
    source: CostSource = "metric",
) -> CostSeries:
    """How the points of a series that the rule matches become cost samples.

    Args:
        rule: a rule that has a kind.
        series: the series.
        unit_currency: the currency code of its unit, "" if the unit names none.
        factor: what each value is multiplied by.
        source: the source of the entries.

    Raises:
        CostRefusedError: the series cannot be the cost that the rule says.
    """
    kind = _series_kind(rule.kind, series)
    point, resource = series_attributes(series)
    identity = identity_attributes(rule.identity, point, resource) if rule.identity else {}
    # A list of attributes of which the series has none does not identify anything.
    is_shared = bool(identity) or rule.identity == (EVERY_ATTRIBUTE,)
    if is_shared:
        point, resource = _shared_attributes(rule, identity, point, resource)
    reader = AttributeReader(point, resource, used=_NEVER_TAGS)
    node_id = series.node_id
    if is_shared:
        node_id = first_text(point, _NODE_ATTRIBUTES) or _UNKNOWN_NODE
    currency = _currency(field_text(reader, "currency", rule.currency), unit_currency)
    basis = CostBasis(
        kind=kind,
        factor=factor * rule.factor * (rule.quantity.scale if rule.quantity else 1),
        staleness_seconds=rule.staleness_seconds,
        category=field_text(reader, "category", rule.category) or DEFAULT_CATEGORY,
        resource_id=field_text(reader, "resource_id", rule.resource_id) or node_id,
        currency=notional_currency(currency) if rule.notional else currency,
        region=field_text(reader, "region", rule.region) or None,
        cluster_id=series.cluster_id,
        node_id=node_id,
        service_name=series.service_name,
        description=reader.field("description") or series.description,
        # Last: tags are what the fields above have not used.
        tags=canonical_json(_tags(reader, rule)),
        source=source,
        source_name=series.metric_name,
        is_monotonic=series.is_monotonic is not False,
        has_known_starts=series.metric_type != "gauge",
        falls=rule.falls,
        quantity_id=quantity_series_id(rule.quantity, series) if rule.quantity else None,
    )
    if not is_shared:
        return CostSeries(series.series_id, basis)
    return CostSeries(shared_series_id(series.metric_name, series.cluster_id, identity), basis)


def quantity_series(rule: CostRule, series: Series) -> CostSeries | None:
    """How the points of the quantity metric of a rule become samples.

    Returns:
        None if the series lacks the attribute that says what its values are the quantity of.
    """
    quantity = rule.quantity
    if quantity is None or not _point_attribute(series, quantity.attribute):
        return None
    basis = CostBasis(
        kind="quantity",
        factor=Decimal(1),
        staleness_seconds=rule.staleness_seconds,
        category=next((one.constant for one in rule.category if one.constant), DEFAULT_CATEGORY),
        resource_id=_point_attribute(series, quantity.attribute),
        currency=next((one.constant for one in rule.currency if one.constant), ""),
        cluster_id=series.cluster_id,
        source_name=series.metric_name,
        has_known_starts=False,
    )
    return CostSeries(quantity_series_id(quantity, series), basis)


def quantity_series_id(quantity: QuantityMetric, series: Series) -> int:
    """The series id of a quantity, from a series of the quantity or of the price."""
    value = _point_attribute(series, quantity.attribute)
    return shared_series_id(quantity.metric, series.cluster_id, {quantity.attribute: value})


def _shared_attributes(
    rule: CostRule, identity: Attributes, point: Attributes, resource: Attributes
) -> tuple[Attributes, Attributes]:
    """The attributes that the fields of series with a shared identity may come from.

    Of the resource these are only the ones that the rule names: the others describe the sender, and
    two senders of one cost must give the same entry.
    """
    sources = (*rule.category, *rule.resource_id, *rule.currency, *rule.region)
    named = {source.attribute for source in (*sources, *(rule.tags or {}).values())}
    kept = {name: value for name, value in resource.items() if name in named or name in identity}
    return (identity if rule.identity == (EVERY_ATTRIBUTE,) else point), kept


def _point_attribute(series: Series, name: str) -> str:
    """The text of an attribute of the points of a series, "" if they do not have it."""
    return attribute_text(series_attributes(series)[0].get(name))


def _series_kind(kind: RuleKind | None, series: Series) -> CostKind:
    """What a value of this series is under a rule of this kind.

    Raises:
        KindRefusedError: the kind makes no sense for the type of the series.
    """
    if kind == "hourly_rate":
        _check_hourly_rate(series)
        return kind
    if kind == "amount" and series.metric_type == "summary":
        raise KindRefusedError("the sum of a summary is a total; write kind: cumulative")
    # Whoever writes the rule knows the metric, and often not how its sender aggregates it.
    if series.temporality is not None:
        return "amount" if series.temporality == "delta" else "cumulative"
    return "amount" if kind == "amount" else "cumulative"


def _check_hourly_rate(series: Series) -> None:
    """Check that the series reports a current value: a gauge or a non-monotonic cumulative sum."""
    if series.metric_type == "gauge":
        return
    if series.metric_type != "sum":
        name = "a summary" if series.metric_type == "summary" else "a histogram"
        raise KindRefusedError(f"the sum of {name} is not a rate; kind hourly_rate is for gauges")
    if series.temporality == "delta" or series.is_monotonic:
        raise KindRefusedError(
            "a sum that only grows is not a rate; kind hourly_rate is for gauges"
        )


def _tags(reader: AttributeReader, rule: CostRule) -> dict[str, Any]:
    return {
        **first_texts(reader.own, rule.more_tags),
        **entry_tags(reader, rule.tags),
        **(NOTIONAL_TAGS if rule.notional else {}),
    }


def _currency(field_text: str, unit_currency: str) -> str:
    """The ISO 4217 code that the field or the unit says.

    Raises:
        CostRefusedError: neither says one, or they say different ones.
    """
    text = field_text or unit_currency
    if not text:
        raise CostRefusedError("no currency is given, neither as unit nor as attribute currency")
    currency = parse_currency(text)
    if currency is None:
        raise CostRefusedError(f"{text[:20]!r} is not an ISO 4217 currency")
    if unit_currency and currency != unit_currency:
        raise CostRefusedError(f"its unit is in {unit_currency} and its currency is {currency}")
    return currency
