"""Keeps a request from its acknowledgement until the backend has committed it.

`SpoolDurability` keeps it on disk, so that no acknowledged request is lost. `MemoryDurability`
keeps it in memory only, for the backend memory and for `spool: off`.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from exporter.errors import QueueFullError
from exporter.pipeline.queue import Queue
from exporter.spool import DigestCache, Entry, Spool, compress
from exporter.time_units import NANOSECONDS_PER_SECOND

_MAX_DIGESTS: Final = 100_000


class MonotonicWallClock:
    """The time of day at construction, advanced by the monotonic clock.

    The spool lives by it. A system clock that is set forward by a day must not make the receiver
    forget the digests of recent requests, nor take a new request for one that has waited too long.
    """

    def __init__(self) -> None:
        self._offset_nano = time.time_ns() - time.monotonic_ns()

    def unix_nano(self) -> int:
        """Nanoseconds since 1970."""
        return time.monotonic_ns() + self._offset_nano


class Durability(Protocol):
    """Keeps requests, and recognises their bytes.

    `next_sequence` is called with the queue's lock held, `append` by one thread at a time, the
    others by any thread.
    """

    @property
    def writer_id(self) -> str:
        """Names the sequence of requests in the backend's ledger.

        It changes at most once, with the queue's lock held, before the first write.
        """

    def encode(self, data: bytes) -> bytes:
        """Encodes the bytes of a request for storage."""

    def next_sequence(self) -> int:
        """The sequence of the next request; larger each time, after a restart too."""

    def is_known(self, digest: bytes) -> bool:
        """Whether a request of the same bytes was taken within the retry window."""

    def check_capacity(self) -> None:
        """Check that one more request can be kept.

        Raises:
            QueueFullError: it cannot.
        """

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep these requests; when it returns they may be acknowledged.

        Raises:
            ExporterError: none of them is kept.
        """

    def release(self, sequence: int) -> None:
        """Let requests up to this one be deleted: the backend has them."""

    def compact(self) -> None:
        """Delete what is released, and digests older than the retry window."""

    def gauges(self) -> Mapping[str, float]:
        """The spool gauges of `Snapshot`, by attribute name."""


class MemoryDurability:
    """Keeps nothing on disk: what is acknowledged is lost with the process.

    Args:
        queue: where all requests wait.
        location: of the backend, for messages.
        clock: that of the entries.
        retry_window_seconds: how long the digest of a request is remembered.
    """

    def __init__(
        self, queue: Queue, location: str, clock: MonotonicWallClock, *, retry_window_seconds: float
    ) -> None:
        self.writer_id = str(uuid.uuid4())
        self._queue = queue
        self._location = location
        self._clock = clock
        self._window_nano = round(retry_window_seconds * NANOSECONDS_PER_SECOND)
        self._sequence = 0
        self._digests_lock = threading.Lock()
        self._digests = DigestCache(_MAX_DIGESTS)

    def encode(self, data: bytes) -> bytes:
        """The bytes themselves."""
        return data

    def next_sequence(self) -> int:
        """See `Durability`."""
        self._sequence += 1
        return self._sequence

    def is_known(self, digest: bytes) -> bool:
        """See `Durability`."""
        return digest in self._digests

    def check_capacity(self) -> None:
        """See `Durability`."""
        queue = self._queue
        if queue.is_full:
            raise QueueFullError(
                f"{queue.memory_entries} data points wait for {self._location} "
                f"(max_queued_entries {queue.max_entries}); send again later"
            )

    def append(self, entries: Sequence[Entry]) -> None:
        """See `Durability`."""
        with self._digests_lock:
            for entry in entries:
                self._digests.add(entry.sequence, entry.received_unix_nano, entry.digest)

    def release(self, sequence: int) -> None:
        """See `Durability`."""

    def compact(self) -> None:
        """See `Durability`."""
        with self._digests_lock:
            self._digests.expire(self._clock.unix_nano() - self._window_nano, self._sequence)

    def gauges(self) -> Mapping[str, float]:
        """See `Durability`."""
        return {}


class SpoolDurability:
    """Keeps requests in the spool.

    Args:
        spool: started before the first call.
        clock: that of the entries.
        max_age_seconds: while the oldest waiting request is older, no more are taken.
    """

    def __init__(self, spool: Spool, clock: MonotonicWallClock, *, max_age_seconds: float) -> None:
        self._spool = spool
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._sequence = 0

    @property
    def writer_id(self) -> str:
        """See `Durability`."""
        return self._spool.state.receiver_id

    def encode(self, data: bytes) -> bytes:
        """The bytes, compressed."""
        return compress(data)

    def next_sequence(self) -> int:
        """See `Durability`."""
        self._sequence = max(self._sequence, self._spool.state.last_sequence) + 1
        return self._sequence

    def is_known(self, digest: bytes) -> bool:
        """See `Durability`."""
        return digest in self._spool.state.digests

    def check_capacity(self) -> None:
        """See `Durability`."""
        spool = self._spool
        if spool.state.is_full:
            raise QueueFullError(
                f"{spool.state.pending_bytes >> 20} MiB of requests wait in {spool.path} "
                "(spool_max_size_mib); send again later"
            )
        age_seconds = self._oldest_age_seconds()
        if age_seconds > self._max_age_seconds:
            raise QueueFullError(
                f"requests have waited in {spool.path} for {age_seconds:.0f} s, longer than "
                f"{self._max_age_seconds:g} s (spool_max_age_seconds); send again later"
            )

    def append(self, entries: Sequence[Entry]) -> None:
        """See `Durability`."""
        self._spool.append(entries)

    def release(self, sequence: int) -> None:
        """See `Durability`."""
        self._spool.release(sequence)

    def compact(self) -> None:
        """See `Durability`."""
        self._spool.compact(self._clock.unix_nano())

    def gauges(self) -> Mapping[str, float]:
        """See `Durability`."""
        return {
            "spool_requests": self._spool.state.pending_requests,
            "spool_bytes": self._spool.state.pending_bytes,
            "spool_age_seconds": self._oldest_age_seconds(),
        }

    def _oldest_age_seconds(self) -> float:
        oldest = self._spool.state.oldest_received_unix_nano
        if oldest is None:
            return 0.0
        return max(self._clock.unix_nano() - oldest, 0) / NANOSECONDS_PER_SECOND
