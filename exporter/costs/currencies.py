"""Which three letters are a currency: ISO 4217, list one, as of January 2026.

The codes that are no money are left out: precious metals, bond units, special drawing rights, the
code for tests and the one for "no currency". Codes change about once a year; a table needs no
dependency for that.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CURRENCIES", "parse_currency"]

_CODES: Final = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP
    GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD
    KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN
    NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP
    SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES
    VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES: Final = frozenset(_CODES.split())
"""The codes. Retired ones are not taken: a price in them would be a mistake today."""


def parse_currency(text: str) -> str | None:
    """The code that is meant, whatever its case; None where there is no such currency."""
    code = text.strip().upper()
    return code if code in CURRENCIES else None
