"""Accepted batches on their way from the intake to the writer, in the order of their sequence.

Bounded. With a spool, what passes the bound is let go and read again from there when the writer
comes to it, so that an outage costs disk and not memory; the same way leads from a spool that was
left by an earlier run. Without one, the intake asks `is_full` and refuses.

Nothing here has a thread or reads a clock. Every method is called with `changed` held, which is
also what guards the series cache.
"""

from __future__ import annotations

import threading

from exporter.model import Batch
from exporter.pipeline.batcher import Batcher

__all__ = ["Queue"]


class Queue:
    """What was accepted and is not settled yet.

    Args:
        batcher: says when a batch is due.
        max_entries: data points that may wait in memory. A request is taken whole, so the last
            one may pass the bound.
        spooled: whether what is let go can be read again.

    Attributes:
        changed: held for every call; notified when there is something new to do or wait for, and
            when something is settled.
        behind: with a spool: all of its requests after this sequence are to be read from there.
            None while everything that waits is in memory.
        last_sequence: of the request that was added last.
        accepted_entries: data points that were ever added.
        settled_entries: of these, stored or given up.
    """

    def __init__(self, batcher: Batcher, *, max_entries: int, spooled: bool) -> None:
        self.changed = threading.Condition()
        self.behind: int | None = None
        self.accepted_entries = 0
        self.settled_entries = 0
        self._batcher = batcher
        self.max_entries = max_entries
        self._spooled = spooled
        self.last_sequence = 0
        self._held_entries = 0

    @property
    def held_entries(self) -> int:
        """Data points in memory: gathered, or under way to the backend."""
        return self._held_entries

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in memory, neither data points nor definitions."""
        return not self._held_entries and self._batcher.is_empty

    @property
    def is_full(self) -> bool:
        """Whether as much is in memory as may be."""
        return self._held_entries >= self.max_entries

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was accepted is left."""
        return self.settled_entries == self.accepted_entries

    def leave(self, entries: int, last: int) -> None:
        """Let all that the spool has, and what comes, wait there to be read.

        Args:
            entries: data points that wait there from before.
            last: the sequence of the last request there.
        """
        self.accepted_entries += entries
        self.behind, self.last_sequence = 0, last

    def go_on(self, stored_entries: int, *, has_more: bool) -> None:
        """So many of what was left there turned out to be stored; is there more to be read?"""
        self.settled_entries += stored_entries
        if not has_more:
            self.behind = None
        self.changed.notify_all()

    def put(self, batch: Batch, now: float, *, is_tight: bool = False) -> None:
        """Add what one request brought.

        Args:
            batch: with a spool its watermark says where it is there.
            now: in seconds of the batcher's clock.
            is_tight: whether memory is short, so that it should wait in the spool alone.
        """
        self.accepted_entries += batch.entries
        if self._spooled and batch.watermark is not None:
            if self.behind is None and (self.is_full or (is_tight and self._held_entries)):
                self.behind = batch.watermark.sequence - 1
            self.last_sequence = batch.watermark.sequence
            if self.behind is not None:
                # Definitions are handed out once, so they cannot wait for the second reading.
                batch = Batch(new_series=batch.new_series)
        self._hold(batch, now)

    def define(self, batch: Batch, now: float) -> None:
        """Add only the definitions: its request was refused, and later ones rely on them."""
        self._hold(Batch(new_series=batch.new_series), now)

    def put_back(self, batch: Batch, spooled_entries: int, now: float) -> None:
        """Add what was read from the spool, the request after `behind`.

        Args:
            batch: with the watermark of its request.
            spooled_entries: data points that it was accepted with.
            now: in seconds of the batcher's clock.
        """
        if batch.watermark is None:
            raise AssertionError("what is read from the spool has a watermark")
        self.settled_entries += spooled_entries - batch.entries
        self.behind = batch.watermark.sequence
        self._hold(batch, now)
        if self.behind >= self.last_sequence:
            self.behind = None

    def skip_to(self, sequence: int) -> int:
        """Give up what was let go up to this sequence; how many data points that may be."""
        if self.behind is None:
            return 0
        self.behind = sequence if sequence < self.last_sequence else None
        if self.behind is not None:
            return 0  # counted when the rest is read
        lost = self.accepted_entries - self.settled_entries - self._held_entries
        self.settled_entries += lost
        self.changed.notify_all()
        return lost

    def due_in_seconds(self, now: float) -> float | None:
        """How long until a batch is due: 0 when it is, None when nothing waits in memory."""
        return self._batcher.due_in_seconds(now)

    def drain(self) -> Batch | None:
        """Everything gathered as one batch, None when nothing waits in memory."""
        return self._batcher.drain()

    def settle(self, entries: int) -> None:
        """So many data points are off our hands."""
        self.settled_entries += entries
        self._held_entries -= entries
        self.changed.notify_all()

    def _hold(self, batch: Batch, now: float) -> None:
        was_empty = self._batcher.is_empty
        self._batcher.add(batch, now)
        self._held_entries += batch.entries
        # Between the first and the last of a batch the writer would look and wait again, which
        # takes two context switches a request.
        if was_empty or self.behind is not None or self._batcher.due_in_seconds(now) == 0:
            self.changed.notify_all()
