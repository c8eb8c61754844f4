"""Cells of a bill as values, whichever file they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

__all__ = ["CellError", "canonical", "decimal_of", "plain", "tags_of", "text_of", "time_of"]

# What clouds write where there is nothing.
_NOTHING: Final = frozenset({"", "NULL", "null"})
_SHOWN: Final = 40
# Before the point, and after it.
_MOST_DIGITS: Final = 20
_MOST_PLACES: Final = 100
# Of no number in a bill anything is rounded.
_ALL_DIGITS: Final = Context(prec=1_000)

# The spelling of `exporter.wire`: equal texts for equal values.
canonical: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), default=str
).encode


class CellError(Exception):
    """A cell is not what its column holds; the message says what it is instead."""


def text_of(value: Any) -> str | None:
    """The text of a cell, None where there is nothing in it."""
    if value is None:
        return None
    if isinstance(value, str):
        return None if value in _NOTHING or value.isspace() else value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping | list | tuple):
        return canonical(value)
    return str(value)


def decimal_of(value: Any) -> Decimal | None:
    """The number in a cell with all its digits; of a double, those that it is written with.

    Raises:
        CellError: it is no finite number.
    """
    text = text_of(value)
    if text is None:
        return None
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise CellError(f"{text[:_SHOWN]!r} is no number")
    # An exponent may be short and stand for gigabytes of zeros.
    if number.adjusted() >= _MOST_DIGITS or number.as_tuple().exponent < -_MOST_PLACES:  # type: ignore[operator]  # finite, so it is an integer
        raise CellError(f"{text[:_SHOWN]!r} has too many digits")
    return number


def plain(number: Decimal) -> Decimal:
    """Without zeros at the end, which say how wide a column is, and without an exponent.

    >>> str(plain(Decimal("0.5000"))), str(plain(Decimal("1E+2")))
    ('0.5', '100')
    """
    return Decimal(f"{number.normalize(_ALL_DIGITS):f}")


def time_of(value: Any) -> datetime | None:
    """The time in a cell; one without a zone is UTC.

    Raises:
        CellError: it is no time.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    text = text_of(value)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise CellError(f"{text[:_SHOWN]!r} is no time such as 2026-11-23T17:00:00Z") from None


def tags_of(value: Any) -> dict[str, Any]:
    """The tags in a cell: a JSON object, or a map as Parquet has them.

    Raises:
        CellError: it is neither.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _pairs(value)
    text = text_of(value)
    if text is None:
        return {}
    try:
        tags = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        tags = None
    if not isinstance(tags, dict):
        raise CellError(f"{text[:_SHOWN]!r} is no JSON object")
    return tags


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _pairs(items: Sequence[Any]) -> dict[str, Any]:
    if not all(isinstance(item, tuple) and len(item) == 2 for item in items):
        raise CellError(f"{str(items)[:_SHOWN]!r} is no map of names to values")
    return {str(name): value for name, value in items}
