"""OTLP attributes as plain Python values and as canonical JSON, without loss.

Values that JSON cannot express are spelled as in OTLP's JSON encoding: NaN and infinities as
{"doubleValue": "NaN"}, bytes as {"bytesValue": "<base64>"}. A map with one of these keys alone, or
with "kvlistValue" alone, is wrapped as {"kvlistValue": {...}}, so that JSON reads back exactly.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from exporter.json_text import canonical_json, non_finite_name

MAX_DEPTH: Final = 16
_MAX_KEY_CHARACTERS_SHOWN: Final = 100
_WRAPPERS: Final = frozenset({"bytesValue", "doubleValue", "kvlistValue"})


class InvalidAttributesError(Exception):
    """Attributes that cannot be stored; the message says why."""


def attributes_to_dict(attributes: Iterable[KeyValue], depth: int = 0) -> dict[str, Any]:
    """Attributes as a dict of JSON-ready values.

    Raises:
        InvalidAttributesError: a key occurs twice (the data model leaves that undefined), or a
            value is nested more than 16 levels deep.
    """
    result: dict[str, Any] = {}
    for attribute in attributes:
        if attribute.key in result:
            key = attribute.key[:_MAX_KEY_CHARACTERS_SHOWN]
            raise InvalidAttributesError(f"attribute key {key!r} occurs twice")
        result[attribute.key] = _json_value(attribute.value, depth)
    return result


def _json_value(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind in {"string_value", "bool_value", "int_value"}:
        return getattr(value, kind)
    if kind == "double_value":
        number = value.double_value
        return number if math.isfinite(number) else {"doubleValue": non_finite_name(number)}
    if kind == "bytes_value":
        return {"bytesValue": b64encode(value.bytes_value).decode()}
    return _nested_value(value, kind, depth) if kind in {"array_value", "kvlist_value"} else None


def _nested_value(value: AnyValue, kind: str, depth: int) -> Any:
    if depth == MAX_DEPTH:
        raise InvalidAttributesError(f"attributes are nested deeper than {MAX_DEPTH} levels")
    if kind == "array_value":
        return [_json_value(item, depth + 1) for item in value.array_value.values]
    members = attributes_to_dict(value.kvlist_value.values, depth + 1)
    if len(members) == 1 and _WRAPPERS & members.keys():
        return {"kvlistValue": members}
    return members


def attribute_texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Each value as text: strings as they are, others as JSON; null values are left out."""
    return {
        key: value if isinstance(value, str) else canonical_json(value)
        for key, value in attributes.items()
        if value is not None
    }
