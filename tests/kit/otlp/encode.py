"""Encodes a protobuf message in a chosen layout; shares no code with the decoder under test.

It implements the wire format (varints, fixed-width numbers, length-delimited fields) and reads only
fields and values of the official message. In every layout the official parser reads an equal
message back, except for unknown fields.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from google.protobuf.message import Message

    from kit.otlp.layouts import Layout

_T = TypeVar("_T")

VARINT: Final = 0
FIXED64: Final = 1
LENGTH_DELIMITED: Final = 2
START_GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5

_FIXED64_FORMATS: Final = {
    FieldDescriptor.TYPE_DOUBLE: "<d",
    FieldDescriptor.TYPE_FIXED64: "<Q",
    FieldDescriptor.TYPE_SFIXED64: "<q",
}
_DELIMITED: Final = frozenset(
    {FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
)
# Field numbers that OTLP does not use: one with a tag of two bytes, one of three, the largest.
_UNKNOWN_NUMBERS: Final = (1_000, 70_000, 2**29 - 1)
_MAX_PADDING_BYTES: Final = 4
_MAX_LENGTH_BYTES: Final = 5
_MAX_VARINT_BYTES: Final = 10


def varint(number: int, min_bytes: int = 1) -> bytes:
    """Base-128 encoding of a number from 0 to 2^64-1, at least `min_bytes` long."""
    encoded = bytearray()
    while number > 0x7F or len(encoded) + 1 < min_bytes:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def length_delimited(tag: int, body: bytes) -> bytes:
    """A length-delimited field with a one-byte tag."""
    return bytes([tag]) + varint(len(body)) + body


def encode(message: Message, layout: Layout) -> bytes:
    """The bytes of the message as an encoder with this layout writes them."""
    return b"".join(_Encoder(layout).fields(message))


def _is_repeated(known: FieldDescriptor) -> bool:
    return isinstance(known.default_value, list)


def _is_default(known: FieldDescriptor, value: Any) -> bool:
    if known.type == FieldDescriptor.TYPE_DOUBLE:
        return struct.pack("<d", value) == bytes(8)  # -0.0 is not the default
    return bool(value == known.default_value)


def _wire_type(known: FieldDescriptor) -> int:
    if known.type in _DELIMITED:
        return LENGTH_DELIMITED
    return FIXED64 if known.type in _FIXED64_FORMATS else VARINT


def _oneof_members(known: FieldDescriptor) -> list[FieldDescriptor]:
    """The other members of the field's oneof; an `optional` field has none."""
    if known.containing_oneof is None:
        return []
    return [member for member in known.containing_oneof.fields if member.number != known.number]


class _Encoder:
    """Encodes one message; holds the random numbers of the layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rng = random.Random(layout.seed)

    def fields(self, message: Message) -> list[bytes]:
        """The encoded fields of a message, in the order of the layout."""
        message_type: Any = message.DESCRIPTOR  # the stubs know only one of its two classes
        known: Mapping[int, FieldDescriptor] = message_type.fields_by_number
        order = self._layout.order[message_type.name]
        groups = [group for number in order if (group := self._group(message, known[number]))]
        return self._with_unknown(self._arranged(groups), list(known.values()))

    def _happens(self, chance: float) -> bool:
        return chance > 0.0 and self._rng.random() < chance

    def _group(self, message: Message, known: FieldDescriptor) -> list[bytes]:
        """All encoded fields with one number, which must keep their order."""
        value = getattr(message, known.name)
        if _is_repeated(known):
            return self._repeated(message.DESCRIPTOR.name, known, list(value))
        if known.has_presence:
            present = message.HasField(known.name)
        else:
            present = not _is_default(known, value)
        if not present and (known.has_presence or not self._happens(self._explicit_defaults)):
            return []
        return [*self._overridden(known), *self._singular(known, value)]

    @property
    def _explicit_defaults(self) -> float:
        return self._layout.explicit_defaults

    def _repeated(
        self, message_name: str, known: FieldDescriptor, values: list[Any]
    ) -> list[bytes]:
        packable = known.type not in _DELIMITED
        name = f"{message_name}.{known.name}"
        if not packable or name in self._layout.unpacked:
            return [self._field(known, value) for value in values]
        fragments = self._fragments(values) if values else []
        return [self._length_first(known, self._packed(known, fragment)) for fragment in fragments]

    def _packed(self, known: FieldDescriptor, values: Iterable[Any]) -> bytes:
        return b"".join(self._scalar(known, value) for value in values)

    def _singular(self, known: FieldDescriptor, value: Any) -> list[bytes]:
        if known.type != FieldDescriptor.TYPE_MESSAGE:
            return [self._field(known, value)]
        fragments = self._fragments(self.fields(value))
        return [self._length_first(known, b"".join(fragment)) for fragment in fragments]

    def _fragments(self, items: Sequence[_T]) -> list[Sequence[_T]]:
        if not self._happens(self._layout.irregularities.split):
            return [items]
        middle = self._rng.randint(0, len(items))
        return [items[:middle], items[middle:]]

    def _field(self, known: FieldDescriptor, value: Any) -> bytes:
        if known.type == FieldDescriptor.TYPE_MESSAGE:
            return self._length_first(known, b"".join(self.fields(value)))
        if known.type in _DELIMITED:
            return self._delimited(known, self._scalar(known, value), 1)
        return self._tag(known.number, _wire_type(known)) + self._scalar(known, value)

    def _length_first(self, known: FieldDescriptor, body: bytes) -> bytes:
        """A sub-message or packed list; some encoders reserve a fixed width for its length."""
        return self._delimited(known, body, self._layout.length_bytes)

    def _delimited(self, known: FieldDescriptor, body: bytes, min_length_bytes: int) -> bytes:
        length = self._varint(len(body), min_length_bytes, _MAX_LENGTH_BYTES)
        return self._tag(known.number, LENGTH_DELIMITED) + length + body

    def _tag(self, number: int, wire_type: int) -> bytes:
        return self._varint(number << 3 | wire_type, 1, _MAX_LENGTH_BYTES)

    def _varint(self, number: int, min_bytes: int, max_bytes: int) -> bytes:
        if self._happens(self._layout.irregularities.pad):
            shortest = len(varint(number, min_bytes))
            min_bytes = shortest + self._rng.randint(1, _MAX_PADDING_BYTES)
        return varint(number, min(min_bytes, max_bytes))

    def _scalar(self, known: FieldDescriptor, value: Any) -> bytes:
        if known.type == FieldDescriptor.TYPE_STRING:
            return str(value).encode()
        if known.type == FieldDescriptor.TYPE_BYTES:
            return bytes(value)
        if known.type in _FIXED64_FORMATS:
            return struct.pack(_FIXED64_FORMATS[known.type], value)
        number = int(value)
        if known.type == FieldDescriptor.TYPE_SINT32:
            number = number << 1 ^ number >> 63
        return self._varint(number & 2**64 - 1, 1, _MAX_VARINT_BYTES)

    def _overridden(self, known: FieldDescriptor) -> list[bytes]:
        """A field that the next one overrides: the last value counts, also in a oneof."""
        if not self._happens(self._layout.irregularities.override):
            return []
        members = _oneof_members(known)
        if members:
            return [self._arbitrary(self._rng.choice(members))]
        return [] if known.type == FieldDescriptor.TYPE_MESSAGE else [self._arbitrary(known)]

    def _arbitrary(self, known: FieldDescriptor) -> bytes:
        wire_type = _wire_type(known)
        if wire_type == LENGTH_DELIMITED:
            return self._delimited(known, b"", 1)
        body = self._rng.randbytes(8) if wire_type == FIXED64 else b"\x05"
        return self._tag(known.number, wire_type) + body

    def _arranged(self, groups: list[list[bytes]]) -> list[bytes]:
        if self._happens(self._layout.irregularities.shuffle):
            self._rng.shuffle(groups)
        if not self._happens(self._layout.irregularities.interleave):
            return [field for group in groups for field in group]
        turns = [index for index, group in enumerate(groups) for _ in group]
        self._rng.shuffle(turns)
        iterators = [iter(group) for group in groups]
        return [next(iterators[index]) for index in turns]

    def _with_unknown(self, fields: list[bytes], known: list[FieldDescriptor]) -> list[bytes]:
        if self._layout.irregularities.unknown <= 0.0:
            return fields
        mixed = []
        for field in fields:
            if self._happens(self._layout.irregularities.unknown):
                mixed.append(self._unknown(known))
            mixed.append(field)
        return mixed

    def _unknown(self, known: list[FieldDescriptor]) -> bytes:
        """A field with an unknown number, or with a known number and another wire type."""
        number = self._rng.choice(_UNKNOWN_NUMBERS)
        wire_types = [VARINT, FIXED64, LENGTH_DELIMITED, FIXED32, START_GROUP]
        if known and self._rng.random() < 0.5:
            misused = self._rng.choice(known)
            number = misused.number
            own = {_wire_type(misused)}
            if _is_repeated(misused):
                own.add(LENGTH_DELIMITED)
            wire_types = [each for each in wire_types if each not in own]
        return self._unknown_body(number, self._rng.choice(wire_types))

    def _unknown_body(self, number: int, wire_type: int) -> bytes:
        tag = self._tag(number, wire_type)
        if wire_type == VARINT:
            return tag + self._varint(self._rng.getrandbits(64), 1, _MAX_VARINT_BYTES)
        if wire_type == LENGTH_DELIMITED:
            return tag + b"\x03\x0a\x01\x61"
        if wire_type == START_GROUP:
            return tag + b"\x08\x01" + self._tag(number, END_GROUP)
        return tag + self._rng.randbytes(8 if wire_type == FIXED64 else 4)
