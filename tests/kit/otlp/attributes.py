"""Attributes of messages from plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList

_FIELDS = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}


def key_values(attributes: Mapping[str, Any]) -> list[KeyValue]:
    """The attributes as protobuf messages; values are strings, numbers, booleans and mappings."""
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items()]


def _any_value(value: Any) -> AnyValue:
    if isinstance(value, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
    return AnyValue(**{_FIELDS[type(value)]: value})
