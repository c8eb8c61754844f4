"""Opens backend and spool, and reads requests back from the spool.

Requests can be taken as soon as they can be kept. The ledger of the backend, which says how many of
the spool's requests it has, is needed only for writing. While the backend cannot be asked, requests
wait in the spool alone and nothing is written.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Final

from exporter.backends.base import Backend
from exporter.errors import DecodeError, ExporterError, RetryableError
from exporter.model import Batch, Watermark
from exporter.pipeline.queue import Queue
from exporter.pipeline.request_decoder import RequestDecoder
from exporter.spool import Entry, Spool
from exporter.stats import Counters
from exporter.wire import AgeLimits, TimeWindow

_log = logging.getLogger(__name__)

# Some 100,000 points: a large batch, and little memory.
_READ_BYTES: Final = 8 * 1024 * 1024


class Replay:
    """Reads back the requests that an earlier run left in the spool, or that the queue spilled.

    A request is decoded again with the time window that it was accepted with, and without
    `max_series`: what was acknowledged is not rejected later.

    Args:
        spool: where requests are kept.
        queue: what they are put into; its lock guards the decoder.
        decoder: decodes them.
        counters: of the pipeline.
        age_limits: for the wording of rejections.
    """

    def __init__(
        self,
        spool: Spool,
        queue: Queue,
        decoder: RequestDecoder,
        counters: Counters,
        age_limits: AgeLimits,
    ) -> None:
        self.spool = spool
        self._queue = queue
        self._decoder = decoder
        self._counters = counters
        self._age_limits = age_limits

    def begin(self, stored_sequence: int) -> None:
        """Replay what the spool holds after the sequence that the backend's ledger has."""
        self.spool.advance_to(stored_sequence)
        if self.spool.state.pending_requests:
            entries = self._spill_all()
            _log.info(
                "%d data points wait in %s from before and are stored now", entries, self.spool.path
            )

    def pause(self) -> None:
        """Begin without the ledger: all requests wait in the spool, and none is read back yet.

        Raises:
            SpoolUnavailableError: the spool could not write a note of it.
        """
        self.spool.mark_ledger_unreadable()
        self._spill_all()

    def resume(self, stored_sequence: int) -> None:
        """Let requests be read back after `pause`, now that the ledger is known.

        Raises:
            SpoolUnavailableError: the spool could not write a note of it; it stays paused.
        """
        # Under the lock, because the writer id of the watermarks may change.
        with self._queue.changed:
            stored = self.spool.advance_to(stored_sequence)
            self._queue.resume(stored, has_more=self.spool.state.pending_requests > 0)
            self._counters.add(points_stored=stored, points_queued=-stored)
        _log.info(
            "the database is reached: %d data points that wait in %s are stored now",
            self.spool.state.pending_entries,
            self.spool.path,
        )

    def refill(self) -> None:
        """Put the next requests back into the queue.

        Raises:
            SpoolUnavailableError: the spool cannot be read now.
        """
        with self._queue.changed:
            after, last = self._queue.replay_after, self._queue.last_sequence
        if after is None:
            return
        # A request after `last` is synced and still on its way into the queue: read back now, it
        # would be there twice.
        entries = [e for e in self.spool.read(after, _READ_BYTES) if e.sequence <= last]
        for entry in entries:
            # The lock is released between two, so that senders do not wait for all of them.
            with self._queue.changed:
                self._put_back(entry)
        with self._queue.changed:
            has_caught_up = self._queue.replay_after is None
        if has_caught_up:
            _log.info("caught up: nothing waits in %s alone any more", self.spool.path)
        if not entries:
            # A damaged spool has lost them; it still has what came since.
            with self._queue.changed:
                lost = self._queue.skip_lost_requests(last)
            self._count_lost(lost, "they could not be read again")

    def _spill_all(self) -> int:
        entries = self.spool.state.pending_entries
        with self._queue.changed:
            self._queue.spill(entries, self.spool.state.last_sequence)
        self._counters.add(points_accepted=entries, points_queued=entries, points_replayed=entries)
        return entries

    def _put_back(self, entry: Entry) -> None:
        window = TimeWindow(
            entry.earliest_unix_nano,
            entry.latest_unix_nano,
            entry.received_unix_nano,
            self._age_limits,
        )
        try:
            batch = self._decoder.decode_replayed(entry.signal, entry.data, window).batch
        except DecodeError as exc:
            batch = Batch()
            _log.error("request %d of %s: %s", entry.sequence, self.spool.path, exc)
        watermark = Watermark(self.spool.state.receiver_id, entry.sequence)
        batch = replace(batch, watermark=watermark)
        self._queue.put_replayed(batch, entry.entries, time.monotonic())
        self._count_lost(entry.entries - batch.entries, "they cannot be decoded as they were")

    def _count_lost(self, entries: int, reason: str) -> None:
        if entries > 0:
            _log.error("%d data points of %s are lost: %s", entries, self.spool.path, reason)
            self._counters.add(points_lost=entries, points_queued=-entries)


class Startup:
    """Opens the backend and the spool, or the spool alone while the database is away.

    Args:
        backend: not started.
        replay: of the spool, started or not; None without a spool.
    """

    def __init__(self, backend: Backend, replay: Replay | None) -> None:
        self._backend = backend
        self._replay = replay
        self._error: ExporterError | None = None

    def open(self) -> bool:
        """Open both.

        Returns:
            Whether the backend is open. If not, the spool takes requests; `complete` opens it.

        Raises:
            ExporterError: the backend refuses, or it is away and there is no spool, or the spool
                cannot be opened. Either may be open.
        """
        replay = self._replay
        if replay is None:
            self._backend.start()
            return True
        try:
            self._backend.start()
        except RetryableError as exc:
            self._error = exc
        replay.spool.start()
        if self._error is None:
            try:
                stored_sequence = self._backend.last_sequence(replay.spool.state.receiver_id)
            except RetryableError as exc:
                self._error = exc
            else:
                replay.begin(stored_sequence)
                return True
        replay.pause()
        _log.warning(
            "the database at %s cannot be reached; requests wait in the spool %s and are stored "
            "when it can, which is tried again and again: %s",
            self._backend.location,
            replay.spool.path,
            self._error,
        )
        return False

    def complete(self) -> None:
        """Open the backend after `open` could not, and let waiting requests be written.

        Raises:
            ExporterError: not now; call it again later.
        """
        if self._replay is None:
            raise AssertionError("without a spool `open` opens the backend or raises")
        try:
            self._backend.start()
            self._replay.resume(self._backend.last_sequence(self._replay.spool.state.receiver_id))
        except ExporterError as exc:
            self._error = exc
            raise
        self._error = None

    def require_backend(self) -> None:
        """Check that the backend is open.

        Raises:
            ExporterError: it is not open yet; the error of the last attempt.
        """
        error = self._error
        if error is not None:
            # Clear the traceback: the same exception object is raised again.
            raise error.with_traceback(None)
