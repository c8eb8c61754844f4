"""The writer: one thread that cuts batches and hands them to the backend until it has them.

A failure is never answered by letting go of data. A batch with a row that the backend refuses is
stored without that row, which goes among the dead letters in the same transaction; whatever else
goes wrong is tried again with growing waits, for as long as it takes. Meanwhile new data gathers,
in memory up to a bound and in the spool beyond it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextvars import copy_context
from functools import partial
from random import Random
from typing import Final

from exporter.backends.base import Backend
from exporter.errors import ExporterError, RetryableError
from exporter.intern import SeriesCache
from exporter.model import Batch
from exporter.pipeline.backoff import delay_seconds
from exporter.pipeline.batch_write import BatchWrite
from exporter.pipeline.queue import Queue
from exporter.stats import Counters

__all__ = ["Writer"]

_log = logging.getLogger(__name__)

_LAST_WRITE_SECONDS: Final = 1.0


class Writer:
    """Empties the queue into the backend.

    Args:
        backend: open, or to be opened by `begin`; written to by this thread only.
        queue: what was accepted; its lock guards the series.
        series: told which definitions the backend no longer has.
        counters: of the pipeline.
        refill: reads some of what the queue let go and puts it back; None where it keeps all.
        release: told up to which sequence all is stored.
        chores: what this thread does in between, now and then; says when it wants to run next,
            on the monotonic clock.
    """

    def __init__(
        self,
        backend: Backend,
        queue: Queue,
        series: SeriesCache,
        counters: Counters,
        *,
        refill: Callable[[], None] | None,
        release: Callable[[int], None],
        chores: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._queue = queue
        self._series = series
        self._counters = counters
        self._refill = refill
        self._release = release
        self._chores = chores
        self._chores_at = 0.0
        self._random = Random()  # noqa: S311 - jitter, not a secret
        self._has_begun = False
        self._flushing = 0
        self._give_up_at: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, begin: Callable[[], None] | None = None) -> None:
        """Begin to write, in the context of the caller.

        So who starts it in a context that says so keeps its database calls from being traced.

        Args:
            begin: failed just now, and must succeed before anything is written; tried again for as
                long as it takes, while all that is accepted is kept in the spool.
        """
        run = partial(copy_context().run, self._run, begin)
        self._thread = threading.Thread(target=run, name="exporter-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Write what is in memory, and end; whether it ended in time.

        A write that was begun in time has a second more to come to its end: else one that is
        refused a moment too late would leave the backend and the spool open.
        """
        with self._queue.changed:
            self._give_up_at = time.monotonic() + timeout_seconds
            self._queue.changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_seconds + _LAST_WRITE_SECONDS)
        return not self.is_running

    def flush(self, timeout_seconds: float) -> bool:
        """Write what was accepted until now; whether that was done in time."""
        deadline = time.monotonic() + timeout_seconds
        queue = self._queue
        with queue.changed:
            target = queue.accepted_entries
            self._flushing += 1
            queue.changed.notify_all()
            try:
                while queue.settled_entries < target:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self.is_running:
                        return False
                    queue.changed.wait(left)
            finally:
                self._flushing -= 1
        return True

    @property
    def _is_stopping(self) -> bool:
        return self._give_up_at is not None

    def _run(self, begin: Callable[[], None] | None) -> None:
        if begin is not None and not self._begin(begin):
            return
        self._has_begun = True
        while True:
            with self._queue.changed:
                work = self._next_work()
            if isinstance(work, Batch):
                if not self._settle(work):
                    return
            elif work is None:
                return
            else:
                work()

    def _begin(self, begin: Callable[[], None]) -> bool:
        attempt = 1
        delay = delay_seconds(attempt, self._random)
        while self._wait(delay):
            try:
                begin()
            except Exception as exc:  # noqa: BLE001 - the writer outlives what it cannot open
                attempt += 1
                delay = self._report("opening the database", attempt, exc)
            else:
                return True
        return False

    def _next_work(self) -> Batch | Callable[[], None] | None:
        # A batch to write, something else to do, or None when it is time to end.
        queue = self._queue
        while True:
            now = time.monotonic()
            due_in = queue.due_in_seconds(now)
            hurries = self._is_stopping or self._flushing or queue.behind is not None
            if due_in == 0 or (hurries and due_in is not None):
                return queue.drain()
            if self._is_stopping:
                return None
            if queue.behind is not None and self._refill is not None:
                return partial(self._read_back, self._refill)
            if now >= self._chores_at:
                return self._do_chores
            waits = [self._chores_at - now] if due_in is None else [self._chores_at - now, due_in]
            queue.changed.wait(min(waits))

    def _do_chores(self) -> None:
        self._chores_at = self._chores()

    def _read_back(self, refill: Callable[[], None]) -> None:
        attempt = 0
        while True:
            try:
                refill()
            except RetryableError as exc:
                attempt += 1
                if not self._wait_to_retry("reading the spool", attempt, exc):
                    return
            else:
                return

    def _settle(self, batch: Batch) -> bool:
        # Whether the batch is off our hands; it is not when time is up.
        delivery = BatchWrite(batch, self._backend, self._counters, self._forget)
        attempt = 0
        while True:
            try:
                delivery.attempt()
            except Exception as exc:  # noqa: BLE001 - the writer outlives what it cannot store
                attempt += 1
                self._counters.add(write_retries=1)
                if not self._wait_to_retry("write", attempt, exc):
                    return False
            else:
                break
        if attempt:
            _log.info("write succeeded after %d failures", attempt)
        with self._queue.changed:
            self._queue.settle(batch.entries)
        if batch.watermark is not None:
            self._release(batch.watermark.sequence)
        return True

    def _forget(self, series_ids: Collection[int]) -> None:
        with self._queue.changed:
            self._series.forget(series_ids)

    def _wait_to_retry(self, what: str, attempt: int, exc: Exception) -> bool:
        return self._wait(self._report(what, attempt, exc))

    def _report(self, what: str, attempt: int, exc: Exception) -> float:
        # The delay until the next attempt.
        delay = delay_seconds(attempt, self._random)
        _log.log(
            logging.WARNING if isinstance(exc, RetryableError) else logging.ERROR,
            "%s failed, trying again in %.1f s (attempt %d): %s",
            what,
            delay,
            attempt,
            exc,
            exc_info=None if isinstance(exc, ExporterError) else exc,
        )
        return delay

    def _wait(self, delay: float) -> bool:
        # Whether there is time for another attempt after the delay.
        again_at = time.monotonic() + delay
        with self._queue.changed:
            while not self._gives_up_before(again_at):
                if (now := time.monotonic()) >= again_at:
                    return True
                self._queue.changed.wait(again_at - now)
        return False

    def _gives_up_before(self, again_at: float) -> bool:
        if self._give_up_at is None:
            return False
        # Before it has begun all that was accepted is in the spool: there is nothing to wait for.
        return not self._has_begun or again_at > self._give_up_at
