"""Cost events: log records that are one cost entry each.

A record named `openfinops.cost` carries the fields of the entry as attributes. Rules of the user
say which other records are costs. The rest is refused, because the exporter stores no logs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final

import xxhash

from exporter.costs.default_rules import MODEL_SOURCES, PERSON_TAGS
from exporter.costs.entry_calculation import billing_period
from exporter.costs.entry_fields import (
    DEFAULT_CATEGORY,
    FIELD_ATTRIBUTES,
    AttributeReader,
    Attributes,
    CostRefusedError,
    attribute_text,
    check_amount,
    first_text,
    first_texts,
    parse_currency,
)
from exporter.costs.rules import (
    NOTIONAL_TAGS,
    FieldSource,
    entry_tags,
    field_text,
    notional_currency,
)
from exporter.json_text import canonical_json
from exporter.model import Batch, CostEntry
from exporter.series_cache import CLUSTER_ID_ATTRIBUTES, NODE_ID_ATTRIBUTES, cluster_or_node_id
from exporter.wire import ANY_TIME, Decoded, Rejections, TimeWindow
from exporter.wire.logs import LogEvent, decode_logs

COST_EVENT: Final = "openfinops.cost"

_AMOUNT_ATTRIBUTES: Final = ("amount", "cost.amount")
_ENTRY_ID_ATTRIBUTES: Final = ("entry_id", "cost.entry_id")
_BILLING_PERIOD_ATTRIBUTES: Final = ("billing_period", "cost.billing_period")
_SERVICE_ATTRIBUTES: Final = ("service.name", "service_name")
_TAGS_ATTRIBUTE: Final = "tags"
_NEVER_TAGS: Final = frozenset({"event.name", "cluster_id", "node_id", _TAGS_ATTRIBUTE})
_MAX_ENTRY_ID_CHARACTERS: Final = 512


@dataclass(frozen=True, slots=True)
class CostEventRule:
    """Which log records are costs, and where the fields of their entries come from.

    Attributes:
        event: name of the event, with `*`, `?` and `[...]` as in file names.
        amount: the attributes that may have the amount; the first that is present counts.
        currency: the first source that is not empty counts, and then the attribute `currency`.
        category: as with `currency`; without any, "ai" if the record names a language model.
        resource_id: as with `currency`; without any, the language model.
        region: as with `currency`.
        tags: by name; None for every attribute that no other field used.
        notional: whether nobody is billed for it, as for calls that a subscription includes.
    """

    event: str
    amount: tuple[str, ...]
    currency: tuple[FieldSource, ...] = ()
    category: tuple[FieldSource, ...] = ()
    resource_id: tuple[FieldSource, ...] = ()
    region: tuple[FieldSource, ...] = ()
    tags: Mapping[str, FieldSource] | None = None
    notional: bool = False

    def event_name(self, event: LogEvent) -> str:
        """The name under which the rule matches a record, "" if it does not match.

        Claude Code writes the whole name into the body, and a short one into `event.name`.
        """
        names = (event.name, event.body_text)
        return next((name for name in names if name and fnmatchcase(name, self.event)), "")


_COST_EVENT_RULE: Final = CostEventRule(COST_EVENT, _AMOUNT_ATTRIBUTES)


def decode_cost_events(
    data: bytes,
    window: TimeWindow = ANY_TIME,
    *,
    rules: Sequence[CostEventRule] = (),
    cluster_id_attributes: Sequence[str] = CLUSTER_ID_ATTRIBUTES,
    node_id_attributes: Sequence[str] = NODE_ID_ATTRIBUTES,
) -> Decoded:
    """Decode one serialized ExportLogsServiceRequest.

    Args:
        data: the request.
        window: the times that entries may have.
        rules: for events of other names; the first that matches counts.
        cluster_id_attributes: attributes that name the cluster; the first that is present counts.
        node_id_attributes: attributes that name the node; the first that is present counts.

    Returns:
        Its cost entries, and how many records were refused, by event name and reason.

    Raises:
        DecodeError: the bytes are no such request.
    """
    refused: Counter[tuple[str, str]] = Counter()
    entries: dict[tuple[str, int], CostEntry] = {}
    for event in decode_logs(data):
        try:
            rule, name = _matching_rule(event, rules)
            entry = _entry(
                event,
                rule,
                name,
                window,
                cluster_id_attributes=tuple(cluster_id_attributes),
                node_id_attributes=tuple(node_id_attributes),
            )
            # The first of two equal ids wins, as it does when they come in two requests.
            entries.setdefault((entry.entry_id, entry.time_unix_nano), entry)
        except CostRefusedError as error:
            refused[event.name, str(error)] += 1
    return Decoded(Batch(costs=tuple(entries.values())), Rejections(refused, noun="log record"))


def _matching_rule(event: LogEvent, rules: Sequence[CostEventRule]) -> tuple[CostEventRule, str]:
    """The rule for a record, and the name under which it matches."""
    for rule in rules:
        name = rule.event_name(event)
        if name:
            return rule, name
    if event.name == COST_EVENT:
        return _COST_EVENT_RULE, COST_EVENT
    known = ", ".join([COST_EVENT, *(rule.event for rule in rules)])
    raise CostRefusedError(f"only events named {known} are stored, and no other logs")


def _entry(
    event: LogEvent,
    rule: CostEventRule,
    name: str,
    window: TimeWindow,
    *,
    cluster_id_attributes: tuple[str, ...],
    node_id_attributes: tuple[str, ...],
) -> CostEntry:
    if event.rejection_reason:
        raise CostRefusedError(event.rejection_reason)
    reader = AttributeReader(event.attributes, event.resource, used=_NEVER_TAGS)
    time_unix_nano = _time(event, window)
    model = "" if rule is _COST_EVENT_RULE else first_text(event.attributes, MODEL_SOURCES)
    category = field_text(reader, "category", rule.category)
    category = category or ("ai" if model else DEFAULT_CATEGORY)
    currency = _currency(field_text(reader, "currency", rule.currency))
    texts = _texts(event.attributes), _texts(event.resource)
    node_id = cluster_or_node_id(node_id_attributes, *texts)
    return CostEntry(
        entry_id=_entry_id(event, reader.own_text(_ENTRY_ID_ATTRIBUTES)),
        time_unix_nano=time_unix_nano,
        resource_id=field_text(reader, "resource_id", rule.resource_id) or model or node_id,
        category=category,
        amount=_amount(reader.own_value(rule.amount), category),
        currency=notional_currency(currency) if rule.notional else currency,
        region=field_text(reader, "region", rule.region) or None,
        cluster_id=cluster_or_node_id(cluster_id_attributes, *texts),
        node_id=node_id,
        service_name=reader.text(_SERVICE_ATTRIBUTES) or None,
        description=reader.own_text(FIELD_ATTRIBUTES["description"]),
        billing_period=reader.own_text(_BILLING_PERIOD_ATTRIBUTES)
        or billing_period(time_unix_nano),
        # Last: tags are what the fields above have not used.
        tags=_tags(reader, rule, has_model=bool(model)),
        source="log",
        source_name=name,
    )


def _time(event: LogEvent, window: TimeWindow) -> int:
    if event.time_unix_nano == 0:
        raise CostRefusedError("time_unix_nano and observed_time_unix_nano are 0")
    refusal = window.rejection_reason(event.time_unix_nano)
    if refusal is not None:
        raise CostRefusedError(refusal)
    return event.time_unix_nano


def _amount(value: Any, category: str) -> Decimal:
    if value is None or value == "":
        raise CostRefusedError("it has no amount")
    try:
        # A string is converted with all its digits; a double is converted to its shortest decimal
        # form.
        amount = Decimal(attribute_text(value))
    except InvalidOperation:
        raise CostRefusedError(
            f"its amount {attribute_text(value)[:50]!r} is not a number"
        ) from None
    try:
        check_amount(float(amount) if amount.is_finite() else math.inf, category)
    except CostRefusedError as error:
        raise CostRefusedError(f"its amount is {str(amount)[:50]}: {error}") from None
    return amount


def _currency(text: str) -> str:
    if not text:
        raise CostRefusedError("it has no currency")
    currency = parse_currency(text)
    if currency is None:
        raise CostRefusedError(f"its currency {text[:20]!r} is not an ISO 4217 currency")
    return currency


def _entry_id(event: LogEvent, given: str) -> str:
    """The id that the record gives, or a hash of the whole record.

    The hash makes a repeated attempt to send the same record the same entry, and keeps apart two
    records of which only the body, the span or the scope differs.
    """
    if len(given) > _MAX_ENTRY_ID_CHARACTERS:
        raise CostRefusedError(f"its entry_id is longer than {_MAX_ENTRY_ID_CHARACTERS} characters")
    if given:
        return given
    attributes = canonical_json([event.resource, event.attributes])
    return xxhash.xxh3_128_hexdigest(attributes.encode() + event.content())


def _tags(reader: AttributeReader, rule: CostEventRule, *, has_model: bool) -> str:
    """The tags of the rule, or the unused attributes and the members of `tags`, which win."""
    given = reader.own.get(_TAGS_ATTRIBUTE)
    if given is not None and not isinstance(given, Mapping):
        raise CostRefusedError("its attribute tags is not a map of names to values")
    if rule is _COST_EVENT_RULE:
        return canonical_json(reader.unused() | dict(given or {}))
    persons = first_texts(reader.own, PERSON_TAGS) if has_model else {}
    marks = NOTIONAL_TAGS if rule.notional else {}
    return canonical_json({**persons, **entry_tags(reader, rule.tags), **(given or {}), **marks})


def _texts(attributes: Attributes) -> dict[str, str]:
    return {name: attribute_text(value) for name, value in attributes.items() if value is not None}
