"""Damages an encoded request: at any byte, or field by field with the lengths around it kept right.

Damage to bytes is mostly noticed at once; damage to whole fields leaves a readable message that
says something else, which is where two decoders can differ unnoticed.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from kit.otlp.encode import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, varint

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["damaged", "mutated_bytes"]

_SIZES: Final = {FIXED64: 8, FIXED32: 4}
_CHANCE_TO_GO_DEEPER: Final = 0.75
_NASTY_BYTES: Final = (0x00, 0x01, 0x08, 0x0A, 0x7F, 0x80, 0x81, 0xC0, 0xFF)


def _varint_at(data: bytes, offset: int) -> tuple[int, int]:
    """A varint's value and where it ends; IndexError where the bytes end first."""
    number = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, offset


def _fields(data: bytes) -> list[tuple[int, bytes]] | None:
    """(tag, body) of each field, or None where the bytes are not a message that could be one."""
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
    """One field dropped, doubled, moved, cut, emptied, renumbered or changed, at any depth."""
    fields = _fields(data)
    if not fields:
        return _change_a_byte(data, rng)
    place = rng.randrange(len(fields))
    tag, body = fields[place]
    if tag & 7 == LENGTH_DELIMITED and body and rng.random() < _CHANCE_TO_GO_DEEPER:
        fields[place] = (tag, _change_a_field(body, rng))
        return _joined(fields)
    match rng.randrange(7):
        case 0:
            del fields[place]
        case 1:
            fields.insert(rng.randint(0, len(fields)), (tag, body))
        case 2:
            fields.insert(rng.randrange(len(fields)), fields.pop(place))
        case 3:
            fields[place] = (rng.randint(1, 14) << 3 | tag & 7, body)
        case 4:
            fields[place] = (tag, _nasty_body(tag & 7, rng))
        case 5 if tag & 7 == LENGTH_DELIMITED:
            middle = rng.randint(0, len(body))
            fields[place : place + 1] = [(tag, body[:middle]), (tag, body[middle:])]
        case _:
            fields[place] = _nasty_field(tag >> 3, rng)
    return _joined(fields)


def _nasty_body(wire_type: int, rng: random.Random) -> bytes:
    if wire_type == VARINT:
        return varint(rng.choice((0, 1, 2, 3, 2**32 - 1, 2**32, 2**63, 2**64 - 1)))
    if wire_type in _SIZES:
        return rng.choice((b"\0", b"\x01", b"\xff")) * _SIZES[wire_type]
    return rng.choice((b"", b"\xff", b"\0", b"\x0a\x00", b"\xed\xa0\x80"))


def _nasty_field(number: int, rng: random.Random) -> tuple[int, bytes]:
    """The field with a wire type that may not be its own."""
    wire_type = rng.choice((VARINT, FIXED64, LENGTH_DELIMITED, FIXED32))
    return number << 3 | wire_type, _nasty_body(wire_type, rng)


def _change_a_byte(data: bytes, rng: random.Random) -> bytes:
    """One byte flipped, set, inserted, deleted, or the end cut off, or a stretch doubled."""
    nasty = bytes([rng.choice(_NASTY_BYTES)])
    if not data:
        return nasty
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randint(1, 12))
    before, byte, after = data[:start], data[start : start + 1], data[start + 1 :]
    changed = (
        before + bytes([byte[0] ^ 1 << rng.randrange(8)]) + after,
        before + nasty + after,
        before + nasty + byte + after,
        before + after,
        before,
        data[:end] + data[start:end] + data[end:],
    )
    return rng.choice(changed)


_CHANGES: Final = (_change_a_byte, _change_a_field, _change_a_field)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one piece of damage."""
    return rng.choice(_CHANGES)(data, rng)


@st.composite
def mutated_bytes(
    draw: st.DrawFn, encodings: st.SearchStrategy[bytes], max_changes: int = 4
) -> bytes:
    """One of the encodings with one to `max_changes` pieces of damage."""
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
