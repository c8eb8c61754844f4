"""When to cut a batch: pure, with the clock as an argument; no thread and no lock.

As OpenTelemetry's batch processors: due at `batch_size` entries, or `batch_interval_seconds`
after the first one. What has gathered while the writer was busy goes out as one larger batch,
because one large transaction costs the database less than many small ones, so load makes batches
larger instead of queues longer. That ends where a batch would take too much memory: a million
points that waited for a database took 180 MiB to write at once.
"""

from __future__ import annotations

from exporter.model import Batch

__all__ = ["Batcher"]


class Batcher:
    """Gathers batches until they are due.

    Args:
        batch_size: entries (data points) that make a batch due at once.
        batch_interval_seconds: longest wait of the first entry.
        max_batch_entries: entries and definitions of series after which a batch is cut; a request
            stays whole. None for any number.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        batch_interval_seconds: float,
        max_batch_entries: int | None = None,
    ) -> None:
        self._batch_size = batch_size
        self._interval_seconds = batch_interval_seconds
        self._max_batch_entries = max_batch_entries
        self._parts: list[Batch] = []
        self._entries = 0
        self._first_at = 0.0

    @property
    def entries(self) -> int:
        """Data points that wait."""
        return self._entries

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, not even definitions of series."""
        return not self._parts

    def add(self, batch: Batch, now: float) -> None:
        """Gather what one request brought; `now` is in seconds of any steady clock."""
        entries = batch.entries
        if not entries and not batch.new_series:
            return
        if not self._parts:
            self._first_at = now
        self._parts.append(batch)
        self._entries += entries

    def due_in_seconds(self, now: float) -> float | None:
        """How long until a batch is due: 0 when it is, None when nothing waits."""
        if not self._parts:
            return None
        if self._entries >= self._batch_size:
            return 0.0
        return max(0.0, self._first_at + self._interval_seconds - now)

    def drain(self) -> Batch | None:
        """What was gathered first as one batch, None when nothing waits.

        All of it, unless that is more than a batch may have: then what is left is due at once.
        """
        if not self._parts:
            return None
        parts = self._parts[: self._parts_of_a_batch()]
        del self._parts[: len(parts)]
        batch = Batch.merge(parts)
        self._entries -= batch.entries
        return batch

    def _parts_of_a_batch(self) -> int:
        most = self._max_batch_entries
        if most is None:
            return len(self._parts)
        size = 0
        for place, part in enumerate(self._parts):
            size += part.entries + len(part.new_series)
            if place and size > most:
                return place
        return len(self._parts)
