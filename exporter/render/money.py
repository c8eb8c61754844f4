"""Amounts as people read them; pure. The currency is told beside them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

__all__ = ["format_amount", "format_change"]

_SIGNIFICANT_DIGITS: Final = 3
_LEAST_PLACES: Final = 2
_MOST_PLACES: Final = 9


def format_amount(amount: Decimal | float) -> str:
    """Two places, and more where there would be nothing to see.

    >>> [format_amount(amount) for amount in (Decimal("1234.5"), 0.000123456, -0.5, 0)]
    ['1,234.50', '0.000123', '-0.50', '0.00']
    """
    exact = amount if isinstance(amount, Decimal) else Decimal(repr(float(amount)))
    places = _LEAST_PLACES
    if exact and exact.adjusted() < -_LEAST_PLACES:
        places = min(_MOST_PLACES, _SIGNIFICANT_DIGITS - 1 - exact.adjusted())
    return f"{exact:,.{places}f}"


def format_change(now: Decimal, before: Decimal) -> str | None:
    """By how much an amount changed, None where there was nothing that it could change from.

    >>> format_change(Decimal(110), Decimal(100)), format_change(Decimal(5), Decimal(0))
    ('+10.0 %', None)
    """
    if before <= 0:
        return None
    return f"{(now - before) / before * 100:+,.1f} %"
