"""Cost events: log records that are one cost entry each.

A record named `openfinops.cost` carries the fields of the entry as attributes. Every other record
is refused, because the exporter stores no logs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import xxhash

from exporter.costs.entry_calculation import billing_period
from exporter.costs.entry_fields import (
    DEFAULT_CATEGORY,
    FIELD_ATTRIBUTES,
    AttributeReader,
    Attributes,
    CostRefusedError,
    attribute_text,
    check_amount,
    parse_currency,
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


def decode_cost_events(
    data: bytes,
    window: TimeWindow = ANY_TIME,
    *,
    cluster_id_attributes: Sequence[str] = CLUSTER_ID_ATTRIBUTES,
    node_id_attributes: Sequence[str] = NODE_ID_ATTRIBUTES,
) -> Decoded:
    """Decode one serialized ExportLogsServiceRequest.

    Args:
        data: the request.
        window: the times that entries may have.
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
            if event.name != COST_EVENT:
                raise CostRefusedError(
                    f"only events named {COST_EVENT} are stored, and no other logs"
                )
            entry = _entry(event, window, cluster_id_attributes, node_id_attributes)
            # The first of two equal ids wins, as it does when they come in two requests.
            entries.setdefault((entry.entry_id, entry.time_unix_nano), entry)
        except CostRefusedError as error:
            refused[event.name, str(error)] += 1
    return Decoded(Batch(costs=tuple(entries.values())), Rejections(refused, noun="log record"))


def _entry(
    event: LogEvent,
    window: TimeWindow,
    cluster_id_attributes: Sequence[str],
    node_id_attributes: Sequence[str],
) -> CostEntry:
    if event.rejection_reason:
        raise CostRefusedError(event.rejection_reason)
    reader = AttributeReader(event.attributes, event.resource, used=_NEVER_TAGS)
    time_unix_nano = _time(event, window)
    category = reader.field("category") or DEFAULT_CATEGORY
    texts = _texts(event.attributes), _texts(event.resource)
    node_id = cluster_or_node_id(tuple(node_id_attributes), *texts)
    return CostEntry(
        entry_id=_entry_id(event, reader.own_text(_ENTRY_ID_ATTRIBUTES)),
        time_unix_nano=time_unix_nano,
        resource_id=reader.field("resource_id") or node_id,
        category=category,
        amount=_amount(reader.own_value(_AMOUNT_ATTRIBUTES), category),
        currency=_currency(reader.field("currency")),
        region=reader.field("region") or None,
        cluster_id=cluster_or_node_id(tuple(cluster_id_attributes), *texts),
        node_id=node_id,
        service_name=reader.text(_SERVICE_ATTRIBUTES) or None,
        description=reader.own_text(FIELD_ATTRIBUTES["description"]),
        billing_period=reader.own_text(_BILLING_PERIOD_ATTRIBUTES)
        or billing_period(time_unix_nano),
        # Last: tags are what the fields above have not used.
        tags=_tags(reader),
        source="log",
        source_name=event.name,
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


def _tags(reader: AttributeReader) -> str:
    """The unused attributes and the members of the attribute `tags`; the members win."""
    given = reader.own.get(_TAGS_ATTRIBUTE)
    if given is not None and not isinstance(given, Mapping):
        raise CostRefusedError("its attribute tags is not a map of names to values")
    return canonical_json(reader.unused() | dict(given or {}))


def _texts(attributes: Attributes) -> dict[str, str]:
    return {name: attribute_text(value) for name, value in attributes.items() if value is not None}
