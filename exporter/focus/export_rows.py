"""A cost entry as a row of FOCUS.

A row of an entry that came from a bill repeats what the bill said, which its tags hold. For any
other entry quantity and price are unknown: the row is one unit at the price of the entry, in the
period of the entry or, if its start is unknown, in the hour in which the cost arose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from exporter.column_files import Row
from exporter.costs.entry_calculation import billing_period
from exporter.costs.stored_basis import basis_text
from exporter.focus import cells
from exporter.focus import specification as spec
from exporter.model import CostEntry, SeriesPoint
from exporter.time_units import NANOSECONDS_PER_SECOND, from_nanos

_HOUR: Final = timedelta(hours=1)
_SECOND: Final = timedelta(seconds=1)


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
    bill_tags = {f"{spec.TAG_PREFIX}{name}" for name in bill_columns}
    own_tags = {
        name: cells.to_json(value) if isinstance(value, dict | list) else value
        for name, value in tags.items()
        if name not in bill_tags
    }
    return {
        **dict.fromkeys(spec.COST_COLUMNS, cells.plain_decimal(entry.amount)),
        **_names(entry, issuer),
        **({} if bill_columns else _usage(entry)),
        **_periods(entry),
        # What the bill said replaces what was computed above.
        **bill_columns,
        "BillingCurrency": entry.currency,
        "ChargeDescription": entry.description or None,
        "RegionId": entry.region,
        "ResourceId": entry.resource_id or None,
        "Tags": cells.to_json(own_tags) if own_tags else None,
        **_custom_columns(entry),
    }


def _names(entry: CostEntry, issuer: Issuer) -> Row:
    category = spec.service_category(entry.category)
    return {
        "InvoiceIssuerName": issuer.provider_name,
        "ProviderName": issuer.provider_name,
        "PublisherName": issuer.provider_name,
        "BillingAccountId": issuer.billing_account_id or entry.cluster_id,
        "ServiceCategory": category,
        "ServiceName": entry.service_name or entry.category or "other",
        "ServiceSubcategory": spec.unknown_subcategory(category),
    }


def _usage(entry: CostEntry) -> Row:
    charge = spec.charge_category(entry.category, is_negative=entry.amount < 0)
    if charge != "Usage":
        return {"ChargeCategory": charge, "ChargeFrequency": "One-Time"}
    price = cells.plain_decimal(entry.amount)
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
    charge_start, charge_end = _charge_period(entry)
    month = entry.billing_period
    period_start, period_end = spec.month_bounds(
        month if spec.is_month(month) else billing_period(entry.time_unix_nano)
    )
    return {
        "BillingPeriodEnd": period_end,
        "BillingPeriodStart": period_start,
        "ChargePeriodEnd": charge_end,
        "ChargePeriodStart": charge_start,
    }


def _charge_period(entry: CostEntry) -> tuple[datetime, datetime]:
    """Start and end in whole seconds, as FOCUS has them."""
    if entry.period_start_unix_nano:
        start = _floor_second(entry.period_start_unix_nano)
        end = _floor_second(entry.period_end_unix_nano + NANOSECONDS_PER_SECOND - 1)
        return start, max(end, start + _SECOND)
    start = _floor_second(entry.time_unix_nano)
    if entry.source != "focus":
        start = start.replace(minute=0, second=0)
    return start, start + _HOUR


def _floor_second(unix_nano: int) -> datetime:
    return from_nanos(unix_nano).replace(microsecond=0)


def _custom_columns(entry: CostEntry) -> Row:
    return {
        **_point_columns(entry.derived_from),
        "x_PeriodEnd": from_nanos(entry.period_end_unix_nano or entry.time_unix_nano),
        "x_PeriodStart": _known_time(entry.period_start_unix_nano),
        "x_SourceName": entry.source_name or None,
        "x_Amount": cells.plain_decimal(entry.amount),
        "x_BillingPeriod": entry.billing_period,
        "x_Category": entry.category,
        "x_ClusterId": entry.cluster_id,
        "x_EntryId": entry.entry_id,
        "x_NodeId": entry.node_id,
        "x_ServiceName": entry.service_name,
        "x_Source": entry.source,
        "x_Time": from_nanos(entry.time_unix_nano),
    }


def _point_columns(source: SeriesPoint | None) -> Row:
    """The point of a derived entry, from which an import lets its counter go on."""
    if source is None:
        return {}
    return {
        "x_Basis": None if source.basis is None else basis_text(source.basis),
        "x_PointCount": source.point.point_count,
        "x_PointStart": _known_time(source.point.start_time_unix_nano),
        "x_PointValue": source.point.value,
        "x_SeriesId": source.series_id,
        "x_StreamStart": _known_time(source.stream_start),
    }


def _known_time(unix_nano: int) -> datetime | None:
    return from_nanos(unix_nano) if unix_nano else None


def _columns_from_tags(tags: Mapping[str, Any]) -> Row:
    """What the bill said in columns that an entry has no field for."""
    tag_values = {name: tags.get(f"{spec.TAG_PREFIX}{name}") for name in spec.TAG_COLUMNS}
    columns = {name: _column_value(name, value) for name, value in tag_values.items()}
    return {name: value for name, value in columns.items() if value is not None}


def _column_value(name: str, tag_value: Any) -> Any:
    """The value of a column; None without a tag, or if a sender put something else into it."""
    try:
        if name in spec.DECIMAL_COLUMNS:
            return cells.read_decimal(tag_value)
        read = cells.read_time if name in spec.TIME_COLUMNS else cells.read_text
        return read(tag_value)
    except cells.CellError:
        return None
