"""Bytes out of which numpy reads a number, or a piece, of a thousand messages at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.model import Int64Array

__all__ = ["PADDING", "Bits", "Buffer"]

Bits = npt.NDArray[np.bool_]

# Follows every buffer, so that reading a number, or a record of this size, never ends behind it.
PADDING: Final = bytes(512)
_MORE: Final = 0x80
_LOW_BITS: Final = 0x7F
_SHIFT: Final = 7
# Nine bytes hold 63 bits. The tenth, which only numbers below zero need, is not read.
_LONGEST_SHIFT: Final = 63
_FIXED_BYTES: Final = 8
# Slices of one size are cut by numpy, at a fourth of the time; each size costs what 80 of them do.
_FEW_SIZES: Final = 4


class Buffer:
    """Bytes to read numbers from.

    Attributes:
        data: all bytes, ending in `PADDING`.
        bytes: the same as an array.
    """

    __slots__ = ("_doubles", "_words", "bytes", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes = np.frombuffer(data, np.uint8)
        # Every eight bytes as a number, without a copy.
        places = (len(data) - _FIXED_BYTES + 1,)
        self._words: Int64Array = np.ndarray(places, "<i8", data, 0, (1,))
        self._doubles: npt.NDArray[np.float64] = np.ndarray(places, "<f8", data, 0, (1,))

    def words(self, places: Int64Array) -> Int64Array:
        """The fixed64 at each place; those of 2**63 and more come out below zero."""
        return self._words[places]

    def doubles(self, places: Int64Array) -> npt.NDArray[np.float64]:
        """The double at each place."""
        return self._doubles[places]

    def slices(self, start: Int64Array, end: Int64Array) -> list[bytes]:
        """The bytes from each start to its end."""
        data, sizes = self.data, end - start
        of_each = np.unique(sizes).tolist()
        if len(of_each) > _FEW_SIZES:
            return [data[at:to] for at, to in zip(start.tolist(), end.tolist(), strict=True)]
        found = np.full(len(sizes), b"", np.object_)
        for size in filter(None, of_each):
            places = np.flatnonzero(sizes == size)
            found[places] = self._records(start[places], size).tolist()
        return list(found.tolist())

    def joined(self, start: Int64Array, end: Int64Array) -> npt.NDArray[np.uint8]:
        """The bytes from each start to its end, one after the other."""
        sizes = end - start
        size = int(sizes[0]) if len(sizes) else 0
        if size == 0 or (sizes != size).any():
            return np.frombuffer(b"".join(self.slices(start, end)), np.uint8)
        # All of one size, as the buckets of explicit histograms mostly are: a fifth of the time.
        return self._records(start, size).view(np.uint8)

    def rows(self, start: Int64Array, size_bytes: int) -> npt.NDArray[np.uint8]:
        """As many bytes from each start, as a row of a matrix."""
        return self._records(start, size_bytes).view(np.uint8).reshape(len(start), size_bytes)

    def are_alike(self, start: Int64Array, end: Int64Array) -> bool:
        """Whether the bytes from each start to its end are the same everywhere."""
        sizes = end - start
        size = int(sizes[0])
        if (sizes != size).any():
            return False
        joined = self.joined(start, end)
        return bool((joined[size:] == joined[: len(joined) - size]).all())

    def _records(self, start: Int64Array, size_bytes: int) -> npt.NDArray[np.void]:
        places = (len(self.data) - size_bytes + 1,)
        records = np.ndarray(places, np.dtype((np.void, size_bytes)), self.data, 0, (1,))
        return records[start]

    def varints(self, places: Int64Array) -> tuple[Int64Array, Int64Array, Bits]:
        """The varint at each place: its number, where it ends, and whether it was readable."""
        byte = self.bytes[places]
        more = byte >= _MORE
        if not more.any():
            return byte.astype(np.int64), places + 1, ~more
        number, end, shift = (byte & _LOW_BITS).astype(np.int64), places + 1, _SHIFT
        while shift < _LONGEST_SHIFT and more.any():
            byte = self.bytes[end] * more
            number |= (byte & _LOW_BITS).astype(np.int64) << shift
            end = end + more
            more = byte >= _MORE
            shift += _SHIFT
        return number, end, ~more
