"""Which columns each version of FOCUS has, in the order of their names, and of which type.

Columns that begin with `x_` are custom ones, which the specification leaves to who writes the
file. They say what an entry is here, so that a file that was exported can be imported unchanged.
"""

from __future__ import annotations

from typing import Final, Literal

from exporter.column_files import Column, Kind

__all__ = ["DECIMALS", "KEPT", "TIMES", "VERSIONS", "FocusVersion", "columns_of"]

FocusVersion = Literal["1.0", "1.1", "1.2"]
VERSIONS: Final[tuple[FocusVersion, ...]] = ("1.0", "1.1", "1.2")

_IN_1_0: Final = """
    AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingCurrency
    BillingPeriodEnd BillingPeriodStart ChargeCategory ChargeClass ChargeDescription
    ChargeFrequency ChargePeriodEnd ChargePeriodStart CommitmentDiscountCategory
    CommitmentDiscountId CommitmentDiscountName CommitmentDiscountStatus CommitmentDiscountType
    ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost
    InvoiceIssuerName ListCost ListUnitPrice PricingCategory PricingQuantity PricingUnit
    ProviderName PublisherName RegionId RegionName ResourceId ResourceName ResourceType
    ServiceCategory ServiceName SkuId SkuPriceId SubAccountId SubAccountName Tags
"""
_SINCE_1_1: Final = """
    CapacityReservationId CapacityReservationStatus CommitmentDiscountQuantity
    CommitmentDiscountUnit ServiceSubcategory SkuMeter SkuPriceDetails
"""
_SINCE_1_2: Final = """
    BillingAccountType InvoiceId PricingCurrency PricingCurrencyContractedUnitPrice
    PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice SubAccountType
"""
_OF_VERSION: Final[dict[FocusVersion, str]] = {
    "1.0": _IN_1_0,
    "1.1": _IN_1_0 + _SINCE_1_1,
    "1.2": _IN_1_0 + _SINCE_1_1 + _SINCE_1_2,
}
_DECIMALS: Final = """
    BilledCost CommitmentDiscountQuantity ConsumedQuantity ContractedCost ContractedUnitPrice
    EffectiveCost ListCost ListUnitPrice PricingCurrencyContractedUnitPrice
    PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice PricingQuantity
"""
DECIMALS: Final = frozenset(_DECIMALS.split())
"""Columns that hold numbers, all of which are decimal."""
TIMES: Final = frozenset(
    {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}
)
"""Columns that hold times, always UTC; those of ends are exclusive."""
_WITH_A_FIELD: Final = """
    BillingCurrency ChargeDescription ChargePeriodStart RegionId ResourceId ServiceCategory
    ServiceName Tags
"""
KEPT: Final = frozenset(_OF_VERSION["1.2"].split()) - frozenset(_WITH_A_FIELD.split())
"""Columns that a cost entry has no field for. What a bill says in them is kept among the tags."""
_CUSTOM: Final = (
    Column("x_Amount", "decimal"),
    Column("x_BillingPeriod"),
    Column("x_Category"),
    Column("x_ClusterId"),
    Column("x_EntryId"),
    Column("x_NodeId"),
    Column("x_ServiceName"),
    Column("x_Source"),
    Column("x_Time", "time", time_digits=6),
)


def columns_of(version: FocusVersion) -> tuple[Column, ...]:
    """The columns of an export: those of the specification by name, then the custom ones."""
    names = sorted(_OF_VERSION[version].split())
    return (*(Column(name, _kind(name)) for name in names), *_CUSTOM)


def _kind(name: str) -> Kind:
    if name in DECIMALS:
        return "decimal"
    return "time" if name in TIMES else "text"
