"""What becomes of a request between its answer and its commit in the backend.

Two ways with one face: `SpoolDurability` keeps it on disk, so that nothing that was acknowledged is
lost; `MemoryDurability` keeps it in memory only, for the backend memory and for `spool: off`.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from typing import Final, Protocol

from exporter.errors import QueueFullError
from exporter.pipeline.clock import SteadyClock
from exporter.pipeline.queue import Queue
from exporter.spool import Entry, Spool, compress
from exporter.spool.digests import Digests

__all__ = ["Durability", "MemoryDurability", "SpoolDurability"]

_NANOSECONDS_PER_SECOND: Final = 1_000_000_000
_MOST_DIGESTS: Final = 100_000


class Durability(Protocol):
    """Keeps requests, and knows them again.

    `next_sequence` is called with the queue's lock held, `append` by one thread at a time, the
    others from anywhere.
    """

    @property
    def writer_id(self) -> str:
        """Names the sequence of requests in the backend's ledger.

        It changes, with the queue's lock held, at most once: before the first write.
        """

    def prepare(self, data: bytes) -> bytes:
        """What is to be kept of a request."""

    def next_sequence(self) -> int:
        """The place of the next request; larger each time, also over restarts."""

    def knows(self, digest: bytes) -> bool:
        """Whether a request of these very bytes was taken within the retry window."""

    def check_room(self) -> None:
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
        """All up to this one are in the backend."""

    def tidy(self) -> None:
        """Let go of what is not needed any more."""


class MemoryDurability:
    """Keeps nothing: what is acknowledged is lost with the process.

    Args:
        queue: where everything waits.
        location: of the backend, for messages.
        clock: that of the entries.
        retry_window_seconds: for how long requests are known again.
    """

    def __init__(
        self, queue: Queue, location: str, clock: SteadyClock, *, retry_window_seconds: float
    ) -> None:
        self.writer_id = str(uuid.uuid4())
        self._queue = queue
        self._location = location
        self._clock = clock
        self._window_nano = round(retry_window_seconds * _NANOSECONDS_PER_SECOND)
        self._sequence = 0
        self._changing = threading.Lock()  # the digests, by `append` and by `tidy`
        self._digests = Digests(_MOST_DIGESTS)

    def prepare(self, data: bytes) -> bytes:
        """The request itself."""
        return data

    def next_sequence(self) -> int:
        """See `Durability`."""
        self._sequence += 1
        return self._sequence

    def knows(self, digest: bytes) -> bool:
        """See `Durability`."""
        return digest in self._digests

    def check_room(self) -> None:
        """See `Durability`."""
        queue = self._queue
        if queue.is_full:
            raise QueueFullError(
                f"{queue.held_entries} data points wait for {self._location} "
                f"(max_queued_entries {queue.max_entries}); send again later"
            )

    def append(self, entries: Sequence[Entry]) -> None:
        """See `Durability`."""
        with self._changing:
            for entry in entries:
                self._digests.add(entry.sequence, entry.received_unix_nano, entry.digest)

    def release(self, sequence: int) -> None:
        """See `Durability`."""

    def tidy(self) -> None:
        """See `Durability`."""
        with self._changing:
            self._digests.forget(self._clock.unix_nano() - self._window_nano, self._sequence)


class SpoolDurability:
    """Keeps requests in the spool.

    Args:
        spool: started before the first call.
        clock: that of the entries.
        max_age_seconds: while the oldest request that waits is older, no more are taken.
    """

    def __init__(self, spool: Spool, clock: SteadyClock, *, max_age_seconds: float) -> None:
        self._spool = spool
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._sequence = 0

    @property
    def writer_id(self) -> str:
        """See `Durability`."""
        return self._spool.receiver_id

    def prepare(self, data: bytes) -> bytes:
        """The request, compressed."""
        return compress(data)

    def next_sequence(self) -> int:
        """See `Durability`."""
        self._sequence = max(self._sequence, self._spool.last_sequence) + 1
        return self._sequence

    def knows(self, digest: bytes) -> bool:
        """See `Durability`."""
        return self._spool.known(digest)

    def check_room(self) -> None:
        """See `Durability`."""
        spool = self._spool
        if spool.full:
            raise QueueFullError(
                f"{spool.waiting_bytes >> 20} MiB of requests wait in {spool.path} "
                "(spool_max_size_mib); send again later"
            )
        oldest = spool.oldest_received_unix_nano
        if oldest is not None:
            age_seconds = (self._clock.unix_nano() - oldest) / _NANOSECONDS_PER_SECOND
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

    def tidy(self) -> None:
        """See `Durability`."""
        self._spool.tidy(self._clock.unix_nano())
