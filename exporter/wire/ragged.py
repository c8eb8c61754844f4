"""Lists of numbers, one of each message, read and summed all at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporter.model import Int64Array
from exporter.wire.buffer import Bits, Buffer
from exporter.wire.sweep import Spans

__all__ = ["Ragged", "packed_fixed64", "packed_varints"]

_FIXED_BYTES: Final = 8
_MORE: Final = 0x80
_LOW_BITS: Final = 0x7F
_SHIFT: Final = 7
# Of a varint: 63 bits.
_LONGEST_VARINT: Final = 9
# Numbers below this cannot overflow where fewer than 2**20 of them are added.
_SUMMABLE: Final = 1 << 40
_MOST_SUMMED: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Ragged:
    """Lists of different lengths.

    Attributes:
        flat: all their numbers.
        sizes: how many each list has.
    """

    flat: Int64Array
    sizes: Int64Array

    def sums(self) -> tuple[Int64Array, Bits]:
        """The sum of each list, and whether it can be relied on: its numbers are not too large."""
        ends = np.cumsum(self.sizes)
        sums = _sums(self.flat, ends, self.sizes)
        sound = self.sizes < _MOST_SUMMED
        # As numbers without a sign those below zero are large.
        unsigned = self.flat.view(np.uint64)
        if unsigned.max(initial=0) >= _SUMMABLE:
            odd = np.flatnonzero(unsigned >= _SUMMABLE)
            sound[np.searchsorted(ends, odd, side="right")] = False
        return sums, sound

    def tuples(self) -> list[tuple[int, ...]]:
        """The lists as tuples."""
        numbers = self.flat.tolist()
        ends = np.cumsum(self.sizes)
        starts = (ends - self.sizes).tolist()
        return [tuple(numbers[start:end]) for start, end in zip(starts, ends.tolist(), strict=True)]


def packed_fixed64(buffer: Buffer, start: Int64Array, end: Int64Array) -> tuple[Ragged, Bits]:
    """The packed fixed64 numbers at start:end of each message, and whether these are such."""
    sizes, rest = np.divmod(end - start, _FIXED_BYTES)
    return Ragged(buffer.joined(start, end - rest).view("<i8"), sizes), rest == 0


def packed_varints(buffer: Buffer, spans: Spans, messages: int) -> tuple[Ragged, Bits]:
    """The packed varints of each message, and whether they could be read.

    Args:
        buffer: what they stand in.
        spans: where; those of one message follow each other.
        messages: how many there are; those without a span have no numbers.
    """
    sound = np.ones(messages, np.bool_)
    # A varint that is cut off would run on into the next message.
    is_whole = buffer.bytes[spans.end - 1] < _MORE
    sound[spans.message[~is_whole]] = False
    end = np.where(is_whole, spans.end, spans.start)
    data = buffer.joined(spans.start, end)
    numbers, too_long = _varints(data)
    span_ends = np.cumsum(end - spans.start)
    sound[spans.message[np.searchsorted(span_ends, too_long, side="right")]] = False
    sizes = _sums(data < _MORE, span_ends, end - spans.start)
    # Weights make it floats, which hold every count of bytes exactly.
    of_messages = np.bincount(spans.message, sizes, minlength=messages).astype(np.int64)
    return Ragged(numbers, of_messages), sound


def _varints(data: npt.NDArray[np.uint8]) -> tuple[Int64Array, Int64Array]:
    """Varints that follow each other: their numbers, and where one is too long to be read."""
    goes_on = data >= _MORE
    is_first = np.ones(len(data), np.bool_)
    is_first[1:] = ~goes_on[:-1]
    places = np.flatnonzero(is_first)
    first = data[places]
    numbers = (first & _LOW_BITS).astype(np.int64)
    # Few have a second byte, fewer a third.
    longer = np.flatnonzero(first >= _MORE)
    at = places[longer]
    shift = _SHIFT
    while len(longer) and shift < _SHIFT * _LONGEST_VARINT:
        at = at + 1
        byte = data[at]
        numbers[longer] |= (byte & _LOW_BITS).astype(np.int64) << shift
        more = byte >= _MORE
        longer, at = longer[more], at[more]
        shift += _SHIFT
    return numbers, at[: len(longer)]


def _sums(flat: npt.NDArray[Any], ends: Int64Array, sizes: Int64Array) -> Int64Array:
    """The sum of each list of numbers or truths."""
    sums = np.zeros(len(sizes), np.int64)
    filled = np.flatnonzero(sizes)
    if len(filled):
        sums[filled] = np.add.reduceat(flat, (ends - sizes)[filled], dtype=np.int64)
    return sums
