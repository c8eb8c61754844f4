"""A cost entry as a row of FOCUS.

An entry that came from a bill says again what the bill said, from its tags. Of any other, quantity
and price are not known: it is one unit at the price of the entry, in the hour that it arose in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from exporter.column_files import Row
from exporter.focus.categories import charge_category, service_category, unknown_subcategory
from exporter.focus.cells import CellError, canonical, decimal_of, plain, text_of, time_of
from exporter.focus.columns import DECIMALS, KEPT, TIMES
from exporter.focus.importing import TAG_PREFIX
from exporter.focus.months import is_month, month_bounds, month_of
from exporter.model import CostEntry

__all__ = ["Issuer", "entry_to_row"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose costs they are, which entries do not say but FOCUS wants to know.

    Attributes:
        provider_name: ProviderName, PublisherName and InvoiceIssuerName, where no bill says them.
        billing_account_id: likewise BillingAccountId; None stands for the entry's cluster_id.
    """

    provider_name: str = "OpenFinOps"
    billing_account_id: str | None = None


def entry_to_row(entry: CostEntry, issuer: Issuer) -> Row:
    """The entry under the names of FOCUS 1.2 and the custom columns; what is not there is null.

    Args:
        entry: with its billing period.
        issuer: for what the entry does not say.
    """
    tags = json.loads(entry.tags)
    kept = _kept(tags) if entry.source == "focus" else {}
    flat = {name: _flat(value) for name, value in tags.items() if not _is_kept(name, kept)}
    return {
        **_costs(entry.amount),
        **_names(entry, issuer),
        **({} if kept else _usage(entry)),
        **_periods(entry),
        **kept,
        "BillingCurrency": entry.currency,
        "ChargeDescription": entry.description or None,
        "RegionId": entry.region,
        "ResourceId": entry.resource_id or None,
        "Tags": canonical(flat) if flat else None,
        **_own(entry),
    }


def _costs(amount: Decimal) -> Row:
    names = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
    return dict.fromkeys(names, plain(amount))


def _names(entry: CostEntry, issuer: Issuer) -> Row:
    category = service_category(entry.category)
    makers = ("InvoiceIssuerName", "ProviderName", "PublisherName")
    return {
        **dict.fromkeys(makers, issuer.provider_name),
        "BillingAccountId": issuer.billing_account_id or entry.cluster_id,
        "ServiceCategory": category,
        "ServiceName": entry.service_name or entry.category or "other",
        "ServiceSubcategory": unknown_subcategory(category),
    }


def _usage(entry: CostEntry) -> Row:
    charge = charge_category(entry.category, is_negative=entry.amount < 0)
    row: Row = {
        "ChargeCategory": charge,
        "ChargeFrequency": "Usage-Based" if charge == "Usage" else "One-Time",
    }
    if charge == "Usage":
        price = plain(entry.amount)
        row |= {
            "ContractedUnitPrice": price,
            "ListUnitPrice": price,
            "PricingCategory": "Standard",
            "PricingQuantity": Decimal("1.0"),
            "PricingUnit": "Unit",
        }
    return row


def _periods(entry: CostEntry) -> Row:
    moment = _moment(entry)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    start = moment.replace(microsecond=0) if entry.source == "focus" else hour
    period = entry.billing_period if is_month(entry.billing_period) else month_of(moment)
    period_start, period_end = month_bounds(period)
    return {
        "BillingPeriodEnd": period_end,
        "BillingPeriodStart": period_start,
        "ChargePeriodEnd": start + _HOUR,
        "ChargePeriodStart": start,
    }


def _own(entry: CostEntry) -> Row:
    return {
        "x_Amount": plain(entry.amount),
        "x_BillingPeriod": entry.billing_period,
        "x_Category": entry.category,
        "x_ClusterId": entry.cluster_id,
        "x_EntryId": entry.entry_id,
        "x_NodeId": entry.node_id,
        "x_ServiceName": entry.service_name,
        "x_Source": entry.source,
        "x_Time": _moment(entry),
    }


def _kept(tags: Mapping[str, Any]) -> Row:
    """What the bill said in columns that an entry has no field for."""
    kept: Row = {}
    for tag, text in tags.items():
        name = tag.removeprefix(TAG_PREFIX)
        if tag.startswith(TAG_PREFIX) and name in KEPT:
            value = _value(name, text)
            if value is not None:
                kept[name] = value
    return kept


def _value(name: str, text: Any) -> Any:
    """The value of a column; None where somebody has put something else into the tag."""
    try:
        if name in DECIMALS:
            return decimal_of(text)
        return time_of(text) if name in TIMES else text_of(text)
    except CellError:
        return None


def _is_kept(tag: str, kept: Row) -> bool:
    return tag.startswith(TAG_PREFIX) and tag.removeprefix(TAG_PREFIX) in kept


def _flat(value: Any) -> Any:
    """Tags of FOCUS have no objects and arrays; their JSON is text instead."""
    return canonical(value) if isinstance(value, dict | list) else value


def _moment(entry: CostEntry) -> datetime:
    return _EPOCH + timedelta(microseconds=entry.time_unix_nano // 1_000)
