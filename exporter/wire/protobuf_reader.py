"""The fields of a serialized protobuf message, read in Python without parsing the message. Pure.

The wire format is protobuf's (encoding.md, "Message Structure"): a tag, then a value. The lowest
three bits of the tag are the wire type, which determines the length of the value. Groups are
reported as malformed, because no OTLP message has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
FIXED32: Final = 5
_FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}


class MalformedMessageError(Exception):
    """The bytes end in the middle of a field, or contain a group."""


class Field(NamedTuple):
    """One field: its number, its wire type, and the offsets of its tag and its value.

    The value of a length-delimited field starts after the length.
    """

    number: int
    wire_type: int
    tag: int
    start: int
    end: int


def iter_fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """The fields of the message data[start:end], in their order.

    Raises:
        MalformedMessageError: the bytes are not a message, or contain a group.
    """
    offset = start
    while offset < end:
        tag, value = _read_varint(data, offset, end)
        wire_type = tag & 7
        if wire_type == LENGTH_DELIMITED:
            length, value = _read_varint(data, value, end)
            value_end = value + length
        elif wire_type == VARINT:
            _, value_end = _read_varint(data, value, end)
        elif wire_type in _FIXED_BYTES:
            value_end = value + _FIXED_BYTES[wire_type]
        else:
            raise MalformedMessageError
        if value_end > end:
            raise MalformedMessageError
        yield Field(tag >> 3, wire_type, offset, value, value_end)
        offset = value_end


def submessage_spans(data: bytes, start: int, end: int, *numbers: int) -> list[tuple[int, int]]:
    """Start and end offsets of the sub-messages with these field numbers, in their order."""
    return [
        (field.start, field.end)
        for field in iter_fields(data, start, end)
        if field.number in numbers and field.wire_type == LENGTH_DELIMITED
    ]


def _read_varint(data: bytes, offset: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while offset < end and shift < 64:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
    raise MalformedMessageError
