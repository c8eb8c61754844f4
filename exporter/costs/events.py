"""Cost events: log records that are one cost entry each.

A record with the event name `openfinops.cost` carries the fields of the entry as attributes. Its
`entry_id` makes it idempotent; without one, a hash of the record does, so that a second attempt
at the same record is the same entry. Every other record is refused, because nothing here keeps
logs.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import xxhash

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
    check_amount,
    first_text,
    tags_of,
    text_of,
)
from exporter.intern import CLUSTER_ID_ATTRIBUTES, NODE_ID_ATTRIBUTES, locate
from exporter.model import Batch, CostEntry
from exporter.wire import ANY_TIME, Decoded, Rejections, TimeWindow
from exporter.wire.logs import LogEvent, decode_logs

__all__ = ["COST_EVENT", "decode_cost_events"]

COST_EVENT: Final = "openfinops.cost"

_AMOUNT: Final = ("amount", "cost.amount")
_ENTRY_ID: Final = ("entry_id", "cost.entry_id")
_BILLING_PERIOD: Final = ("billing_period", "cost.billing_period")
_SERVICE: Final = ("service.name", "service_name")
_TAGS: Final = "tags"
_NANOSECONDS_PER_SECOND: Final = 1_000_000_000
_LONGEST_ID: Final = 512


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
        cluster_id_attributes: as for series.
        node_id_attributes: likewise.

    Returns:
        Its cost entries, and how many records were refused, by event name and reason.

    Raises:
        DecodeError: it is not such a request.
    """
    refused: Counter[tuple[str, str]] = Counter()
    entries: dict[tuple[str, int], CostEntry] = {}
    for event in decode_logs(data):
        try:
            if event.name != COST_EVENT:
                raise CostRefusedError(f"only events named {COST_EVENT} are kept, and no logs")
            entry = _entry(event, window, cluster_id_attributes, node_id_attributes)
            # Twice in one request is once, as it would be in two.
            entries.setdefault((entry.entry_id, entry.time_unix_nano), entry)
        except CostRefusedError as error:
            refused[event.name, str(error)] += 1
    return Decoded(Batch(costs=tuple(entries.values())), Rejections(refused, noun="log record"))


class _Fields:
    """The attributes of one event, and which of them are used."""

    def __init__(self, event: LogEvent) -> None:
        if event.refusal:
            raise CostRefusedError(event.refusal)
        self.point, self.resource = event.attributes, event.resource
        self.used = {"event.name", "cluster_id", "node_id", _TAGS}

    def own(self, names: Sequence[str]) -> str:
        """The first of these attributes of the record itself."""
        found = first_text(self.point, names)
        if found is None:
            return ""
        self.used.add(found[0])
        return found[1]

    def any(self, names: Sequence[str]) -> str:
        """Likewise, or of its resource."""
        found = first_text(self.resource, names)
        return self.own(names) or (found[1] if found else "")

    def raw(self, names: Sequence[str]) -> Any:
        """The value itself of the first that is there."""
        name = next((name for name in names if name in self.point), None)
        if name is None:
            return None
        self.used.add(name)
        return self.point[name]

    def tags(self) -> str:
        """What is left, and the members of the attribute `tags`, which win."""
        given = self.point.get(_TAGS)
        if given is not None and not isinstance(given, Mapping):
            raise CostRefusedError("its attribute tags is no map of names to values")
        return tags_of({**self.point, **(given or {})}, self.used - set(given or {}))


def _entry(
    event: LogEvent,
    window: TimeWindow,
    cluster_id_attributes: Sequence[str],
    node_id_attributes: Sequence[str],
) -> CostEntry:
    found = _Fields(event)
    time_unix_nano = _time(event, window)
    category = found.any(CATEGORY_ATTRIBUTES) or DEFAULT_CATEGORY
    texts = _texts(found.point), _texts(found.resource)
    node_id = locate(tuple(node_id_attributes), *texts)
    return CostEntry(
        entry_id=_entry_id(event, found.own(_ENTRY_ID)),
        time_unix_nano=time_unix_nano,
        resource_id=found.any(RESOURCE_ID_ATTRIBUTES) or node_id,
        category=category,
        amount=_amount(found.raw(_AMOUNT), category),
        currency=_currency(found.any(CURRENCY_ATTRIBUTES)),
        region=found.any(REGION_ATTRIBUTES) or None,
        cluster_id=locate(tuple(cluster_id_attributes), *texts),
        node_id=node_id,
        service_name=found.any(_SERVICE) or None,
        description=found.own(DESCRIPTION_ATTRIBUTES),
        billing_period=found.own(_BILLING_PERIOD) or _month(time_unix_nano),
        tags=found.tags(),
        source="log",
    )


def _time(event: LogEvent, window: TimeWindow) -> int:
    if event.time_unix_nano == 0:
        raise CostRefusedError("time_unix_nano and observed_time_unix_nano are 0")
    refusal = window.refusal(event.time_unix_nano)
    if refusal is not None:
        raise CostRefusedError(refusal)
    return event.time_unix_nano


def _amount(value: Any, category: str) -> Decimal:
    if value is None or value == "":
        raise CostRefusedError("it has no amount")
    try:
        # A text keeps every digit; of a float, those that it is written with.
        amount = Decimal(value if isinstance(value, str) else text_of(value))
    except InvalidOperation:
        raise CostRefusedError(f"its amount {text_of(value)[:50]!r} is no number") from None
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
        raise CostRefusedError(f"its currency {text[:20]!r} is none of ISO 4217")
    return currency


def _entry_id(event: LogEvent, given: str) -> str:
    if len(given) > _LONGEST_ID:
        raise CostRefusedError(f"its entry_id is longer than {_LONGEST_ID} characters")
    if given:
        return given
    content = [event.time_unix_nano, event.resource, event.attributes]
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())


def _month(time_unix_nano: int) -> str:
    seconds = time_unix_nano // _NANOSECONDS_PER_SECOND
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m}"


def _texts(attributes: Attributes) -> dict[str, str]:
    return {name: text_of(value) for name, value in attributes.items() if value is not None}
