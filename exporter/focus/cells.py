"""Cells of a bill as values, from CSV (texts) and from Parquet (typed values) alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

from exporter.json_text import json_ready

# Clouds write these for a null.
_NULL_TEXTS: Final = frozenset({"", "NULL", "null"})
_SHOWN_CHARACTERS: Final = 40
_MAX_INTEGER_DIGITS: Final = 20
_MAX_DECIMAL_PLACES: Final = 100
# More digits than a cell may have, so that no number of a bill is rounded.
_NO_ROUNDING: Final = Context(prec=1_000)

# The spelling of exporter.json_text, and str() for the times and decimals of Parquet.
_encode: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), default=str
).encode


class CellError(Exception):
    """A cell does not hold what its column requires; the message says what it holds."""


def to_json(value: Any) -> str:
    """The canonical JSON text of a value of Parquet; NaN and infinities by name."""
    try:
        return _encode(value)
    except ValueError:
        return _encode(json_ready(value))


def valid_unicode(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which no database takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_text(value: Any) -> str | None:
    """The text of a cell, None if it is empty. NaN is empty: pandas writes it for a null."""
    return None if is_nan(value) else raw_text(value)


def is_nan(value: Any) -> bool:
    """Whether a typed cell is NaN."""
    return isinstance(value, float | Decimal) and math.isnan(value)


def raw_text(value: Any) -> str | None:
    """The text of a cell, None if it is empty; "nan" for NaN."""
    if value is None:
        return None
    if isinstance(value, str):
        return None if value in _NULL_TEXTS or value.isspace() else value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping | list | tuple):
        return to_json(value)
    return str(value)


def read_decimal(value: Any) -> Decimal | None:
    """The number in a cell with all its digits; of a double, the digits of its shortest text.

    Raises:
        CellError: it is no finite number, or has too many digits.
    """
    text = read_text(value)
    if text is None:
        return None
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise CellError(f"{text[:_SHOWN_CHARACTERS]!r} is not a number")
    # Written out, a number with a short exponent can take gigabytes of zeros.
    if (
        number.adjusted() >= _MAX_INTEGER_DIGITS
        or number.as_tuple().exponent < -_MAX_DECIMAL_PLACES  # type: ignore[operator]  # finite, so it is an integer
    ):
        raise CellError(f"{text[:_SHOWN_CHARACTERS]!r} has too many digits")
    return number


def plain_decimal(number: Decimal) -> Decimal:
    """Returns the number without exponent and trailing zeros.

    Trailing zeros only come from the column width.

    >>> str(plain_decimal(Decimal("0.5000"))), str(plain_decimal(Decimal("1E+2")))
    ('0.5', '100')
    """
    return Decimal(f"{number.normalize(_NO_ROUNDING):f}")


def read_time(value: Any) -> datetime | None:
    """The time in a cell; one without a time zone is UTC.

    Raises:
        CellError: it is not a time.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    text = read_text(value)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise CellError(
            f"{text[:_SHOWN_CHARACTERS]!r} is not a time such as 2026-11-23T17:00:00Z"
        ) from None


def read_tags(value: Any) -> dict[str, Any]:
    """The tags in a cell: a JSON object, or a map as Parquet has them.

    Raises:
        CellError: it is neither. The braces of the object may be missing, as in bills of Azure.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _map_of_pairs(value)
    text = read_text(value)
    if text is None:
        return {}
    braces = ("{", "}") if text.lstrip().startswith('"') else ("", "")
    try:
        tags = json.loads(text.join(braces), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        tags = None
    if not isinstance(tags, dict):
        raise CellError(f"{text[:_SHOWN_CHARACTERS]!r} is not a JSON object")
    return tags


def _refuse_constant(name: str) -> Any:
    """Refuse NaN and infinities, which Python reads although JSON has no such numbers."""
    raise ValueError(name)


def _map_of_pairs(items: Sequence[Any]) -> dict[str, Any]:
    if not all(isinstance(item, tuple) and len(item) == 2 for item in items):
        raise CellError(f"{str(items)[:_SHOWN_CHARACTERS]!r} is not a map of names to values")
    return {str(name): value for name, value in items}
