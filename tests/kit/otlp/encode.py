"""Writes a protobuf message in a chosen layout; shares no code with the decoder under test.

It knows the wire format (varints, fixed numbers, length-delimited fields) and asks the official
message only for its fields and their values. Whatever the layout, the official parser reads an
equal message back, unknown fields aside.
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

__all__ = ["FIXED32", "FIXED64", "LENGTH_DELIMITED", "VARINT", "encode", "varint"]

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
# Far from the numbers that OTLP uses or will soon use: a low one, one of three tag bytes, the top.
_UNKNOWN_NUMBERS: Final = (1_000, 70_000, 2**29 - 1)
_LONGEST_PADDING_BYTES: Final = 4
_WIDEST_LENGTH_BYTES: Final = 5
_WIDEST_VARINT_BYTES: Final = 10


def varint(number: int, least_bytes: int = 1) -> bytes:
    """Base-128 encoding of a number from 0 to 2^64-1, at least `least_bytes` long."""
    encoded = bytearray()
    while number > 0x7F or len(encoded) + 1 < least_bytes:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode(message: Message, layout: Layout) -> bytes:
    """The message's bytes as an encoder with this layout writes them."""
    return b"".join(_Writer(layout).records(message))


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
    """The other members of the field's oneof; none for a field that is merely `optional`."""
    if known.containing_oneof is None:
        return []
    return [member for member in known.containing_oneof.fields if member.number != known.number]


class _Writer:
    """Writes one message after the other; holds the rng of the layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._dice = random.Random(layout.seed)

    def records(self, message: Message) -> list[bytes]:
        """The encoded fields of a message, in the layout's order."""
        message_type: Any = message.DESCRIPTOR  # the stubs know only one of its two classes
        fields: Mapping[int, FieldDescriptor] = message_type.fields_by_number
        order = self._layout.order[message_type.name]
        runs = [run for number in order if (run := self._run(message, fields[number]))]
        return self._with_unknown(self._arranged(runs), list(fields.values()))

    def _happens(self, chance: float) -> bool:
        return chance > 0.0 and self._dice.random() < chance

    def _run(self, message: Message, known: FieldDescriptor) -> list[bytes]:
        """The records of one field, which must stay in this order."""
        value = getattr(message, known.name)
        if _is_repeated(known):
            return self._repeated_run(message.DESCRIPTOR.name, known, list(value))
        if known.has_presence:
            present = message.HasField(known.name)
        else:
            present = not _is_default(known, value)
        if not present and (known.has_presence or not self._happens(self._explicit_defaults)):
            return []
        return [*self._stale(known), *self._singular_run(known, value)]

    @property
    def _explicit_defaults(self) -> float:
        return self._layout.explicit_defaults

    def _repeated_run(
        self, message_name: str, known: FieldDescriptor, values: list[Any]
    ) -> list[bytes]:
        packable = known.type not in _DELIMITED
        name = f"{message_name}.{known.name}"
        if not packable or name in self._layout.unpacked:
            return [self._record(known, value) for value in values]
        pieces = self._pieces(values) if values else []
        return [self._framed(known, self._packed(known, piece)) for piece in pieces]

    def _packed(self, known: FieldDescriptor, values: Iterable[Any]) -> bytes:
        return b"".join(self._scalar(known, value) for value in values)

    def _singular_run(self, known: FieldDescriptor, value: Any) -> list[bytes]:
        if known.type != FieldDescriptor.TYPE_MESSAGE:
            return [self._record(known, value)]
        pieces = self._pieces(self.records(value))
        return [self._framed(known, b"".join(piece)) for piece in pieces]

    def _pieces(self, items: Sequence[_T]) -> list[Sequence[_T]]:
        if not self._happens(self._layout.irregularities.split):
            return [items]
        middle = self._dice.randint(0, len(items))
        return [items[:middle], items[middle:]]

    def _record(self, known: FieldDescriptor, value: Any) -> bytes:
        if known.type == FieldDescriptor.TYPE_MESSAGE:
            return self._framed(known, b"".join(self.records(value)))
        if known.type in _DELIMITED:
            return self._delimited(known, self._scalar(known, value), 1)
        return self._tag(known.number, _wire_type(known)) + self._scalar(known, value)

    def _framed(self, known: FieldDescriptor, body: bytes) -> bytes:
        """A sub-message or a packed run, whose length some encoders write before they know it."""
        return self._delimited(known, body, self._layout.length_bytes)

    def _delimited(self, known: FieldDescriptor, body: bytes, least_length_bytes: int) -> bytes:
        length = self._varint(len(body), least_length_bytes, _WIDEST_LENGTH_BYTES)
        return self._tag(known.number, LENGTH_DELIMITED) + length + body

    def _tag(self, number: int, wire_type: int) -> bytes:
        return self._varint(number << 3 | wire_type, 1, _WIDEST_LENGTH_BYTES)

    def _varint(self, number: int, least_bytes: int, most_bytes: int) -> bytes:
        if self._happens(self._layout.irregularities.pad):
            shortest = len(varint(number, least_bytes))
            least_bytes = shortest + self._dice.randint(1, _LONGEST_PADDING_BYTES)
        return varint(number, min(least_bytes, most_bytes))

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
        return self._varint(number & 2**64 - 1, 1, _WIDEST_VARINT_BYTES)

    def _stale(self, known: FieldDescriptor) -> list[bytes]:
        """What the record after it overrides: the last value counts, the last of a oneof too."""
        if not self._happens(self._layout.irregularities.stale):
            return []
        members = _oneof_members(known)
        if members:
            return [self._junk(self._dice.choice(members))]
        return [] if known.type == FieldDescriptor.TYPE_MESSAGE else [self._junk(known)]

    def _junk(self, known: FieldDescriptor) -> bytes:
        wire_type = _wire_type(known)
        if wire_type == LENGTH_DELIMITED:
            return self._delimited(known, b"", 1)
        body = self._dice.randbytes(8) if wire_type == FIXED64 else b"\x05"
        return self._tag(known.number, wire_type) + body

    def _arranged(self, runs: list[list[bytes]]) -> list[bytes]:
        if self._happens(self._layout.irregularities.shuffle):
            self._dice.shuffle(runs)
        if not self._happens(self._layout.irregularities.interleave):
            return [record for run in runs for record in run]
        turns = [index for index, run in enumerate(runs) for _ in run]
        self._dice.shuffle(turns)
        heads = [iter(run) for run in runs]
        return [next(heads[index]) for index in turns]

    def _with_unknown(self, records: list[bytes], known: list[FieldDescriptor]) -> list[bytes]:
        if self._layout.irregularities.unknown <= 0.0:
            return records
        mixed = []
        for record in records:
            if self._happens(self._layout.irregularities.unknown):
                mixed.append(self._unknown(known))
            mixed.append(record)
        return mixed

    def _unknown(self, known: list[FieldDescriptor]) -> bytes:
        """A field with a strange number, or a known number with a wire type that is not its own."""
        number = self._dice.choice(_UNKNOWN_NUMBERS)
        wire_types = [VARINT, FIXED64, LENGTH_DELIMITED, FIXED32, START_GROUP]
        if known and self._dice.random() < 0.5:
            misused = self._dice.choice(known)
            number = misused.number
            own = {_wire_type(misused)}
            if _is_repeated(misused):
                own.add(LENGTH_DELIMITED)
            wire_types = [each for each in wire_types if each not in own]
        return self._unknown_body(number, self._dice.choice(wire_types))

    def _unknown_body(self, number: int, wire_type: int) -> bytes:
        tag = self._tag(number, wire_type)
        if wire_type == VARINT:
            return tag + self._varint(self._dice.getrandbits(64), 1, _WIDEST_VARINT_BYTES)
        if wire_type == LENGTH_DELIMITED:
            return tag + b"\x03\x0a\x01\x61"
        if wire_type == START_GROUP:
            return tag + b"\x08\x01" + self._tag(number, END_GROUP)
        return tag + self._dice.randbytes(8 if wire_type == FIXED64 else 4)
