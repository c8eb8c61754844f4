"""Numbers, quantities with a unit, and amounts of money as text for people; pure."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

from exporter.costs.entry_fields import decimal_places

_SIGNIFICANT_DIGITS: Final = 4
_BYTE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SI_PREFIXES: Final = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}

# UCUM units, as OpenTelemetry names them.
_UNIT_BYTES: Final = {
    "By": 1,
    "kBy": 10**3,
    "MBy": 10**6,
    "GBy": 10**9,
    "KiBy": 2**10,
    "MiBy": 2**20,
    "GiBy": 2**30,
}
_UNIT_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3_600.0,
    "d": 86_400.0,
}
_PREFIXED_UNITS: Final = frozenset({"Hz", "W", "J", "V", "A", "bit"})
_UNIT_SYMBOLS: Final = {"Cel": "°C", "%": "%", "deg": "°"}

# Upper bound in seconds, unit, and its length in seconds. Above a second a unit is used until there
# are two of the next one, because 90 s reads better than 1.5 min.
_TIME_UNITS: Final = (
    (1e-6, "ns", 1e-9),
    (1e-3, "µs", 1e-6),
    (1.0, "ms", 1e-3),
    (120.0, "s", 1.0),
    (7_200.0, "min", 60.0),
    (172_800.0, "h", 3_600.0),
    (math.inf, "d", 86_400.0),
)

_AMOUNT_SIGNIFICANT_DIGITS: Final = 3
_MAX_AMOUNT_PLACES: Final = 18


def format_amount(amount: Decimal, currency: str) -> str:
    """An amount with the decimal places of its currency, or more if those would show only zeros.

    >>> [format_amount(Decimal(amount), "USD") for amount in ("1234.5", "0.000123456", "-0.5", "0")]
    ['1,234.50', '0.000123', '-0.50', '0.00']
    >>> format_amount(Decimal("1234.5"), "JPY"), format_amount(Decimal("1234.5"), "KWD")
    ('1,234', '1,234.500')
    """
    places = decimal_places(currency)
    if amount and amount.adjusted() < -places:
        places = min(_MAX_AMOUNT_PLACES, _AMOUNT_SIGNIFICANT_DIGITS - 1 - amount.adjusted())
    return f"{amount:,.{places}f}"


def format_change(amount: Decimal, previous: Decimal) -> str | None:
    """The change of an amount in percent, None if the previous amount is not above 0.

    >>> format_change(Decimal(110), Decimal(100)), format_change(Decimal(5), Decimal(0))
    ('+10.0 %', None)
    """
    if previous <= 0:
        return None
    return f"{(amount - previous) / previous * 100:+,.1f} %"


def format_quantity(value: float, unit: str, *, is_ratio: bool = False) -> str:
    """A value in the multiple of its unit that suits its size.

    Args:
        value: what was measured, in `unit`.
        unit: UCUM, "" for no unit; "/s" at the end makes it a rate.
        is_ratio: whether a value of the unit "1" is a share of a whole.

    >>> format_quantity(1_300_000_000, "By"), format_quantity(12, "{request}/s")
    ('1.211 GiB', '12 request/s')
    >>> format_quantity(0.00042, "s")
    '420 µs'
    """
    if unit.endswith("/s") and unit != "/s":
        return f"{format_quantity(value, unit.removesuffix('/s'))}/s"
    base = value * (_UNIT_BYTES.get(unit) or _UNIT_SECONDS.get(unit) or 1)
    if unit in {"", "1"} or not math.isfinite(base):
        return f"{format_number(value * 100)} %" if is_ratio else format_number(value)
    if unit in _UNIT_BYTES:
        text = _format_bytes(base)
    elif unit in _UNIT_SECONDS:
        text = _format_seconds(base)
    elif unit in _PREFIXED_UNITS:
        text = _format_prefixed(base, unit)
    else:
        # UCUM writes what is counted in braces, such as {request}.
        symbol = _UNIT_SYMBOLS.get(unit, unit.removeprefix("{").removesuffix("}"))
        text = f"{format_number(base)} {symbol}"
    return text


def format_number(value: float) -> str:
    """A number: whole numbers in full, others with four significant digits.

    >>> [format_number(value) for value in (1234567, 0.123456, 1234.5678, 1e-7)]
    ['1,234,567', '0.1235', '1,235', '1e-07']
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 15:
        return f"{value:.{_SIGNIFICANT_DIGITS}g}"
    if value == int(value):
        return f"{int(value):,}"
    text = f"{value:,.{max(0, _SIGNIFICANT_DIGITS - 1 - size)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _format_bytes(count: float) -> str:
    power = min(int(math.log2(max(abs(count), 1)) // 10), len(_BYTE_UNITS) - 1)
    return f"{format_number(count / 1024**power)} {_BYTE_UNITS[power]}"


def _format_seconds(seconds: float) -> str:
    if seconds == 0:
        return "0 s"
    _, name, length = next(step for step in _TIME_UNITS if abs(seconds) < step[0])
    return f"{format_number(seconds / length)} {name}"


def _format_prefixed(value: float, unit: str) -> str:
    if value == 0:
        return f"0 {unit}"
    power = math.floor(math.log10(abs(value)) / 3) * 3
    power = min(max(power, min(_SI_PREFIXES)), max(_SI_PREFIXES))
    return f"{format_number(value / 10.0**power)} {_SI_PREFIXES[power]}{unit}"
