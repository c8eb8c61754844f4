"""From request bytes to stored rows: the one module with a thread and a clock.

`submit` decodes on the caller's thread and gathers; one writer thread cuts batches and hands them
to the backend, again and again while the failure is retryable. Decoding is under one lock: the
interpreter runs one decoder at a time anyway, and series definitions must reach the backend no
later than the first points that need them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from random import Random
from typing import Final

from exporter.backends.base import Backend
from exporter.batch import Batcher
from exporter.errors import (
    DecodeError,
    ExporterError,
    QueueFullError,
    RetryableError,
    ShuttingDownError,
)
from exporter.intern import CLUSTER_ID_ATTRIBUTES, NODE_ID_ATTRIBUTES, SeriesCache
from exporter.model import Batch
from exporter.retry import delay_seconds
from exporter.stats import Counters, Snapshot
from exporter.wire import AgeLimits, Rejections, decode

__all__ = ["Pipeline"]

_log = logging.getLogger(__name__)

_CLEANUP_INTERVAL_SECONDS: Final = 3600.0
_REJECTIONS_LOGGED_EVERY_SECONDS: Final = 60.0
_SECONDS_PER_DAY: Final = 86_400
_NANOSECONDS_PER_SECOND: Final = 1_000_000_000


class Pipeline:
    """Takes requests, keeps them in order, and stores them in batches.

    Args:
        backend: where the rows go; started and closed by the pipeline.
        batch_size: data points that make a batch due at once.
        batch_interval_seconds: longest that an accepted point waits for its batch.
        max_queued_entries: accepted data points that may wait for a slow backend; beyond it
            `submit` refuses. A request is taken whole, so the last one may pass the bound.
        retention_days: older points are deleted at start and then hourly; None keeps all.
        max_past_days: points older than this on arrival are rejected; None takes any.
        max_future_days: likewise of points that are ahead of this machine's clock.
        cluster_id_attributes: see `SeriesCache`.
        node_id_attributes: see `SeriesCache`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        batch_size: int = 100,
        batch_interval_seconds: float = 60.0,
        max_queued_entries: int = 1_000_000,
        retention_days: float | None = None,
        max_past_days: float | None = None,
        max_future_days: float | None = None,
        cluster_id_attributes: Sequence[str] = CLUSTER_ID_ATTRIBUTES,
        node_id_attributes: Sequence[str] = NODE_ID_ATTRIBUTES,
    ) -> None:
        self._backend = backend
        self._batcher = Batcher(
            batch_size=batch_size, batch_interval_seconds=batch_interval_seconds
        )
        self._max_queued_entries = max_queued_entries
        self._retention_days = retention_days
        self._age_limits = AgeLimits(max_past_days, max_future_days)
        self._series = SeriesCache(
            cluster_id_attributes=cluster_id_attributes, node_id_attributes=node_id_attributes
        )
        self._counters = Counters()
        self._random = Random()  # noqa: S311 - jitter, not a secret
        # Guards everything below, and the series cache and the batcher.
        self._changed = threading.Condition()
        self._accepted_entries = 0
        self._settled_entries = 0
        self._flushing = 0
        self._stopping = False
        self._give_up_at: float | None = None
        self._writer: threading.Thread | None = None
        self._log_rejections_at = 0.0

    def start(self) -> None:
        """Open the backend and begin to write.

        Raises:
            ExporterError: the backend cannot be opened; nothing was started.
        """
        if self._writer is not None:
            return
        self._backend.start()
        self._writer = threading.Thread(target=self._run, name="exporter-writer", daemon=True)
        self._writer.start()

    def submit(self, data: bytes) -> Rejections:
        """Accept one serialized ExportMetricsServiceRequest.

        Returns:
            What was rejected of it; the rest will be stored.

        Raises:
            DecodeError: it is not such a request; nothing of it is taken.
            QueueFullError: too much waits for the backend; send it again later.
            ShuttingDownError: the pipeline is not running, or stops.
        """
        with self._changed:
            self._counters.add(requests=1)
            self._check_open()
            try:
                decoded = decode(data, self._series, self._age_limits.window(time.time_ns()))
            except DecodeError:
                self._counters.add(requests_undecodable=1)
                raise
            except BaseException:
                self._counters.add(requests_turned_away=1)
                raise
            self._take(decoded.batch)
            self._note(decoded.rejections)
        return decoded.rejections

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Write what was accepted until now; whether that was done in time."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            target = self._accepted_entries
            self._flushing += 1
            self._changed.notify_all()
            try:
                while self._settled_entries < target:
                    left = deadline - time.monotonic()
                    if left <= 0 or self._writer is None:
                        return False
                    self._changed.wait(left)
            finally:
                self._flushing -= 1
        return True

    def shutdown(self, timeout_seconds: float = 25.0) -> bool:
        """Take nothing new, write what was accepted, close the backend.

        Returns:
            Whether everything accepted was stored. What was not is counted as queued.
        """
        with self._changed:
            self._stopping = True
            self._give_up_at = time.monotonic() + timeout_seconds
            self._changed.notify_all()
            writer = self._writer
        if writer is not None:
            writer.join(timeout_seconds)
            if writer.is_alive():
                _log.error(
                    "shutdown: %s did not finish a write to %s within %.1f s",
                    writer.name,
                    self._backend.location,
                    timeout_seconds,
                )
                return False
        self._backend.close()
        return self._settled_entries == self._accepted_entries

    def stats(self) -> Snapshot:
        """The counters at this moment."""
        return self._counters.snapshot()

    def _check_open(self) -> None:
        if self._stopping or self._writer is None:
            self._counters.add(requests_turned_away=1)
            raise ShuttingDownError("the receiver is shutting down; send again later")
        queued = self._accepted_entries - self._settled_entries
        if queued >= self._max_queued_entries:
            self._counters.add(requests_turned_away=1)
            raise QueueFullError(
                f"{queued} data points wait for {self._backend.location} "
                f"(max_queued_entries {self._max_queued_entries}); send again later"
            )

    def _take(self, batch: Batch) -> None:
        entries = batch.entries
        self._batcher.add(batch, time.monotonic())
        self._accepted_entries += entries
        self._counters.add(
            points_accepted=entries, points_queued=entries, series_new=len(batch.new_series)
        )
        self._changed.notify_all()

    def _note(self, rejections: Rejections) -> None:
        # Senders may not show what a partial_success says (the Python SDK does not), so it is
        # logged here too, but not for every request of a sender that is always wrong.
        if not rejections.counts:
            return
        self._counters.add(points_rejected=rejections.total)
        now = time.monotonic()
        if now >= self._log_rejections_at:
            self._log_rejections_at = now + _REJECTIONS_LOGGED_EVERY_SECONDS
            _log.warning("%s (further ones are counted for a minute)", rejections.message())

    def _run(self) -> None:
        clean_at = time.monotonic()
        while True:
            with self._changed:
                batch = self._next_batch(clean_at)
                if batch is None and self._stopping:
                    return
            if batch is not None and not self._settle(batch):
                return
            if time.monotonic() >= clean_at and not self._stopping:
                clean_at = time.monotonic() + _CLEANUP_INTERVAL_SECONDS
                self._clean_up()

    def _next_batch(self, clean_at: float) -> Batch | None:
        while True:
            now = time.monotonic()
            due_in = self._batcher.due_in_seconds(now)
            if due_in == 0 or self._stopping or (self._flushing and due_in is not None):
                return self._batcher.drain()
            if now >= clean_at:
                return None
            waits = [clean_at - now] if due_in is None else [clean_at - now, due_in]
            self._changed.wait(min(waits))

    def _settle(self, batch: Batch) -> bool:
        # Whether the batch is off our hands: stored, or refused for good. Not when time is up.
        attempt = 0
        while True:
            try:
                self._write(batch)
            except RetryableError as exc:
                attempt += 1
                if not self._wait_to_retry(attempt, exc):
                    return False
                continue
            except Exception as exc:  # noqa: BLE001 - the writer outlives what it cannot store
                self._fail(batch, exc)
            with self._changed:
                self._settled_entries += batch.entries
                self._counters.add(points_queued=-batch.entries)
                self._changed.notify_all()
            return True

    def _write(self, batch: Batch) -> None:
        began = time.perf_counter()
        try:
            result = self._backend.write(batch)
        finally:
            self._counters.add(write_seconds=time.perf_counter() - began)
        self._counters.add(
            batches_written=1,
            points_stored=batch.entries - result.refused,
            points_refused=result.refused,
            rows_evicted=result.evicted,
        )
        if result.forgotten_series:
            with self._changed:
                self._series.forget(result.forgotten_series)

    def _wait_to_retry(self, attempt: int, exc: RetryableError) -> bool:
        delay = delay_seconds(attempt, self._random)
        self._counters.add(write_retries=1)
        _log.warning("write failed, trying again in %.1f s (attempt %d): %s", delay, attempt, exc)
        again_at = time.monotonic() + delay
        with self._changed:
            while (now := time.monotonic()) < again_at:
                if self._give_up_at is not None and again_at > self._give_up_at:
                    return False
                self._changed.wait(again_at - now)
        return True

    def _fail(self, batch: Batch, exc: Exception) -> None:
        _log.error(
            "%d data points could not be stored in %s and are lost: %s",
            batch.entries,
            self._backend.location,
            exc,
            exc_info=not isinstance(exc, ExporterError),
        )
        self._counters.add(points_failed=batch.entries)
        with self._changed:
            self._series.forget([series.series_id for series in batch.new_series])

    def _clean_up(self) -> None:
        if self._retention_days is None:
            return
        now_unix_nano = time.time_ns()
        age_nano = int(self._retention_days * _SECONDS_PER_DAY * _NANOSECONDS_PER_SECOND)
        try:
            deleted = self._backend.delete_before(now_unix_nano - age_nano)
        except ExporterError as exc:
            _log.warning("cleanup failed, trying again within an hour: %s", exc)
            return
        self._counters.add(rows_expired=deleted)
        if deleted:
            _log.info("deleted %d rows older than %g days", deleted, self._retention_days)
