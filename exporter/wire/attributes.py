"""OTLP attributes -> plain Python values and canonical JSON, with nothing lost on the way.

One spelling a value: keys sorted, no spaces, integers without and doubles with a point or an
exponent. What JSON has no word for is spelled as in OTLP's own JSON encoding: NaN and infinities
as {"doubleValue": "NaN"}, bytes as {"bytesValue": "<base64>"}. A map that looks like one of
those is wrapped as {"kvlistValue": {...}}, so that reading back is never a guess.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

__all__ = ["InvalidAttributesError", "canonical_json", "plain", "texts"]

MAX_DEPTH: Final = 16
_KEY_SHOWN_CHARACTERS: Final = 100
_WRAPPERS: Final = frozenset({"bytesValue", "doubleValue", "kvlistValue"})


class InvalidAttributesError(Exception):
    """These attributes cannot be stored; the message says why."""


def plain(attributes: Iterable[KeyValue], depth: int = 0) -> dict[str, Any]:
    """Attributes as a dict of JSON-ready values.

    Raises:
        InvalidAttributesError: a key comes twice (its behaviour is undefined by the data model),
            or a value is nested too deep.
    """
    result: dict[str, Any] = {}
    for attribute in attributes:
        if attribute.key in result:
            key = attribute.key[:_KEY_SHOWN_CHARACTERS]
            raise InvalidAttributesError(f"attribute key {key!r} comes twice")
        result[attribute.key] = _value(attribute.value, depth)
    return result


def _value(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind in {"string_value", "bool_value", "int_value"}:
        return getattr(value, kind)
    if kind == "double_value":
        return _double(value.double_value)
    if kind == "bytes_value":
        return {"bytesValue": b64encode(value.bytes_value).decode()}
    return _nested(value, kind, depth)


def _nested(value: AnyValue, kind: str | None, depth: int) -> Any:
    if kind not in {"array_value", "kvlist_value"}:
        return None
    if depth == MAX_DEPTH:
        raise InvalidAttributesError(f"attributes are nested deeper than {MAX_DEPTH} levels")
    if kind == "array_value":
        return [_value(item, depth + 1) for item in value.array_value.values]
    members = plain(value.kvlist_value.values, depth + 1)
    if len(members) == 1 and _WRAPPERS & members.keys():
        return {"kvlistValue": members}
    return members


def _double(value: float) -> Any:
    if math.isfinite(value):
        return value
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {"doubleValue": name}


# Made once: json.dumps makes a new encoder for these options at every call, at 3 us each.
_encode: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def canonical_json(value: Mapping[str, Any] | list[Any] | float) -> str:
    """The one spelling of these values; equal text exactly for equal values and types."""
    return _encode(value)


def texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Values as a person would write them: strings bare, others as JSON, empty ones left out."""
    return {
        key: value if isinstance(value, str) else canonical_json(value)
        for key, value in attributes.items()
        if value is not None
    }
