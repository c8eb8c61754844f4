"""Amounts as people read them; pure. The currency is told beside them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

__all__ = ["change", "money"]

_SIGNIFICANT_DIGITS: Final = 3
_LEAST_PLACES: Final = 2
_MOST_PLACES: Final = 9


def money(amount: Decimal | float) -> str:
    """Two places, and more where there would be nothing to see.

    >>> money(Decimal("1234.5")), money(0.000123456), money(-0.5), money(0)
    ('1,234.50', '0.000123', '-0.50', '0.00')
    """
    exact = amount if isinstance(amount, Decimal) else Decimal(repr(float(amount)))
    places = _LEAST_PLACES
    if exact and exact.adjusted() < -_LEAST_PLACES:
        places = min(_MOST_PLACES, _SIGNIFICANT_DIGITS - 1 - exact.adjusted())
    return f"{exact:,.{places}f}"


def change(now: Decimal, before: Decimal) -> str | None:
    """By how much an amount changed, None where there was nothing that it could change from.

    >>> change(Decimal(110), Decimal(100)), change(Decimal(5), Decimal(0))
    ('+10.0 %', None)
    """
    if before <= 0:
        return None
    return f"{(now - before) / before * 100:+,.1f} %"
