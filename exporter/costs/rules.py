"""Which series carry cost, and how their points become cost entries.

A rule matches a series by metric name and attributes, and says where the fields of its entries
come from. The rules of the configuration come first, then those that are shipped (`defaults`).
Pure: a series in, the basis of its costs out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from exporter.costs.currencies import parse_currency
from exporter.costs.fields import (
    CATEGORY_ATTRIBUTES,
    CURRENCY_ATTRIBUTES,
    DEFAULT_CATEGORY,
    DESCRIPTION_ATTRIBUTES,
    REGION_ATTRIBUTES,
    RESOURCE_ID_ATTRIBUTES,
    Attributes,
    CostRefusedError,
    first_text,
    tags_of,
    text_of,
)
from exporter.model import CostBasis, CostKind, CostSource, Series

__all__ = [
    "DEFAULT_STALENESS_SECONDS",
    "CostRule",
    "FieldSource",
    "QuantityMetric",
    "attribute_of",
    "cost_basis",
]

DEFAULT_STALENESS_SECONDS: Final = 600.0
_ATTRIBUTE: Final = "attribute:"


class FieldSource(NamedTuple):
    """Where a field comes from: an attribute of point or resource, or a constant."""

    attribute: str = ""
    constant: str = ""

    @classmethod
    def parse(cls, text: str) -> FieldSource:
        """What `attribute:NAME`, or any other text as itself, stands for."""
        if text.startswith(_ATTRIBUTE):
            return cls(attribute=text.removeprefix(_ATTRIBUTE).strip())
        return cls(constant=text)


class QuantityMetric(NamedTuple):
    """What a price is for, as the latest value of another metric.

    Attributes:
        metric: its name.
        attribute: has the same value on both series, which lie in the same cluster.
        scale: what its value is multiplied by to be in the unit that the price is for.
    """

    metric: str
    attribute: str
    scale: Decimal


_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CostRule:
    """One rule.

    It is about metrics of every type: the value of a histogram or summary is its sum. One of a
    type that a kind makes no sense for is matched as well, and refused by `cost_basis`.

    Attributes:
        metric: name of the metric, with `*`, `?` and `[...]` as in file names.
        kind: what a value is; None for series that are never a cost.
        attributes: patterns that attributes of point or resource must have.
        category: the first source that gives something counts; likewise below.
        resource_id: without one, where the shipped rules look.
        currency: without one, the unit says it, or else the attribute `currency`.
        region: without one, where the shipped rules look.
        tags: by name; None for every attribute of the point that no other field took.
        staleness_seconds: the longest time that one point of an hourly rate pays for.
        quantity: what the value is multiplied by.
    """

    metric: str
    kind: CostKind | None
    attributes: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    category: tuple[FieldSource, ...] = ()
    resource_id: tuple[FieldSource, ...] = ()
    currency: tuple[FieldSource, ...] = ()
    region: tuple[FieldSource, ...] = ()
    tags: Mapping[str, FieldSource] | None = None
    staleness_seconds: float = DEFAULT_STALENESS_SECONDS
    quantity: QuantityMetric | None = None

    def matches(self, series: Series) -> bool:
        """Whether it is about this series."""
        if not fnmatchcase(series.metric_name, self.metric):
            return False
        if not self.attributes:
            return True
        point, resource = _attributes(series)
        return all(
            fnmatchcase(text_of(point.get(name, resource.get(name))), pattern)
            for name, pattern in self.attributes.items()
        )


class _Fields:
    """Takes fields from the attributes of one series, and remembers which are used."""

    def __init__(self, series: Series) -> None:
        self.point, self.resource = _attributes(series)
        self.used = {"cluster_id", "node_id"}

    def find(self, sources: Iterable[FieldSource], names: Iterable[str]) -> str:
        """From the first source that gives something, or from the first of these attributes."""
        for source in sources:
            found = source.constant or self._attribute((source.attribute,))
            if found:
                return found
        return self._attribute(names)

    def _attribute(self, names: Iterable[str]) -> str:
        names = tuple(names)
        on_point = first_text(self.point, names)
        if on_point is not None:
            self.used.add(on_point[0])
            return on_point[1]
        on_resource = first_text(self.resource, names)
        return "" if on_resource is None else on_resource[1]

    def tags(self, sources: Mapping[str, FieldSource] | None) -> str:
        """The tags, as a canonical JSON object."""
        if sources is None:
            return tags_of(self.point, self.used)
        found = {name: self.find((source,), ()) for name, source in sources.items()}
        return tags_of({name: text for name, text in found.items() if text}, ())


def cost_basis(
    rule: CostRule,
    series: Series,
    *,
    unit_currency: str = "",
    factor: Decimal = Decimal(1),
    source: CostSource = "metric",
) -> CostBasis:
    """How the points of a series that the rule matches become cost entries.

    Args:
        rule: one with a kind.
        series: the series.
        unit_currency: the code in its unit, "" where there is none.
        factor: what each value is multiplied by.
        source: of the entries.

    Raises:
        CostRefusedError: the series cannot be a cost as the rule says.
    """
    if rule.kind is None:
        raise AssertionError("a rule without a kind gives no basis")
    _check_kind(rule.kind, series)
    found = _Fields(series)
    currency = _currency(rule, found, unit_currency)
    return CostBasis(
        kind=rule.kind,
        factor=factor,
        staleness_seconds=rule.staleness_seconds,
        category=found.find(rule.category, CATEGORY_ATTRIBUTES) or DEFAULT_CATEGORY,
        resource_id=found.find(rule.resource_id, RESOURCE_ID_ATTRIBUTES) or series.node_id,
        currency=currency,
        region=found.find(rule.region, REGION_ATTRIBUTES) or None,
        cluster_id=series.cluster_id,
        node_id=series.node_id,
        service_name=series.service_name,
        description=found.find((), DESCRIPTION_ATTRIBUTES) or series.description,
        tags=found.tags(rule.tags),
        source=source,
        is_monotonic=series.is_monotonic is not False,
    )


def _check_kind(kind: CostKind, series: Series) -> None:
    if kind == "hourly_rate":
        _check_level(series)
    elif kind == "amount" and series.metric_type == "summary":
        raise CostRefusedError("the sum of a summary is a total; write kind: cumulative")
    elif kind == "amount" and series.temporality == "cumulative":
        raise CostRefusedError(
            "each of its points is a total and no amount of its own (temporality cumulative)"
        )
    elif kind == "cumulative" and series.temporality == "delta":
        raise CostRefusedError(
            "each of its points is an amount of its own and no total (temporality delta)"
        )


def _check_level(series: Series) -> None:
    """That a value says what is so at its time: a gauge, or a total that may fall."""
    if series.metric_type == "gauge":
        return
    if series.metric_type != "sum":
        name = "a summary" if series.metric_type == "summary" else "a histogram"
        raise CostRefusedError(f"the sum of {name} is no rate; kind hourly_rate is for gauges")
    if series.temporality == "delta" or series.is_monotonic:
        raise CostRefusedError("a sum that only grows is no rate; kind hourly_rate is for gauges")


def _currency(rule: CostRule, found: _Fields, unit_currency: str) -> str:
    written = found.find(rule.currency, CURRENCY_ATTRIBUTES)
    if not written and not unit_currency:
        raise CostRefusedError("no currency is given, neither as unit nor as attribute currency")
    currency = parse_currency(written or unit_currency)
    if currency is None:
        raise CostRefusedError(f"{(written or unit_currency)[:20]!r} is no ISO 4217 currency")
    if unit_currency and currency != unit_currency:
        raise CostRefusedError(
            f"its unit says {unit_currency} and its currency is given as {currency}"
        )
    return currency


def attribute_of(series: Series, name: str) -> str:
    """The text of an attribute of a series' points, "" where there is none."""
    return text_of(_attributes(series)[0].get(name))


def _attributes(series: Series) -> tuple[Attributes, Attributes]:
    point: dict[str, Any] = json.loads(series.attributes)
    resource: dict[str, Any] = json.loads(series.resource)
    return point, resource
