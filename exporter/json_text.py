"""One spelling of values as JSON text; NaN and infinities, which JSON lacks, by name. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

__all__ = ["canonical_json", "json_ready", "non_finite_name", "read_float"]

# Made once: json.dumps makes a new encoder for these options at every call, which takes 3 us.
_encode_canonical: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def canonical_json(value: Mapping[str, Any] | list[Any] | float) -> str:
    """The canonical JSON text: keys sorted, no spaces.

    Two values have the same text exactly when the values and their types are equal.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return _encode_canonical(value)


def non_finite_name(value: float) -> str:
    """The name of a NaN or an infinity in JSON, as in protobuf's JSON mapping."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def read_float(value: float | str | None) -> float | None:
    """The number of a cell in which a NaN or an infinity may be written by name."""
    return None if value is None else float(value)


def json_ready(value: Any) -> Any:
    """A value of mappings, lists, tuples and scalars with NaN and infinities by name, at any depth.

    A Decimal becomes a text with all of its digits and no exponent.
    """
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float) and not math.isfinite(value):
        return non_finite_name(value)
    if isinstance(value, Mapping):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    return value
