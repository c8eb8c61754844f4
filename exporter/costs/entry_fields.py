"""The fields of a cost entry: which attributes name them, and which values they may have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from exporter.json_text import canonical_json

Attributes = Mapping[str, Any]

FIELD_ATTRIBUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "category": ("cost.category", "category"),
    "resource_id": ("cost.resource_id", "resource_id", "cloud.resource_id"),
    "region": ("cloud.region", "region"),
    "currency": ("currency", "cost.currency"),
    "description": ("cost.description", "description"),
}
"""The attributes of each field; the first that is not empty counts."""

DEFAULT_CATEGORY: Final = "other"
CREDIT_CATEGORIES: Final = frozenset({"credit", "refund", "discount", "adjustment"})
"""What a provider pays back. Under any other category a negative amount is an error."""

# Larger than any invoice, and small enough that a store can sum billions of amounts.
_MAX_AMOUNT: Final = 1e15

# ISO 4217, list one, as of January 2026. Codes that are no money are left out: precious metals,
# bond units, special drawing rights, the test code and "no currency". The list changes about once a
# year, so it is kept here and not taken from a library.
_CURRENCY_CODES: Final = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP
    GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD
    KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN
    NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP
    SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES
    VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES: Final = frozenset(_CURRENCY_CODES.split())
"""The accepted codes. Retired codes are refused: a price in one would be an error today."""
# ISO 4217, "minor unit". All other currencies have two decimal places.
_CURRENCY_CODES_BY_PLACES: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_PLACES: Final = {
    code: places for places, codes in _CURRENCY_CODES_BY_PLACES.items() for code in codes.split()
}
_DEFAULT_PLACES: Final = 2


class CostRefusedError(Exception):
    """Something cannot be a cost; the message says why."""


class AttributeReader:
    """Reads the fields of one cost entry from attributes, and records which attributes it used.

    Attributes:
        own: attributes of the point or log record. They win over those of the resource.
        resource: attributes of its resource. They never become tags.

    Args:
        used: names of `own` that are not tags, because another part of the entry has them.
    """

    def __init__(self, own: Attributes, resource: Attributes, *, used: Iterable[str]) -> None:
        self.own = own
        self.resource = resource
        self._used = set(used)

    def text(self, names: Sequence[str]) -> str:
        """The first of these attributes that is not empty, of the point before the resource."""
        return self.own_text(names) or first_text(self.resource, names)

    def field(self, name: str) -> str:
        """The text of a field of `FIELD_ATTRIBUTES`, of the point before the resource, else ""."""
        return self.text(FIELD_ATTRIBUTES[name])

    def own_text(self, names: Sequence[str]) -> str:
        """The first of these attributes of the point or record that is not empty, else ""."""
        for name in names:
            text = attribute_text(self.own.get(name))
            if text:
                self._used.add(name)
                return text
        return ""

    def own_value(self, names: Sequence[str]) -> Any:
        """The unconverted value of the first of these attributes that is present, else None."""
        for name in names:
            if name in self.own:
                self._used.add(name)
                return self.own[name]
        return None

    def unused(self) -> dict[str, Any]:
        """The attributes of the point or record that no field has used."""
        return {name: value for name, value in self.own.items() if name not in self._used}


def first_text(attributes: Attributes, names: Sequence[str]) -> str:
    """The text of the first of these attributes that is not empty, else ""."""
    for name in names:
        text = attribute_text(attributes.get(name))
        if text:
            return text
    return ""


def first_texts(
    attributes: Attributes, names_by_field: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """`first_text` of each field that has one."""
    texts = {name: first_text(attributes, names) for name, names in names_by_field.items()}
    return {name: text for name, text in texts.items() if text}


def attribute_text(value: Any) -> str:
    """The value of an attribute as text; "" for None, JSON for what is not a string."""
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical_json(value)


def parse_currency(text: str) -> str | None:
    """The upper-case ISO 4217 code of a text in any case; None if there is no such currency."""
    code = text.strip().upper()
    return code if code in CURRENCIES else None


def decimal_places(currency: str) -> int:
    """How many decimal places people write in a currency, by the ISO 4217 code it begins with."""
    return _PLACES.get(currency[:3], _DEFAULT_PLACES)


def check_amount(amount: float, category: str) -> None:
    """Check that a number can be the amount of a cost.

    Raises:
        CostRefusedError: it is not finite, too large, or negative without being a credit.
    """
    if not math.isfinite(amount):
        raise CostRefusedError("it is not a finite number")
    if amount < 0 and category.lower() not in CREDIT_CATEGORIES:
        raise CostRefusedError(
            f"it is negative, and its category is not one of {', '.join(sorted(CREDIT_CATEGORIES))}"
        )
    if abs(amount) > _MAX_AMOUNT:
        raise CostRefusedError(f"it is larger than {_MAX_AMOUNT:.0f}")
