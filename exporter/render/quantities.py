"""Numbers with units as people read them; pure."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["format_number", "format_quantity"]

_SIGNIFICANT_DIGITS: Final = 4
_BYTES: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL: Final = {-9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}

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
_PREFIXED: Final = frozenset({"Hz", "W", "J", "V", "A", "bit"})
_SIGNS: Final = {"Cel": "°C", "%": "%", "deg": "°"}

# Below so many seconds: the unit, and its length in seconds. From a second up a unit serves until
# there are two of the next: 90 s read better than 1.5 min.
_TIME_STEPS: Final = (
    (1e-6, "ns", 1e-9),
    (1e-3, "µs", 1e-6),
    (1.0, "ms", 1e-3),
    (120.0, "s", 1.0),
    (7_200.0, "min", 60.0),
    (172_800.0, "h", 3_600.0),
    (math.inf, "d", 86_400.0),
)


def format_quantity(value: float, unit: str, *, is_ratio: bool = False) -> str:
    """A value in the unit that suits its size.

    Args:
        value: what was measured.
        unit: UCUM, "" for none; "/s" at the end makes it a rate.
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
        text = _of_bytes(base)
    elif unit in _UNIT_SECONDS:
        text = _of_seconds(base)
    elif unit in _PREFIXED:
        text = _prefixed(base, unit)
    else:
        # {request} is UCUM's way to say what is counted.
        text = f"{format_number(base)} {_SIGNS.get(unit, unit.removeprefix('{').removesuffix('}'))}"
    return text


def format_number(value: float) -> str:
    """A bare number: whole ones in full, others with four significant digits.

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


def _of_bytes(count: float) -> str:
    power = min(int(math.log2(max(abs(count), 1)) // 10), len(_BYTES) - 1)
    return f"{format_number(count / 1024**power)} {_BYTES[power]}"


def _of_seconds(seconds: float) -> str:
    if seconds == 0:
        return "0 s"
    _, name, length = next(step for step in _TIME_STEPS if abs(seconds) < step[0])
    return f"{format_number(seconds / length)} {name}"


def _prefixed(value: float, unit: str) -> str:
    if value == 0:
        return f"0 {unit}"
    power = math.floor(math.log10(abs(value)) / 3) * 3
    power = min(max(power, min(_DECIMAL)), max(_DECIMAL))
    return f"{format_number(value / 10.0**power)} {_DECIMAL[power]}{unit}"
