"""Rules: which series carry cost, and where the fields of their entries come from. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from exporter.costs.entry_fields import AttributeReader, Attributes, attribute_text
from exporter.model import CostFalls, CostKind, Series

RuleKind = CostKind | Literal["tokens"]

DEFAULT_STALENESS_SECONDS: Final = 600.0
# Every sum of the exporter and every roll-up is grouped by currency, so none adds what nobody is
# billed for to what is.
_NOTIONAL_CURRENCY: Final = " notional"
NOTIONAL_TAGS: Final[Mapping[str, Any]] = MappingProxyType({"notional": True})
"""The tags of what nobody is billed for."""

# LiteLLM puts the parameters of a call into this one.
_NEVER_TAGS: Final = frozenset({"hidden_params"})
# Longer values are payloads, and nobody groups costs by them.
_MAX_TAG_CHARACTERS: Final = 1_000
_ATTRIBUTE_PREFIX: Final = "attribute:"
_NO_PATTERNS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_TAGS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


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
    no sense for; `exporter.costs.cost_series` refuses those.

    Attributes:
        metric: name of the metric, with `*`, `?` and `[...]` as in file names.
        kind: what a value is; "tokens" for a number of tokens, whose price is looked up; None for
            series that are never a cost. "amount" and "cumulative" both mean the one that the
            temporality of a sum or histogram says.
        attributes: patterns that attributes of point or resource must match.
        category: the first source that is not empty counts; so do the sources below.
        resource_id: without a source, from the attributes that the shipped rules read.
        currency: without a source, the unit or the attribute `currency`.
        region: without a source, from the attributes that the shipped rules read.
        tags: by name; None for every attribute of the point that no other field used.
        staleness_seconds: the longest time that one point of an hourly rate pays for.
        factor: what the value is multiplied by.
        quantity: what the value is multiplied by as well, None for 1.
        more_tags: tags besides `tags`, by name: the first of the attributes that is not empty.
        identity: the attributes of point or resource that identify what is paid for, see
            `exporter.costs.identity`; series that are equal in them cost once. Empty if each series
            is paid for.
        falls: what a fall of a total is, see `CostBasis`.
        notional: whether nobody is billed for it, as for calls that a subscription includes.
    """

    metric: str
    kind: RuleKind | None
    attributes: Mapping[str, str] = field(default_factory=lambda: _NO_PATTERNS)
    category: tuple[FieldSource, ...] = ()
    resource_id: tuple[FieldSource, ...] = ()
    currency: tuple[FieldSource, ...] = ()
    region: tuple[FieldSource, ...] = ()
    tags: Mapping[str, FieldSource] | None = None
    staleness_seconds: float = DEFAULT_STALENESS_SECONDS
    factor: Decimal = Decimal(1)
    quantity: QuantityMetric | None = None
    more_tags: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_TAGS)
    identity: tuple[str, ...] = ()
    falls: CostFalls = "auto"
    notional: bool = False

    def matches(self, series: Series) -> bool:
        """Whether the rule applies to this series."""
        if not fnmatchcase(series.metric_name, self.metric):
            return False
        if not self.attributes:
            return True
        point, resource = series_attributes(series)
        return all(
            fnmatchcase(attribute_text(point.get(name, resource.get(name))), pattern)
            for name, pattern in self.attributes.items()
        )


def series_attributes(series: Series) -> tuple[Attributes, Attributes]:
    """The attributes of the points of a series, and those of its resource; not to be changed."""
    return _parsed(series.attributes), _parsed(series.resource)


# Several steps read the attributes of one series, and many series have one resource.
@lru_cache(maxsize=64)
def _parsed(attributes: str) -> Attributes:
    parsed: dict[str, Any] = json.loads(attributes)
    return MappingProxyType(parsed)


def notional_currency(currency: str) -> str:
    """The currency of what nobody is billed for, from the code of the currency."""
    return f"{currency}{_NOTIONAL_CURRENCY}"


def is_notional(currency: str) -> bool:
    """Whether entries in this currency are what nobody is billed for."""
    return currency.endswith(_NOTIONAL_CURRENCY)


def field_text(reader: AttributeReader, name: str, sources: Sequence[FieldSource]) -> str:
    """The first source of a rule that is not empty, or the usual attributes of the field."""
    texts = (source_text(reader, source) for source in sources)
    return next(filter(None, texts), "") or reader.field(name)


def source_text(reader: AttributeReader, source: FieldSource) -> str:
    """The text that a source gives, "" if it gives none."""
    return source.constant or reader.text((source.attribute,))


def entry_tags(
    reader: AttributeReader, sources: Mapping[str, FieldSource] | None
) -> dict[str, Any]:
    """The tags of an entry: those that a rule names, or the attributes that no field has used."""
    if sources is None:
        return {
            name: value
            for name, value in reader.unused().items()
            if name not in _NEVER_TAGS and len(attribute_text(value)) <= _MAX_TAG_CHARACTERS
        }
    texts = {name: source_text(reader, source) for name, source in sources.items()}
    return {name: text for name, text in texts.items() if text}
