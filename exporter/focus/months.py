"""Billing periods: months such as "2026-11", and their bounds in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

__all__ = ["is_month", "month_bounds", "month_of"]

_MONTH: Final = re.compile(r"(?!0000)\d{4}-(0[1-9]|1[0-2])")
_LAST_MONTH: Final = "9999-12"  # its end is no datetime


def is_month(text: str) -> bool:
    """Whether this is a month that has bounds."""
    return _MONTH.fullmatch(text) is not None and text.isascii() and text != _LAST_MONTH


def month_of(moment: datetime) -> str:
    """The month of a time, such as "2026-11"."""
    return f"{moment.year:04}-{moment.month:02}"


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """Its start, and the start of the next one."""
    year, number = int(month[:4]), int(month[5:])
    end = (year + 1, 1) if number == 12 else (year, number + 1)
    return datetime(year, number, 1, tzinfo=UTC), datetime(*end, 1, tzinfo=UTC)
