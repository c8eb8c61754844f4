"""The writer: one thread that cuts batches and hands each to the backend until it is stored.

No failure discards data. A batch with a row that the backend refuses is stored without that row,
which becomes a dead letter in the same transaction. Everything else that fails is retried with
growing delays, without limit. Meanwhile new data waits in memory up to a bound, beyond it in the
spool.
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
from exporter.pipeline.batch_write import BatchWrite
from exporter.pipeline.queue import Queue
from exporter.series_cache import SeriesCache
from exporter.stats import Counters

_log = logging.getLogger(__name__)

INITIAL_RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 30.0
# How much longer than its deadline `stop` waits for a write that has begun.
_LAST_WRITE_SECONDS: Final = 1.0


def retry_delay_seconds(failures: int, rng: Random) -> float:
    """How long to wait before the next attempt.

    Exponential with "equal jitter": between half and all of min(0.1 s x 2^(failures - 1), 30 s),
    so that receivers that lost one database together do not return to it together.

    Args:
        failures: how many attempts have failed, from 1.
        rng: source of the jitter.
    """
    ceiling = min(INITIAL_RETRY_SECONDS * 2.0 ** min(failures - 1, 32), MAX_RETRY_SECONDS)
    return ceiling * rng.uniform(0.5, 1.0)


class Writer:
    """Empties the queue into the backend.

    Args:
        backend: open, or opened by what `start` is given; written to by this thread only.
        queue: what was accepted; its lock guards the series cache.
        series: told which definitions the backend no longer has.
        counters: of the pipeline.
        refill: reads some spilled requests back into the queue; None without a spool.
        release: told up to which sequence all is stored.
        maintain: does what is due between batches; returns when to call it again, in seconds of
            the monotonic clock.
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
        maintain: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._queue = queue
        self._series = series
        self._counters = counters
        self._refill = refill
        self._release = release
        self._maintain = maintain
        self._maintain_at = 0.0
        self._random = Random()  # noqa: S311 - jitter, not a secret
        self._is_backend_open = False
        self._flush_calls = 0
        self._deadline: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, open_backend: Callable[[], None] | None = None) -> None:
        """Begin to write.

        The thread inherits the caller's context, so instrumentation that is suppressed there stays
        suppressed for its database calls.

        Args:
            open_backend: opens the backend. It failed in `Startup.open` and is retried without
                limit before the first write; meanwhile the spool keeps all that is accepted.
        """
        run = partial(copy_context().run, self._run, open_backend)
        self._thread = threading.Thread(target=run, name="exporter-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Write what is in memory, and end.

        A write that began before the deadline gets one more second. Otherwise a write that fails
        just after the deadline would leave the backend and the spool open.

        Returns:
            Whether it has ended.
        """
        with self._queue.changed:
            self._deadline = time.monotonic() + timeout_seconds
            self._queue.changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_seconds + _LAST_WRITE_SECONDS)
        return not self.is_running

    def flush(self, timeout_seconds: float) -> bool:
        """Write what was accepted until now; returns whether that was done in time."""
        deadline = time.monotonic() + timeout_seconds
        queue = self._queue
        with queue.changed:
            target = queue.accepted_entries
            self._flush_calls += 1
            queue.changed.notify_all()
            try:
                while queue.acked_entries < target:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self.is_running:
                        return False
                    queue.changed.wait(left)
            finally:
                self._flush_calls -= 1
        return True

    def _run(self, open_backend: Callable[[], None] | None) -> None:
        if open_backend is not None:
            is_due = self._wait(retry_delay_seconds(1, self._random))
            if not is_due or not self._retry("opening the database", open_backend, failures=1):
                return
        self._is_backend_open = True
        while True:
            with self._queue.changed:
                task = self._next_task()
            if task is None or not task():
                return

    def _next_task(self) -> Callable[[], bool] | None:
        """Wait for the next task, which returns whether to continue; None means to end."""
        queue = self._queue
        while True:
            now = time.monotonic()
            due_in = queue.batcher.due_in_seconds(now)
            is_stopping = self._deadline is not None
            is_urgent = is_stopping or self._flush_calls or queue.replay_after is not None
            if due_in == 0 or (is_urgent and due_in is not None):
                return self._write_batch
            if is_stopping:
                return None
            if queue.replay_after is not None and self._refill is not None:
                return partial(self._read_back, self._refill)
            if now >= self._maintain_at:
                return self._run_maintenance
            until_maintenance = self._maintain_at - now
            queue.changed.wait(
                until_maintenance if due_in is None else min(until_maintenance, due_in)
            )

    def _write_batch(self) -> bool:
        with self._queue.changed:
            batch = self._queue.batcher.drain()
        if batch is None:
            return True
        write = BatchWrite(batch, self._backend, self._counters, self._forget_series)
        if not self._retry("write", write.attempt):
            return False
        with self._queue.changed:
            self._queue.ack(batch.entries)
        if batch.watermark is not None:
            self._release(batch.watermark.sequence)
        return True

    def _read_back(self, refill: Callable[[], None]) -> bool:
        self._retry("reading the spool", refill)
        return True  # what was read before time was up is still written

    def _run_maintenance(self) -> bool:
        self._maintain_at = self._maintain()
        return True

    def _forget_series(self, series_ids: Collection[int]) -> None:
        with self._queue.changed:
            self._series.invalidate(series_ids)

    def _retry(self, what: str, attempt: Callable[[], None], failures: int = 0) -> bool:
        """Call until it succeeds; returns False if the deadline of `stop` comes first.

        Args:
            what: is attempted, for the log.
            attempt: raises if it fails.
            failures: attempts that failed before.
        """
        while True:
            try:
                attempt()
            except Exception as exc:  # noqa: BLE001 - the writer outlives every failure
                failures += 1
                delay_seconds = retry_delay_seconds(failures, self._random)
                _log.log(
                    logging.WARNING if isinstance(exc, RetryableError) else logging.ERROR,
                    "%s failed, trying again in %.1f s (attempt %d): %s",
                    what,
                    delay_seconds,
                    failures,
                    exc,
                    exc_info=None if isinstance(exc, ExporterError) else exc,
                )
                if not self._wait(delay_seconds):
                    return False
            else:
                if failures:
                    _log.info("%s succeeded after %d failures", what, failures)
                return True

    def _wait(self, delay_seconds: float) -> bool:
        """Wait for so long; returns whether there is time for another attempt."""
        retry_at = time.monotonic() + delay_seconds
        with self._queue.changed:
            while not self._stops_before(retry_at):
                if (now := time.monotonic()) >= retry_at:
                    return True
                self._queue.changed.wait(retry_at - now)
        return False

    def _stops_before(self, retry_at: float) -> bool:
        if self._deadline is None:
            return False
        # Until the backend is open the spool has all that was accepted: nothing is lost by ending.
        return not self._is_backend_open or retry_at > self._deadline
