"""What the queue let go, or an earlier run left, comes back from the spool here.

A request is decoded again with the window of times that it was accepted with, and without a limit
on series: what was acknowledged is not rejected later.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Final

from exporter.errors import DecodeError
from exporter.model import Batch, Watermark
from exporter.pipeline.queue import Queue
from exporter.pipeline.request_decoder import RequestDecoder
from exporter.spool import Entry, Spool
from exporter.stats import Counters
from exporter.wire import AgeLimits, TimeWindow

__all__ = ["Replay"]

_log = logging.getLogger(__name__)

# Some 100,000 points: a large batch, and little memory.
_READ_BYTES: Final = 8 * 1024 * 1024


class Replay:
    """Reads the spool where the queue is behind.

    Args:
        spool: where requests are kept.
        queue: what they are put back into.
        decoder: decodes them; guarded by the queue's lock.
        counters: of the pipeline.
        age_limits: only for the texts of rejections.
    """

    def __init__(
        self,
        spool: Spool,
        queue: Queue,
        decoder: RequestDecoder,
        counters: Counters,
        age_limits: AgeLimits,
    ) -> None:
        self._spool = spool
        self._queue = queue
        self._decoder = decoder
        self._counters = counters
        self._age_limits = age_limits

    def open(self, stored_sequence: int) -> None:
        """Begin where the backend's ledger says that it has come to."""
        self._spool.advance_to(stored_sequence)
        entries, last = self._spool.waiting_entries, self._spool.last_sequence
        if not self._spool.waiting_requests:
            return
        with self._queue.changed:
            self._queue.leave(entries, last)
        self._counters.add(points_accepted=entries, points_queued=entries, points_replayed=entries)
        _log.info(
            "%d data points wait in %s from before and are stored now", entries, self._spool.path
        )

    def hold(self) -> None:
        """Begin without the ledger: all waits in the spool alone, and nothing is read back yet.

        Raises:
            SpoolUnavailableError: the spool cannot keep that in mind now.
        """
        self._spool.accept_unasked()
        entries = self._spool.waiting_entries
        with self._queue.changed:
            self._queue.leave(entries, self._spool.last_sequence)
        self._counters.add(points_accepted=entries, points_queued=entries, points_replayed=entries)

    def go_on(self, stored_sequence: int) -> None:
        """After `hold`: the ledger says that it has come so far. What waits can be read back.

        Raises:
            SpoolUnavailableError: the spool cannot keep that in mind now; it goes on to be held.
        """
        # Under the lock, because the writer id of the watermarks may change.
        with self._queue.changed:
            stored = self._spool.advance_to(stored_sequence)
            self._queue.go_on(stored, has_more=self._spool.waiting_requests > 0)
            self._counters.add(points_stored=stored, points_queued=-stored)
        _log.info(
            "the database is reached: %d data points that wait in %s are stored now",
            self._spool.waiting_entries,
            self._spool.path,
        )

    def refill(self) -> None:
        """Put some of it back into the queue.

        Raises:
            SpoolUnavailableError: the spool cannot be read now.
        """
        with self._queue.changed:
            after, last = self._queue.behind, self._queue.last_sequence
        if after is None:
            return
        # Not what is on disk and on its way into the queue: it would be there twice.
        entries = [e for e in self._spool.read(after, _READ_BYTES) if e.sequence <= last]
        for entry in entries:
            # The lock is let go in between, so that senders need not wait for all of them.
            with self._queue.changed:
                self._put_back(entry)
        with self._queue.changed:
            has_caught_up = self._queue.behind is None
        if has_caught_up:
            _log.info("caught up: nothing waits in %s alone any more", self._spool.path)
        if not entries:
            # Damage has cost them; what came since is still there.
            with self._queue.changed:
                lost = self._queue.skip_to(last)
            self._count_lost(lost, "they could not be read again")

    def _put_back(self, entry: Entry) -> None:
        window = TimeWindow(
            entry.earliest_unix_nano,
            entry.latest_unix_nano,
            entry.received_unix_nano,
            self._age_limits,
        )
        try:
            batch = self._decoder.read_again(entry.signal, entry.data, window).batch
        except DecodeError as exc:
            batch = Batch()
            _log.error("request %d of %s: %s", entry.sequence, self._spool.path, exc)
        watermarked = replace(batch, watermark=Watermark(self._spool.receiver_id, entry.sequence))
        self._queue.put_back(watermarked, entry.entries, time.monotonic())
        self._count_lost(entry.entries - batch.entries, "they cannot be decoded as they were")

    def _count_lost(self, entries: int, reason: str) -> None:
        if entries > 0:
            _log.error("%d data points of %s are lost: %s", entries, self._spool.path, reason)
            self._counters.add(points_lost=entries, points_queued=-entries)
