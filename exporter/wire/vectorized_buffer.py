"""Reads numbers, slices and packed lists of a thousand messages at once out of one buffer.

Everything is numpy; nothing here knows OTLP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from exporter.model import Int64Array

BoolArray = npt.NDArray[np.bool_]
_Parsed = TypeVar("_Parsed")

# Ends every buffer, so that reading a number, or a record of this size, never reads past the end.
PADDING: Final = bytes(512)
# A varint byte: the highest bit says that another byte follows, the others are the number.
_CONTINUATION_BIT: Final = 0x80
_PAYLOAD_BITS: Final = 0x7F
_PAYLOAD_BIT_COUNT: Final = 7
# Nine bytes hold 63 bits. The tenth byte, which only negative numbers need, is not read.
_MAX_SHIFT: Final = 63
_FIXED_BYTES: Final = 8
# Numpy cuts slices of one size in a fourth of the time of Python; each size costs as much as
# cutting 80 slices in Python.
_MAX_SIZES_CUT_BY_NUMPY: Final = 4
# Fewer than 2**20 numbers below 2**40 cannot overflow 64 bits when they are added.
_MAX_SUMMED_NUMBER: Final = 1 << 40
_MAX_SUMMED_COUNT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Spans:
    """Repeated sub-messages: the index of the message that each is in, and its offsets."""

    message: Int64Array
    start: Int64Array
    end: Int64Array

    def __len__(self) -> int:
        return len(self.message)


class ParseCache(dict[bytes, _Parsed]):
    """Results by their bytes, for values that repeat; a missing one is parsed at first look-up."""

    def __init__(self, parse: Callable[[bytes], _Parsed]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, raw: bytes) -> _Parsed:
        parsed = self[raw] = self._parse(raw)
        return parsed


class ByteBuffer:
    """Bytes to read from.

    Attributes:
        data: all bytes, ending in `PADDING`.
        bytes: the same bytes as an array.
    """

    __slots__ = ("_doubles", "_int64s", "bytes", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes = np.frombuffer(data, np.uint8)
        # The eight bytes at every offset as one number: overlapping views, no copies.
        offsets = (len(data) - _FIXED_BYTES + 1,)
        self._int64s: Int64Array = np.ndarray(offsets, "<i8", data, 0, (1,))
        self._doubles: npt.NDArray[np.float64] = np.ndarray(offsets, "<f8", data, 0, (1,))

    def int64s(self, offsets: Int64Array) -> Int64Array:
        """The fixed64 at each offset; numbers of 2**63 and more are negative here."""
        return self._int64s[offsets]

    def doubles(self, offsets: Int64Array) -> npt.NDArray[np.float64]:
        """The double at each offset."""
        return self._doubles[offsets]

    def slices(self, start: Int64Array, end: Int64Array) -> list[bytes]:
        """The bytes from each start to its end."""
        data, sizes = self.data, end - start
        distinct_sizes = np.unique(sizes).tolist()
        if len(distinct_sizes) > _MAX_SIZES_CUT_BY_NUMPY:
            return [data[at:to] for at, to in zip(start.tolist(), end.tolist(), strict=True)]
        slices = np.full(len(sizes), b"", np.object_)
        for size in filter(None, distinct_sizes):
            of_size = np.flatnonzero(sizes == size)
            slices[of_size] = self._records(start[of_size], size).tolist()
        return list(slices.tolist())

    def concatenated(self, start: Int64Array, end: Int64Array) -> npt.NDArray[np.uint8]:
        """The bytes from each start to its end, one slice after the other."""
        sizes = end - start
        size = int(sizes[0]) if len(sizes) else 0
        if size == 0 or (sizes != size).any():
            return np.frombuffer(b"".join(self.slices(start, end)), np.uint8)
        # Slices of one size, as the buckets of explicit histograms mostly are: a fifth of the time.
        return self._records(start, size).view(np.uint8)

    def matrix(self, start: Int64Array, row_bytes: int) -> npt.NDArray[np.uint8]:
        """As many bytes from each start, one row for each."""
        return self._records(start, row_bytes).view(np.uint8).reshape(len(start), row_bytes)

    def all_equal(self, start: Int64Array, end: Int64Array) -> bool:
        """Whether the slices from each start to its end all have the same bytes."""
        sizes = end - start
        size = int(sizes[0])
        if (sizes != size).any():
            return False
        joined = self.concatenated(start, end)
        return bool((joined[size:] == joined[: len(joined) - size]).all())

    def _records(self, start: Int64Array, size_bytes: int) -> npt.NDArray[np.void]:
        offsets = (len(self.data) - size_bytes + 1,)
        records = np.ndarray(offsets, np.dtype((np.void, size_bytes)), self.data, 0, (1,))
        return records[start]

    def varints(self, offsets: Int64Array) -> tuple[Int64Array, Int64Array, BoolArray]:
        """The varint at each offset: its number, its end, and whether it has at most 63 bits."""
        byte = self.bytes[offsets]
        continues = byte >= _CONTINUATION_BIT
        if not continues.any():
            return byte.astype(np.int64), offsets + 1, ~continues
        number, end = (byte & _PAYLOAD_BITS).astype(np.int64), offsets + 1
        shift = _PAYLOAD_BIT_COUNT
        while shift < _MAX_SHIFT and continues.any():
            byte = self.bytes[end] * continues
            number |= (byte & _PAYLOAD_BITS).astype(np.int64) << shift
            end = end + continues
            continues = byte >= _CONTINUATION_BIT
            shift += _PAYLOAD_BIT_COUNT
        return number, end, ~continues


@dataclass(frozen=True, slots=True)
class RaggedColumn:
    """A column of lists of different lengths.

    Attributes:
        numbers: the numbers of all lists, one list after the other.
        sizes: how many numbers each list has.
    """

    numbers: Int64Array
    sizes: Int64Array

    def sums(self) -> tuple[Int64Array, BoolArray]:
        """The sum of each list, and whether it is exact. Sums of large numbers may be inexact."""
        ends = np.cumsum(self.sizes)
        sums = _list_sums(self.numbers, ends, self.sizes)
        exact = self.sizes < _MAX_SUMMED_COUNT
        # As unsigned numbers the negative ones are large too.
        unsigned = self.numbers.view(np.uint64)
        if unsigned.max(initial=0) >= _MAX_SUMMED_NUMBER:
            large = np.flatnonzero(unsigned >= _MAX_SUMMED_NUMBER)
            exact[np.searchsorted(ends, large, side="right")] = False
        return sums, exact

    def tuples(self) -> list[tuple[int, ...]]:
        """The lists as tuples."""
        numbers = self.numbers.tolist()
        ends = np.cumsum(self.sizes)
        starts = (ends - self.sizes).tolist()
        return [tuple(numbers[start:end]) for start, end in zip(starts, ends.tolist(), strict=True)]


def read_packed_fixed64(
    buffer: ByteBuffer, start: Int64Array, end: Int64Array
) -> tuple[RaggedColumn, BoolArray]:
    """The packed fixed64 numbers at start:end of each message, and whether the length is valid."""
    sizes, rest = np.divmod(end - start, _FIXED_BYTES)
    return RaggedColumn(buffer.concatenated(start, end - rest).view("<i8"), sizes), rest == 0


def read_packed_varints(
    buffer: ByteBuffer, spans: Spans, message_count: int
) -> tuple[RaggedColumn, BoolArray]:
    """The packed varints of each message, and whether they could be read.

    Args:
        buffer: the bytes of the messages.
        spans: the packed fields; those of one message follow each other.
        message_count: how many messages there are; those without a span get an empty list.
    """
    valid = np.ones(message_count, np.bool_)
    # A truncated varint would continue in the next message.
    is_complete = buffer.bytes[spans.end - 1] < _CONTINUATION_BIT
    valid[spans.message[~is_complete]] = False
    end = np.where(is_complete, spans.end, spans.start)
    data = buffer.concatenated(spans.start, end)
    numbers, too_long = _read_consecutive_varints(data)
    span_ends = np.cumsum(end - spans.start)
    valid[spans.message[np.searchsorted(span_ends, too_long, side="right")]] = False
    sizes = _list_sums(data < _CONTINUATION_BIT, span_ends, end - spans.start)
    # bincount with weights returns doubles, which hold every count of bytes exactly.
    message_sizes = np.bincount(spans.message, sizes, minlength=message_count).astype(np.int64)
    return RaggedColumn(numbers, message_sizes), valid


def _read_consecutive_varints(data: npt.NDArray[np.uint8]) -> tuple[Int64Array, Int64Array]:
    """The numbers of varints that follow each other, and offsets of those longer than 63 bits."""
    continues = data >= _CONTINUATION_BIT
    is_first = np.ones(len(data), np.bool_)
    is_first[1:] = ~continues[:-1]
    first_offsets = np.flatnonzero(is_first)
    first = data[first_offsets]
    numbers = (first & _PAYLOAD_BITS).astype(np.int64)
    # Only varints with a further byte are read on: few have a second byte, fewer a third.
    longer = np.flatnonzero(first >= _CONTINUATION_BIT)
    offsets = first_offsets[longer]
    shift = _PAYLOAD_BIT_COUNT
    while len(longer) and shift < _MAX_SHIFT:
        offsets = offsets + 1
        byte = data[offsets]
        numbers[longer] |= (byte & _PAYLOAD_BITS).astype(np.int64) << shift
        continues = byte >= _CONTINUATION_BIT
        longer, offsets = longer[continues], offsets[continues]
        shift += _PAYLOAD_BIT_COUNT
    return numbers, offsets[: len(longer)]


def _list_sums(values: npt.NDArray[Any], ends: Int64Array, sizes: Int64Array) -> Int64Array:
    """The sum of each list of numbers or booleans."""
    sums = np.zeros(len(sizes), np.int64)
    filled = np.flatnonzero(sizes)
    if len(filled):
        sums[filled] = np.add.reduceat(values, (ends - sizes)[filled], dtype=np.int64)
    return sums
