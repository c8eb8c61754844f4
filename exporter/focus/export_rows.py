"""A cost entry as a row of FOCUS.

A row of an entry that came from a bill repeats what the bill said, which its tags hold. For any
other entry quantity and price are unknown: the row is one unit at the price of the entry, in the
hour in which the cost arose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from exporter.column_files import Row
from exporter.costs.amounts import billing_period
from exporter.focus.cells import (
    CellError,
    cell_decimal,
    cell_json,
    cell_text,
    cell_time,
    plain_decimal,
)
from exporter.focus.specification import (
    COST_COLUMNS,
    DECIMAL_COLUMNS,
    TAG_COLUMNS,
    TAG_PREFIX,
    TIME_COLUMNS,
    charge_category,
    is_month,
    month_bounds,
    service_category,
    unknown_subcategory,
)
from exporter.model import CostEntry
from exporter.time_units import from_nanos

__all__ = ["Issuer", "entry_to_row"]

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issued the costs. FOCUS requires it, and entries do not say it.

    Attributes:
        provider_name: ProviderName, PublisherName and InvoiceIssuerName, unless a bill says them.
        billing_account_id: BillingAccountId, unless a bill says it; None for the cluster_id of
            the entry.
    """

    provider_name: str = "OpenFinOps"
    billing_account_id: str | None = None


def entry_to_row(entry: CostEntry, issuer: Issuer) -> Row:
    """The entry under the names of FOCUS 1.2 and the custom columns; an absent column is null.

    Args:
        entry: with its billing period.
        issuer: for what the entry does not say.
    """
    tags = json.loads(entry.tags)
    bill_columns = _columns_from_tags(tags) if entry.source == "focus" else {}
    own_tags = {
        name: cell_json(value) if isinstance(value, dict | list) else value
        for name, value in tags.items()
        if not (name.startswith(TAG_PREFIX) and name.removeprefix(TAG_PREFIX) in bill_columns)
    }
    return {
        **dict.fromkeys(COST_COLUMNS, plain_decimal(entry.amount)),
        **_names(entry, issuer),
        **({} if bill_columns else _usage(entry)),
        **_periods(entry),
        # What the bill said replaces what was computed above.
        **bill_columns,
        "BillingCurrency": entry.currency,
        "ChargeDescription": entry.description or None,
        "RegionId": entry.region,
        "ResourceId": entry.resource_id or None,
        "Tags": cell_json(own_tags) if own_tags else None,
        **_custom_columns(entry),
    }


def _names(entry: CostEntry, issuer: Issuer) -> Row:
    category = service_category(entry.category)
    return {
        "InvoiceIssuerName": issuer.provider_name,
        "ProviderName": issuer.provider_name,
        "PublisherName": issuer.provider_name,
        "BillingAccountId": issuer.billing_account_id or entry.cluster_id,
        "ServiceCategory": category,
        "ServiceName": entry.service_name or entry.category or "other",
        "ServiceSubcategory": unknown_subcategory(category),
    }


def _usage(entry: CostEntry) -> Row:
    charge = charge_category(entry.category, is_negative=entry.amount < 0)
    if charge != "Usage":
        return {"ChargeCategory": charge, "ChargeFrequency": "One-Time"}
    price = plain_decimal(entry.amount)
    return {
        "ChargeCategory": charge,
        "ChargeFrequency": "Usage-Based",
        "ContractedUnitPrice": price,
        "ListUnitPrice": price,
        "PricingCategory": "Standard",
        "PricingQuantity": Decimal("1.0"),
        "PricingUnit": "Unit",
    }


def _periods(entry: CostEntry) -> Row:
    charge_start = from_nanos(entry.time_unix_nano).replace(microsecond=0)
    if entry.source != "focus":
        charge_start = charge_start.replace(minute=0, second=0)
    month = entry.billing_period
    period_start, period_end = month_bounds(
        month if is_month(month) else billing_period(entry.time_unix_nano)
    )
    return {
        "BillingPeriodEnd": period_end,
        "BillingPeriodStart": period_start,
        "ChargePeriodEnd": charge_start + _HOUR,
        "ChargePeriodStart": charge_start,
    }


def _custom_columns(entry: CostEntry) -> Row:
    return {
        "x_Amount": plain_decimal(entry.amount),
        "x_BillingPeriod": entry.billing_period,
        "x_Category": entry.category,
        "x_ClusterId": entry.cluster_id,
        "x_EntryId": entry.entry_id,
        "x_NodeId": entry.node_id,
        "x_ServiceName": entry.service_name,
        "x_Source": entry.source,
        "x_Time": from_nanos(entry.time_unix_nano),
    }


def _columns_from_tags(tags: Mapping[str, Any]) -> Row:
    """What the bill said in columns that an entry has no field for."""
    columns: Row = {}
    for tag, text in tags.items():
        name = tag.removeprefix(TAG_PREFIX)
        if tag.startswith(TAG_PREFIX) and name in TAG_COLUMNS:
            value = _column_value(name, text)
            if value is not None:
                columns[name] = value
    return columns


def _column_value(name: str, text: Any) -> Any:
    """The value of a column; None if a sender has put something else into the tag."""
    try:
        if name in DECIMAL_COLUMNS:
            return cell_decimal(text)
        return cell_time(text) if name in TIME_COLUMNS else cell_text(text)
    except CellError:
        return None
