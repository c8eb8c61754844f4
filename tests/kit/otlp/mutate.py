"""Damages an encoded request: any byte, or whole fields with correct lengths around them.

Most damaged bytes make the message invalid. Damaged fields leave a valid message with another
content; that is where two decoders can differ.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from kit.otlp.encode import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, varint

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZES: Final = {FIXED64: 8, FIXED32: 4}
_NESTED_PROBABILITY: Final = 0.75
_EDGE_BYTES: Final = (0x00, 0x01, 0x08, 0x0A, 0x7F, 0x80, 0x81, 0xC0, 0xFF)


def _varint_at(data: bytes, offset: int) -> tuple[int, int]:
    """The value of a varint and its end; IndexError if the bytes end first."""
    number = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, offset


def _fields(data: bytes) -> list[tuple[int, bytes]] | None:
    """(tag, body) of each field; None if the bytes cannot be a message."""
    fields = []
    offset = 0
    try:
        while offset < len(data):
            tag, start = _varint_at(data, offset)
            wire_type = tag & 7
            if wire_type == VARINT:
                _, offset = _varint_at(data, start)
            elif wire_type == LENGTH_DELIMITED:
                length, start = _varint_at(data, start)
                offset = start + length
            elif wire_type in _SIZES:
                offset = start + _SIZES[wire_type]
            else:
                return None
            if tag < 8 or offset > len(data):
                return None
            fields.append((tag, data[start:offset]))
    except IndexError:
        return None
    return fields


def _joined(fields: list[tuple[int, bytes]]) -> bytes:
    def record(tag: int, body: bytes) -> bytes:
        length = varint(len(body)) if tag & 7 == LENGTH_DELIMITED else b""
        return varint(tag) + length + body

    return b"".join(record(tag, body) for tag, body in fields)


def _change_a_field(data: bytes, rng: random.Random) -> bytes:
    """One field deleted, duplicated, moved, split, renumbered or changed, at any depth."""
    fields = _fields(data)
    if not fields:
        return _change_a_byte(data, rng)
    index = rng.randrange(len(fields))
    tag, body = fields[index]
    if tag & 7 == LENGTH_DELIMITED and body and rng.random() < _NESTED_PROBABILITY:
        fields[index] = (tag, _change_a_field(body, rng))
        return _joined(fields)
    match rng.randrange(7):
        case 0:
            del fields[index]
        case 1:
            fields.insert(rng.randint(0, len(fields)), (tag, body))
        case 2:
            fields.insert(rng.randrange(len(fields)), fields.pop(index))
        case 3:
            fields[index] = (rng.randint(1, 14) << 3 | tag & 7, body)
        case 4:
            fields[index] = (tag, _edge_body(tag & 7, rng))
        case 5 if tag & 7 == LENGTH_DELIMITED:
            middle = rng.randint(0, len(body))
            fields[index : index + 1] = [(tag, body[:middle]), (tag, body[middle:])]
        case _:
            fields[index] = _edge_field(tag >> 3, rng)
    return _joined(fields)


def _edge_body(wire_type: int, rng: random.Random) -> bytes:
    if wire_type == VARINT:
        return varint(rng.choice((0, 1, 2, 3, 2**32 - 1, 2**32, 2**63, 2**64 - 1)))
    if wire_type in _SIZES:
        return rng.choice((b"\0", b"\x01", b"\xff")) * _SIZES[wire_type]
    return rng.choice((b"", b"\xff", b"\0", b"\x0a\x00", b"\xed\xa0\x80"))


def _edge_field(number: int, rng: random.Random) -> tuple[int, bytes]:
    """The field with any wire type."""
    wire_type = rng.choice((VARINT, FIXED64, LENGTH_DELIMITED, FIXED32))
    return number << 3 | wire_type, _edge_body(wire_type, rng)


def _change_a_byte(data: bytes, rng: random.Random) -> bytes:
    """One bit flipped, one byte set, inserted or deleted, the end cut off, or a slice repeated."""
    edge = bytes([rng.choice(_EDGE_BYTES)])
    if not data:
        return edge
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randint(1, 12))
    before, byte, after = data[:start], data[start : start + 1], data[start + 1 :]
    changed = (
        before + bytes([byte[0] ^ 1 << rng.randrange(8)]) + after,
        before + edge + after,
        before + edge + byte + after,
        before + after,
        before,
        data[:end] + data[start:end] + data[end:],
    )
    return rng.choice(changed)


_CHANGES: Final = (_change_a_byte, _change_a_field, _change_a_field)


def damage(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one change."""
    return rng.choice(_CHANGES)(data, rng)


@st.composite
def mutated_bytes(
    draw: st.DrawFn, encodings: st.SearchStrategy[bytes], max_changes: int = 4
) -> bytes:
    """One of the encodings with one to `max_changes` changes."""
    data = draw(encodings)
    rng = random.Random(draw(st.integers(0, 2**20)))
    changes: list[Callable[[bytes, random.Random], bytes]] = draw(
        st.lists(
            st.sampled_from(_CHANGES),
            min_size=1,
            max_size=max_changes,
        )
    )
    for change in changes:
        data = change(data, rng)
    return data
