"""What the specification defines: the columns of each version, the categories, billing periods."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, Literal

from exporter.column_files import Column, Kind
from exporter.costs.entry_fields import CREDIT_CATEGORIES

FocusVersion = Literal["1.0", "1.1", "1.2"]

_COLUMNS_1_0: Final = """
    AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingCurrency
    BillingPeriodEnd BillingPeriodStart ChargeCategory ChargeClass ChargeDescription
    ChargeFrequency ChargePeriodEnd ChargePeriodStart CommitmentDiscountCategory
    CommitmentDiscountId CommitmentDiscountName CommitmentDiscountStatus CommitmentDiscountType
    ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost
    InvoiceIssuerName ListCost ListUnitPrice PricingCategory PricingQuantity PricingUnit
    ProviderName PublisherName RegionId RegionName ResourceId ResourceName ResourceType
    ServiceCategory ServiceName SkuId SkuPriceId SubAccountId SubAccountName Tags
"""
_ADDED_IN_1_1: Final = """
    CapacityReservationId CapacityReservationStatus CommitmentDiscountQuantity
    CommitmentDiscountUnit ServiceSubcategory SkuMeter SkuPriceDetails
"""
_ADDED_IN_1_2: Final = """
    BillingAccountType InvoiceId PricingCurrency PricingCurrencyContractedUnitPrice
    PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice SubAccountType
"""
_COLUMNS: Final[dict[FocusVersion, str]] = {
    "1.0": _COLUMNS_1_0,
    "1.1": _COLUMNS_1_0 + _ADDED_IN_1_1,
    "1.2": _COLUMNS_1_0 + _ADDED_IN_1_1 + _ADDED_IN_1_2,
}
COST_COLUMNS: Final = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
_DECIMALS: Final = """
    BilledCost CommitmentDiscountQuantity ConsumedQuantity ContractedCost ContractedUnitPrice
    EffectiveCost ListCost ListUnitPrice PricingCurrencyContractedUnitPrice
    PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice PricingQuantity
"""
DECIMAL_COLUMNS: Final = frozenset(_DECIMALS.split())
"""The columns of numbers, all of which are decimal."""
TIME_COLUMNS: Final = frozenset(
    {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}
)
"""The columns of times, always UTC; an end is exclusive."""
_ENTRY_FIELDS: Final = """
    BillingCurrency ChargeDescription ChargePeriodStart RegionId ResourceId ServiceCategory
    ServiceName Tags
"""
TAG_COLUMNS: Final = frozenset(_COLUMNS["1.2"].split()) - frozenset(_ENTRY_FIELDS.split())
"""Columns that a cost entry has no field for. An import stores them as tags."""
TAG_PREFIX: Final = "focus."
"""What precedes the name of a column in the name of its tag."""

# The specification leaves columns with the prefix x_ to the writer of a file. These hold the fields
# of the entry itself, so that an exported file can be imported unchanged.
_CUSTOM_COLUMNS: Final = (
    Column("x_Amount", "decimal"),
    Column("x_Basis"),
    Column("x_BillingPeriod"),
    Column("x_Category"),
    Column("x_ClusterId"),
    Column("x_EntryId"),
    Column("x_NodeId"),
    Column("x_PeriodEnd", "time", time_digits=6),
    Column("x_PeriodStart", "time", time_digits=6),
    Column("x_PointCount", "integer"),
    Column("x_PointStart", "time", time_digits=6),
    Column("x_PointValue", "float"),
    Column("x_SeriesId", "integer"),
    Column("x_ServiceName"),
    Column("x_Source"),
    Column("x_SourceName"),
    Column("x_StreamStart", "time", time_digits=6),
    Column("x_Time", "time", time_digits=6),
)

_ENTRY_CATEGORIES: Final = {
    "AI and Machine Learning": "ai",
    "Analytics": "analytics",
    "Business Applications": "business_applications",
    "Compute": "compute",
    "Databases": "database",
    "Developer Tools": "developer_tools",
    "Multicloud": "multicloud",
    "Identity": "identity",
    "Integration": "integration",
    "Internet of Things": "iot",
    "Management and Governance": "management",
    "Media": "media",
    "Migration": "migration",
    "Mobile": "mobile",
    "Networking": "network",
    "Security": "security",
    "Storage": "storage",
    "Web": "web",
    "Other": "other",
}
_SERVICE_CATEGORIES: Final = {
    **{entry: service for service, entry in _ENTRY_CATEGORIES.items()},
    # Other names that senders use.
    "ai_ml": "AI and Machine Learning",
    "gen_ai": "AI and Machine Learning",
    "gpu": "AI and Machine Learning",
    "llm": "AI and Machine Learning",
    "llm_api": "AI and Machine Learning",
    "inference": "AI and Machine Learning",
    "training": "AI and Machine Learning",
    "cpu": "Compute",
    "memory": "Compute",
    "databases": "Databases",
    "monitoring": "Management and Governance",
    "networking": "Networking",
}
_CHARGE_CATEGORIES: Final = {"adjustment": "Adjustment", "tax": "Tax"}

_MONTH: Final = re.compile(r"(?!0000)\d{4}-(0[1-9]|1[0-2])")
_MAX_MONTH: Final = "9999-12"  # datetime cannot represent its end


def columns_of(version: FocusVersion) -> tuple[Column, ...]:
    """The columns of an export: those of the specification by name, then the custom ones."""
    names = sorted(_COLUMNS[version].split())
    return (*(Column(name, _kind(name)) for name in names), *_CUSTOM_COLUMNS)


def _kind(name: str) -> Kind:
    if name in DECIMAL_COLUMNS:
        return "decimal"
    return "time" if name in TIME_COLUMNS else "text"


def entry_category(focus_category: str) -> str:
    """The category of an entry with this ServiceCategory; one that FOCUS lacks stays unchanged."""
    return _ENTRY_CATEGORIES.get(focus_category, focus_category)


def service_category(category: str) -> str:
    """The ServiceCategory for the category of an entry; "Other" if none corresponds."""
    if category in _ENTRY_CATEGORIES:
        return category
    return _SERVICE_CATEGORIES.get(category.lower(), "Other")


def unknown_subcategory(focus_category: str) -> str:
    """The ServiceSubcategory, which must not be null, if none is known."""
    return f"Other ({focus_category})"


def charge_category(category: str, *, is_negative: bool) -> str:
    """The ChargeCategory of a cost that did not come from a bill."""
    category = category.lower()
    if category in _CHARGE_CATEGORIES:
        return _CHARGE_CATEGORIES[category]
    return "Credit" if is_negative or category in CREDIT_CATEGORIES else "Usage"


def is_month(text: str) -> bool:
    """Whether a text is a month such as "2026-11" that `month_bounds` takes."""
    return _MONTH.fullmatch(text) is not None and text.isascii() and text != _MAX_MONTH


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """The start of a month and the start of the next one, in UTC."""
    year, number = int(month[:4]), int(month[5:])
    next_month = (year + 1, 1) if number == 12 else (year, number + 1)
    return datetime(year, number, 1, tzinfo=UTC), datetime(*next_month, 1, tzinfo=UTC)
