"""How much waits in the spool: counted in memory, so that asking costs no SQL.

32 bytes a request, in arrays: a long outage with small requests may leave millions of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Final

__all__ = ["ROW_BYTES", "Waiting"]

ROW_BYTES: Final = 128
"""What a request counts in bytes beside its compressed data: its row and its digest."""

# Cut off what is behind only when it is at least this much, and half of all: constant cost each.
_CUT_AT: Final = 1024


class Waiting:
    """The requests that are not released, oldest first. Not thread-safe."""

    def __init__(self) -> None:
        self._sequences = array("q")
        self._received_unix_nano = array("q")
        self._entries = array("q")
        self._bytes = array("q")
        self._first = 0
        self.entries = 0
        self.bytes = 0

    @property
    def requests(self) -> int:
        """How many wait."""
        return len(self._sequences) - self._first

    @property
    def oldest_received_unix_nano(self) -> int | None:
        """When the first of them arrived, None when none waits."""
        return self._received_unix_nano[self._first] if self.requests else None

    def add(self, sequence: int, received_unix_nano: int, entries: int, data_bytes: int) -> None:
        """Count one more, whose sequence is larger than all before."""
        self._sequences.append(sequence)
        self._received_unix_nano.append(received_unix_nano)
        self._entries.append(entries)
        self._bytes.append(data_bytes + ROW_BYTES)
        self.entries += entries
        self.bytes += data_bytes + ROW_BYTES

    def release(self, sequence: int) -> None:
        """Count all up to this sequence no longer."""
        first, end = self._first, bisect_right(self._sequences, sequence, lo=self._first)
        self.entries -= sum(self._entries[first:end])
        self.bytes -= sum(self._bytes[first:end])
        self._first = end
        if end >= _CUT_AT and end * 2 >= len(self._sequences):
            for column in (self._sequences, self._received_unix_nano, self._entries, self._bytes):
                del column[:end]
            self._first = 0
