"""Rules: which series carry cost, and how the points of one become cost entries.

A rule matches a series by metric name and attributes, and says where the fields of its entries
come from. Pure: a series in, the basis of its costs out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from exporter.costs.entry_fields import (
    DEFAULT_CATEGORY,
    AttributeReader,
    Attributes,
    CostRefusedError,
    attribute_text,
    first_text,
    parse_currency,
)
from exporter.costs.identity import EVERY_ATTRIBUTE, chain_id, identity_attributes
from exporter.json_text import canonical_json
from exporter.model import CostBasis, CostFalls, CostKind, CostSource, Series

DEFAULT_STALENESS_SECONDS: Final = 600.0
_ATTRIBUTE_PREFIX: Final = "attribute:"
_UNKNOWN_NODE: Final = "default"
_NODE_ATTRIBUTES: Final = ("node_id", "k8s.node.name", "node")
_NO_PATTERNS: Final[Mapping[str, str]] = MappingProxyType({})


class FieldSource(NamedTuple):
    """Where a field of an entry comes from: an attribute of point or resource, or a constant."""

    attribute: str = ""
    constant: str = ""

    @classmethod
    def parse(cls, text: str) -> FieldSource:
        """The source that a rule writes: `attribute:NAME`, or any other text as a constant."""
        if text.startswith(_ATTRIBUTE_PREFIX):
            return cls(attribute=text.removeprefix(_ATTRIBUTE_PREFIX).strip())
        return cls(constant=text)


class QuantityMetric(NamedTuple):
    """The metric whose value, as of the time of a price, the price is multiplied by.

    Attributes:
        metric: its name.
        attribute: the attribute that has the same value on both series. Both are in one cluster.
        scale: factor that converts its value to the unit that the price is for.
    """

    metric: str
    attribute: str
    scale: Decimal


@dataclass(frozen=True, slots=True)
class CostRule:
    """One rule, for metrics of every type.

    The value of a histogram or summary is its sum. A rule also matches types that its kind makes
    no sense for; `cost_basis` refuses those.

    Attributes:
        metric: name of the metric, with `*`, `?` and `[...]` as in file names.
        kind: what a value is; None for series that are never a cost.
        attributes: patterns that attributes of point or resource must match.
        category: the first source that is not empty counts; so do the sources below.
        resource_id: without a source, from the attributes that the shipped rules read.
        currency: without a source, the unit or the attribute `currency`.
        region: without a source, from the attributes that the shipped rules read.
        tags: by name; None for every attribute of the point that no other field used.
        staleness_seconds: the longest time that one point of an hourly rate pays for.
        quantity: what the value is multiplied by, None for 1.
        identity: the attributes of point or resource that identify what is paid for, see
            `exporter.costs.identity`; series that are equal in them cost once. Empty if each series
            is paid for.
        falls: what a fall of a total is, see `CostBasis`.
    """

    metric: str
    kind: CostKind | None
    attributes: Mapping[str, str] = field(default_factory=lambda: _NO_PATTERNS)
    category: tuple[FieldSource, ...] = ()
    resource_id: tuple[FieldSource, ...] = ()
    currency: tuple[FieldSource, ...] = ()
    region: tuple[FieldSource, ...] = ()
    tags: Mapping[str, FieldSource] | None = None
    staleness_seconds: float = DEFAULT_STALENESS_SECONDS
    quantity: QuantityMetric | None = None
    identity: tuple[str, ...] = ()
    falls: CostFalls = "auto"

    def matches(self, series: Series) -> bool:
        """Whether the rule applies to this series."""
        if not fnmatchcase(series.metric_name, self.metric):
            return False
        if not self.attributes:
            return True
        point, resource = _attributes(series)
        return all(
            fnmatchcase(attribute_text(point.get(name, resource.get(name))), pattern)
            for name, pattern in self.attributes.items()
        )


class CostChain(NamedTuple):
    """The chain that the points of a series belong to, and how they become cost entries.

    Attributes:
        chain_id: the `series_id` of the samples.
        basis: of the samples.
    """

    chain_id: int
    basis: CostBasis


def cost_chain(
    rule: CostRule,
    series: Series,
    *,
    unit_currency: str = "",
    factor: Decimal = Decimal(1),
    source: CostSource = "metric",
) -> CostChain:
    """How the points of a series that the rule matches become cost entries.

    Args:
        rule: a rule that has a kind.
        series: the series.
        unit_currency: the currency code of its unit, "" if the unit names none.
        factor: what each value is multiplied by.
        source: the source of the entries.

    Raises:
        CostRefusedError: the series cannot be the cost that the rule says.
    """
    if rule.kind is None:
        raise AssertionError("a rule without a kind gives no basis")
    _check_kind(rule.kind, series)
    point, resource = _attributes(series)
    identity = identity_attributes(rule.identity, point, resource) if rule.identity else {}
    # A list of attributes of which the series has none does not identify anything.
    is_shared = bool(identity) or rule.identity == (EVERY_ATTRIBUTE,)
    if is_shared:
        point, resource = _shared_attributes(rule, identity, point, resource)
    # The columns cluster_id and node_id of a series are made from these attributes.
    reader = AttributeReader(point, resource, used={"cluster_id", "node_id"})
    node_id = series.node_id
    if is_shared:
        node_id = first_text(point, _NODE_ATTRIBUTES) or _UNKNOWN_NODE
    currency = _currency(_field(reader, "currency", rule.currency), unit_currency)
    basis = CostBasis(
        kind=rule.kind,
        factor=factor * (rule.quantity.scale if rule.quantity else 1),
        staleness_seconds=rule.staleness_seconds,
        category=_field(reader, "category", rule.category) or DEFAULT_CATEGORY,
        resource_id=_field(reader, "resource_id", rule.resource_id) or node_id,
        currency=currency,
        region=_field(reader, "region", rule.region) or None,
        cluster_id=series.cluster_id,
        node_id=node_id,
        service_name=series.service_name,
        description=reader.field("description") or series.description,
        # Last: tags are what the fields above have not used.
        tags=canonical_json(_tags(reader, rule.tags)),
        source=source,
        source_name=series.metric_name,
        is_monotonic=series.is_monotonic is not False,
        has_known_starts=series.metric_type != "gauge",
        falls=rule.falls,
        quantity_id=quantity_chain_id(rule.quantity, series) if rule.quantity else None,
    )
    if not is_shared:
        return CostChain(series.series_id, basis)
    return CostChain(chain_id(series.metric_name, series.cluster_id, identity), basis)


def quantity_chain(rule: CostRule, series: Series) -> CostChain | None:
    """The chain of a series of the quantity metric of a rule.

    Returns:
        None if its points do not say what they are the quantity of.
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
    return CostChain(quantity_chain_id(quantity, series), basis)


def quantity_chain_id(quantity: QuantityMetric, series: Series) -> int:
    """The chain of a quantity, from a series of either metric."""
    value = _point_attribute(series, quantity.attribute)
    return chain_id(quantity.metric, series.cluster_id, {quantity.attribute: value})


def _shared_attributes(
    rule: CostRule, identity: Attributes, point: Attributes, resource: Attributes
) -> tuple[Attributes, Attributes]:
    """The attributes that fields of a shared chain may come from.

    Of the resource only what the rule names: the rest describes the sender, and two senders of one
    cost must give the same entry.
    """
    sources = (*rule.category, *rule.resource_id, *rule.currency, *rule.region)
    named = {source.attribute for source in (*sources, *(rule.tags or {}).values())}
    kept = {name: value for name, value in resource.items() if name in named or name in identity}
    return (identity if rule.identity == (EVERY_ATTRIBUTE,) else point), kept


def _point_attribute(series: Series, name: str) -> str:
    """The text of an attribute of the points of a series, "" if they do not have it."""
    return attribute_text(_attributes(series)[0].get(name))


def _attributes(series: Series) -> tuple[Attributes, Attributes]:
    point: dict[str, Any] = json.loads(series.attributes)
    resource: dict[str, Any] = json.loads(series.resource)
    return point, resource


def _check_kind(kind: CostKind, series: Series) -> None:
    if kind == "hourly_rate":
        _check_hourly_rate(series)
    elif kind == "amount" and series.metric_type == "summary":
        raise CostRefusedError("the sum of a summary is a total; write kind: cumulative")
    elif kind == "amount" and series.temporality == "cumulative":
        raise CostRefusedError("its points are totals and not amounts (temporality cumulative)")
    elif kind == "cumulative" and series.temporality == "delta":
        raise CostRefusedError("its points are amounts and not totals (temporality delta)")


def _check_hourly_rate(series: Series) -> None:
    """Check that the series reports a current value: a gauge or a non-monotonic cumulative sum."""
    if series.metric_type == "gauge":
        return
    if series.metric_type != "sum":
        name = "a summary" if series.metric_type == "summary" else "a histogram"
        raise CostRefusedError(f"the sum of {name} is not a rate; kind hourly_rate is for gauges")
    if series.temporality == "delta" or series.is_monotonic:
        raise CostRefusedError(
            "a sum that only grows is not a rate; kind hourly_rate is for gauges"
        )


def _field(reader: AttributeReader, name: str, sources: Sequence[FieldSource]) -> str:
    """The first source of the rule that is not empty, or the usual attributes of the field."""
    texts = (_source_text(reader, source) for source in sources)
    return next(filter(None, texts), "") or reader.field(name)


def _source_text(reader: AttributeReader, source: FieldSource) -> str:
    return source.constant or reader.text((source.attribute,))


def _tags(reader: AttributeReader, sources: Mapping[str, FieldSource] | None) -> dict[str, Any]:
    if sources is None:
        return reader.unused()
    tags = {name: _source_text(reader, source) for name, source in sources.items()}
    return {name: text for name, text in tags.items() if text}


def _currency(field_text: str, unit_currency: str) -> str:
    """The currency that the field or the unit says.

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
