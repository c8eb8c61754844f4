"""Where the fields of a serialized message stand; pure, and only for messages that parse.

The wire format is protobuf's (encoding.md, "Message Structure"): a tag, then a value whose length
the tag's lowest three bits tell. Groups, which OTLP has nowhere, are not walked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["BYTES", "FIXED64", "VARINT", "Field", "UnwalkableError", "fields", "spans"]

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
_FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}


class UnwalkableError(Exception):
    """The bytes hold a group, or end in the middle of a field."""


class Field(NamedTuple):
    """One field: its number, its wire type, and where its tag and its value stand."""

    number: int
    wire_type: int
    tag: int
    start: int
    end: int


def fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """The fields of the message that stands at data[start:end], in their order.

    Raises:
        UnwalkableError: it is no message, or holds a group.
    """
    at = start
    while at < end:
        tag, value = _varint(data, at, end)
        wire_type = tag & 7
        if wire_type == BYTES:
            length, value = _varint(data, value, end)
            after = value + length
        elif wire_type == VARINT:
            _, after = _varint(data, value, end)
        elif wire_type in _FIXED_BYTES:
            after = value + _FIXED_BYTES[wire_type]
        else:
            raise UnwalkableError
        if after > end:
            raise UnwalkableError
        yield Field(tag >> 3, wire_type, at, value, after)
        at = after


def spans(data: bytes, start: int, end: int, *numbers: int) -> list[tuple[int, int]]:
    """Where the sub-messages with one of these field numbers stand, in their order."""
    return [
        (field.start, field.end)
        for field in fields(data, start, end)
        if field.number in numbers and field.wire_type == BYTES
    ]


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise UnwalkableError
