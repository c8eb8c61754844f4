"""What is known of the spool without reading its file: counts, watermarks and digests."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from exporter.spool.entry import Entry

_ROW_BYTES: Final = 128
"""Bytes that a request counts in addition to its compressed data: its row and its digest."""

# Released requests are deleted from the arrays when they are at least this many and half of all,
# which keeps the cost per request constant.
_MIN_RELEASED_TO_COMPACT: Final = 1024


class SpoolState:
    """Counts, watermarks and digests of one spool, in memory.

    Any thread may read the attributes at any time. Each is replaced as a whole, so a reader sees
    a value from before or after a change. Any thread may call any method. Only `load` and
    `replace_pending` wait for a disk, when they read the rows that they are given.

    Args:
        max_bytes: the spool is full when this many bytes are pending.
        max_digests: see `DigestCache`.

    Attributes:
        receiver_id: the random name of the spool in the database's ledger, made with the file.
        last_sequence: the largest sequence that was ever appended, 0 when none was; never falls.
        released_sequence: everything up to it is stored by the backend.
        pending_requests: how many requests are not released.
        pending_entries: data points in them.
        pending_bytes: their size: compressed data, and 128 bytes each for row and digest.
        oldest_received_unix_nano: when the first of them arrived, None when none is pending.
        is_full: whether `Spool.append` would raise SpoolFullError.
        digests: of pending requests, and of those that were stored within the retry window.
        damaged_files: how many damaged files were renamed.
        lost_entries: pending data points that could not be read again after damage. Where damage
            is found at start, the number of data points that the file had is unknown, so none of
            them counts.
    """

    def __init__(self, max_bytes: int, max_digests: int) -> None:
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._max_digests = max_digests
        self._pending = PendingIndex()
        self.receiver_id = ""
        self.last_sequence = 0
        self.released_sequence = 0
        self.digests = DigestCache(max_digests)
        self.damaged_files = 0
        self.lost_entries = 0
        self._publish_pending()

    def load(
        self,
        receiver_id: str,
        released_sequence: int,
        digests: Iterable[tuple[int, int, bytes]],
        pending: Iterable[tuple[int, int, int, int, bytes]],
    ) -> None:
        """Replace everything but `damaged_files` and `lost_entries`.

        Args:
            receiver_id: see the attributes.
            released_sequence: see the attributes.
            digests: (sequence, received_unix_nano, digest) of requests that are gone, in order.
            pending: (sequence, received_unix_nano, entries, size of data in bytes, digest) of the
                others, in order.
        """
        last_sequence = released_sequence
        index, cache = PendingIndex(), DigestCache(self._max_digests)
        for sequence, received_unix_nano, digest in digests:
            cache.add(sequence, received_unix_nano, digest)
        for sequence, received_unix_nano, entries, data_bytes, digest in pending:
            index.add(sequence, received_unix_nano, entries, data_bytes)
            cache.add(sequence, received_unix_nano, digest)
            last_sequence = sequence
        with self._lock:
            self.receiver_id = receiver_id
            self.last_sequence = last_sequence
            self.released_sequence = released_sequence
            self.digests = cache
            self._pending = index
            self._publish_pending()

    def replace_pending(self, pending: Iterable[tuple[int, int, int, int, bytes]]) -> None:
        """Count only these rows, as in `load`; the data points that are missing count as lost.

        Digests stay: a request that is lost was acknowledged, and is not taken a second time.
        """
        index = PendingIndex()
        for sequence, received_unix_nano, entries, data_bytes, _ in pending:
            index.add(sequence, received_unix_nano, entries, data_bytes)
        with self._lock:
            index.release(self.released_sequence)
            self.lost_entries += self._pending.entries - index.entries
            self._pending = index
            self._publish_pending()

    def add(self, entries: Sequence[Entry]) -> None:
        """Count a group that is on disk."""
        with self._lock:
            for entry in entries:
                sequence, received_unix_nano = entry.sequence, entry.received_unix_nano
                self._pending.add(sequence, received_unix_nano, entry.entries, len(entry.data))
                self.digests.add(sequence, received_unix_nano, entry.digest)
            self.last_sequence = entries[-1].sequence
            self._publish_pending()

    def release(self, sequence: int) -> None:
        """Stop counting everything up to this sequence.

        Raises:
            ValueError: it is beyond the last.
        """
        with self._lock:
            if sequence > self.last_sequence:
                raise ValueError(f"release of {sequence}, and the last is {self.last_sequence}")
            self._release(sequence)

    def advance_to(self, sequence: int) -> int:
        """Release up to this sequence, and continue after it where it is beyond the last.

        Returns:
            How many data points fewer are pending.
        """
        with self._lock:
            before = self.pending_entries
            self.last_sequence = max(self.last_sequence, sequence)
            self._release(sequence)
            return before - self.pending_entries

    def expire_digests(self, before_unix_nano: int) -> None:
        """Remove the digests of released requests that arrived before this time."""
        with self._lock:
            self.digests.expire(before_unix_nano, self.released_sequence)

    def _release(self, sequence: int) -> None:
        self._pending.release(sequence)
        self.released_sequence = max(self.released_sequence, sequence)
        self._publish_pending()

    def _publish_pending(self) -> None:
        pending = self._pending
        self.pending_requests = pending.requests
        self.pending_entries = pending.entries
        self.pending_bytes = pending.bytes
        self.oldest_received_unix_nano = pending.oldest_received_unix_nano
        self.is_full = pending.bytes >= self._max_bytes


class PendingIndex:
    """The requests that are not released, oldest first. Not thread-safe.

    It takes 32 bytes a request, in arrays: a long outage with small requests may leave millions.
    """

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
        """How many requests are pending."""
        return len(self._sequences) - self._first

    @property
    def oldest_received_unix_nano(self) -> int | None:
        """When the first of them arrived, None when none is pending."""
        return self._received_unix_nano[self._first] if self.requests else None

    def add(self, sequence: int, received_unix_nano: int, entries: int, data_bytes: int) -> None:
        """Count one more request; its sequence is larger than all before."""
        self._sequences.append(sequence)
        self._received_unix_nano.append(received_unix_nano)
        self._entries.append(entries)
        self._bytes.append(data_bytes + _ROW_BYTES)
        self.entries += entries
        self.bytes += data_bytes + _ROW_BYTES

    def release(self, sequence: int) -> None:
        """Stop counting all up to this sequence."""
        first, end = self._first, bisect_right(self._sequences, sequence, lo=self._first)
        self.entries -= sum(self._entries[first:end])
        self.bytes -= sum(self._bytes[first:end])
        self._first = end
        if end >= _MIN_RELEASED_TO_COMPACT and end * 2 >= len(self._sequences):
            for column in (self._sequences, self._received_unix_nano, self._entries, self._bytes):
                del column[:end]
            self._first = 0


class DigestCache:
    """Digests of the latest requests, for recognizing a request that is sent again.

    Any thread may ask `in` at any time; the methods need a lock of the caller's.

    Args:
        max_digests: how many are kept, about 240 bytes each; the oldest are evicted first.

    Attributes:
        evicted_sequence: the digests up to this sequence were removed.
    """

    def __init__(self, max_digests: int) -> None:
        self._max_digests = max_digests
        self._newest: dict[bytes, int] = {}  # digest -> sequence
        self._in_order: deque[tuple[int, int, bytes]] = deque()
        self.evicted_sequence = 0

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._newest

    def add(self, sequence: int, received_unix_nano: int, digest: bytes) -> None:
        """Add one more digest; its sequence is larger than all before."""
        self._newest[digest] = sequence
        self._in_order.append((sequence, received_unix_nano, digest))
        if len(self._in_order) > self._max_digests:
            self._evict_oldest()

    def expire(self, before_unix_nano: int, released_sequence: int) -> None:
        """Remove those that arrived before this time, and no later than the released sequence."""
        while self._in_order:
            sequence, received_unix_nano, _ = self._in_order[0]
            if sequence > released_sequence or received_unix_nano >= before_unix_nano:
                return
            self._evict_oldest()

    def _evict_oldest(self) -> None:
        sequence, _, digest = self._in_order.popleft()
        # The same digest may have been added again later.
        if self._newest[digest] == sequence:
            del self._newest[digest]
        self.evicted_sequence = sequence
