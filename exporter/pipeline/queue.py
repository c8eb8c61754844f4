"""Accepted batches on their way from the intake to the writer, in the order of their sequence.

Bounded: with a spool, requests beyond the bound wait there alone and are read back when the writer
comes to them, so that an outage costs disk and not memory. Without a spool the intake refuses.

Nothing here has a thread or reads a clock.
"""

from __future__ import annotations

import threading

from exporter.model import Batch


class Batcher:
    """Gathers batches until one is due; pure, with the clock as an argument.

    As in OpenTelemetry's batch processors, a batch is due at `batch_size` entries, or
    `batch_interval_seconds` after the first one.

    Args:
        batch_size: entries (data points) that make a batch due at once.
        batch_interval_seconds: longest wait of the first entry.
        max_batch_entries: entries and series definitions after which a batch is cut; a request
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
    def is_empty(self) -> bool:
        """Whether nothing waits, not even series definitions."""
        return not self._parts

    def add(self, batch: Batch, now: float) -> None:
        """Gather what one request brought.

        Args:
            batch: one without entries and definitions is left out.
            now: in seconds of any steady clock.
        """
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
        """The oldest parts as one batch, None when nothing waits.

        All parts go into it, because one large transaction costs the database less than many small
        ones: load makes batches larger and not queues longer. `max_batch_entries` bounds it,
        because a million points that had waited for a database took 180 MiB to write at once. The
        parts beyond it are due at once.
        """
        if not self._parts:
            return None
        parts = self._parts[: self._parts_of_next_batch()]
        del self._parts[: len(parts)]
        batch = Batch.merge(parts)
        self._entries -= batch.entries
        return batch

    def _parts_of_next_batch(self) -> int:
        limit = self._max_batch_entries
        if limit is None:
            return len(self._parts)
        size = 0
        for index, part in enumerate(self._parts):
            size += part.entries + len(part.new_series)
            if index and size > limit:
                return index
        return len(self._parts)


class Queue:
    """What was accepted and is not acknowledged by the backend yet.

    Every method is called with `changed` held, which also guards the series cache.

    Args:
        batcher: gathers what is in memory; used by the writer too, with `changed` held.
        max_entries: data points that may wait in memory. A request is taken whole, so the last
            one may pass the bound.
        spooled: whether the spool has what is queued, so that it can be read back from there.

    Attributes:
        changed: notified when there is something new to do or to wait for, and when entries are
            acknowledged.
        replay_after: with a spool: the sequence after which all requests have to be read back from
            the spool. None while everything that waits is in memory.
        last_sequence: of the request that was added last.
        accepted_entries: data points that were ever added.
        acked_entries: of these, stored or given up.
        memory_entries: data points in memory: gathered, or in the batch that is being written.
    """

    def __init__(self, batcher: Batcher, *, max_entries: int, spooled: bool) -> None:
        self.changed = threading.Condition()
        self.batcher = batcher
        self.max_entries = max_entries
        self.replay_after: int | None = None
        self.last_sequence = 0
        self.accepted_entries = 0
        self.acked_entries = 0
        self.memory_entries = 0
        self._spooled = spooled

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in memory, neither data points nor definitions."""
        return not self.memory_entries and self.batcher.is_empty

    @property
    def is_full(self) -> bool:
        """Whether the bound of data points in memory is reached."""
        return self.memory_entries >= self.max_entries

    @property
    def is_all_acked(self) -> bool:
        """Whether everything that was accepted is stored or given up."""
        return self.acked_entries == self.accepted_entries

    def spill(self, entries: int, last_sequence: int) -> None:
        """Leave in the spool everything that it holds, and everything that follows.

        Args:
            entries: data points in the spool.
            last_sequence: of the last request in the spool.
        """
        self.accepted_entries += entries
        self.replay_after, self.last_sequence = 0, last_sequence

    def resume(self, stored_entries: int, *, has_more: bool) -> None:
        """After `spill`: acknowledge the data points that the backend already has.

        Args:
            stored_entries: data points of the spool that are stored.
            has_more: whether others are to be read back.
        """
        self.acked_entries += stored_entries
        if not has_more:
            self.replay_after = None
        self.changed.notify_all()

    def put(self, batch: Batch, now: float, *, spill: bool = False) -> None:
        """Add the batch of one request.

        Args:
            batch: with a spool, its watermark says where its request is there.
            now: in seconds of the batcher's clock.
            spill: whether memory is short, so that it should wait in the spool alone.
        """
        self.accepted_entries += batch.entries
        if self._spooled and batch.watermark is not None:
            if self.replay_after is None and (self.is_full or (spill and self.memory_entries)):
                self.replay_after = batch.watermark.sequence - 1
            self.last_sequence = batch.watermark.sequence
            if self.replay_after is not None:
                # The cache emits each definition only once, so the batch that is read back from the
                # spool does not contain it.
                batch = Batch(new_series=batch.new_series)
        self._add(batch, now)

    def put_definitions(self, batch: Batch, now: float) -> None:
        """Add only the definitions of a request that was refused: later requests rely on them."""
        self._add(Batch(new_series=batch.new_series), now)

    def put_replayed(self, batch: Batch, spooled_entries: int, now: float) -> None:
        """Add the request after `replay_after`, read back from the spool.

        Args:
            batch: with the watermark of its request.
            spooled_entries: data points that it was accepted with.
            now: in seconds of the batcher's clock.
        """
        if batch.watermark is None:
            raise AssertionError("a replayed batch has a watermark")
        self.acked_entries += spooled_entries - batch.entries
        self.replay_after = batch.watermark.sequence
        self._add(batch, now)
        if self.replay_after >= self.last_sequence:
            self.replay_after = None

    def skip_lost_requests(self, sequence: int) -> int:
        """Skip the requests up to this sequence, which cannot be read back.

        Returns:
            The number of lost data points. Returns 0 while later requests must still be read back;
            the loss is then counted after the last of them.
        """
        if self.replay_after is None:
            return 0
        self.replay_after = sequence if sequence < self.last_sequence else None
        if self.replay_after is not None:
            return 0
        lost = self.accepted_entries - self.acked_entries - self.memory_entries
        self.acked_entries += lost
        self.changed.notify_all()
        return lost

    def ack(self, entries: int) -> None:
        """Acknowledge data points in memory: the backend has them, or has refused them."""
        self.acked_entries += entries
        self.memory_entries -= entries
        self.changed.notify_all()

    def _add(self, batch: Batch, now: float) -> None:
        was_empty = self.batcher.is_empty
        self.batcher.add(batch, now)
        self.memory_entries += batch.entries
        # Only the first and the last part of a batch wake the writer. For those in between it would
        # look and wait again, which takes two context switches a request.
        if was_empty or self.replay_after is not None or self.batcher.due_in_seconds(now) == 0:
            self.changed.notify_all()
