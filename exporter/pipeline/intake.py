"""Takes requests on the callers' threads: decode, make durable, put into the queue.

Decoding holds the queue's lock: the interpreter runs one decoder at a time anyway, and a series
definition must reach the backend no later than the first point of the series. The sync to disk does
not hold it; concurrent requests share one sync (`exporter.pipeline.group_commit`).
"""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

import xxhash

from exporter.errors import (
    DecodeError,
    ExporterError,
    QueueFullError,
    RetryableError,
    ShuttingDownError,
)
from exporter.model import Batch, Watermark
from exporter.pipeline.durability import Durability, MonotonicWallClock
from exporter.pipeline.group_commit import GroupCommit, GroupMember
from exporter.pipeline.memory_limit import MemoryLimit
from exporter.pipeline.queue import Queue
from exporter.pipeline.request_decoder import RequestDecoder
from exporter.spool import Entry, Signal
from exporter.stats import Counters
from exporter.wire import AgeLimits, Rejections

_log = logging.getLogger(__name__)

_REJECTIONS_LOGGED_EVERY_SECONDS: Final = 60.0
_SERIES_CLEARED_EVERY_SECONDS: Final = 10.0
# Replies with rejections, about 1 KiB each.
_MAX_REPLIES: Final = 1_000
_NO_REJECTIONS: Final = Rejections()
# The same bytes may be a request of either signal, so each has a seed of its own.
_DIGEST_SEEDS: Final[dict[Signal, int]] = {"metrics": 0, "logs": 1}


@dataclass(slots=True)
class _PendingRequest(GroupMember):
    """A request between decoding and its reply."""

    entry: Entry
    batch: Batch
    rejections: Rejections


class Intake:
    """Accepts requests between `open` and `close`.

    Args:
        queue: takes the batches; its lock guards the series cache and the state of the intake.
        decoder: decodes requests.
        durability: keeps requests until they are stored.
        counters: of the pipeline.
        age_limits: how far the times of points may be from now.
        memory: the memory limit of the process.
        clock: the time at which a request was received.
    """

    def __init__(
        self,
        queue: Queue,
        decoder: RequestDecoder,
        durability: Durability,
        counters: Counters,
        *,
        age_limits: AgeLimits,
        memory: MemoryLimit,
        clock: MonotonicWallClock,
    ) -> None:
        self._queue = queue
        self._decoder = decoder
        self._durability = durability
        self._counters = counters
        self._age_limits = age_limits
        self._memory = memory
        self._clock = clock
        self._is_open = False
        self._in_flight: dict[bytes, _PendingRequest] = {}
        self._replies: dict[bytes, Rejections] = {}
        self._group_commit = GroupCommit[_PendingRequest](queue.changed, self._commit)
        self._log_rejections_at = 0.0
        self._clear_series_at = 0.0

    def open(self) -> None:
        """Begin to accept."""
        self._is_open = True

    def close(self) -> None:
        """Accept nothing more; when it returns, all that was accepted is in the queue."""
        with self._queue.changed:
            self._is_open = False
        self._group_commit.flush()

    @property
    def is_accepting(self) -> bool:
        """Whether a request would be taken now."""
        try:
            self._check_accepting()
        except RetryableError:
            return False
        return True

    def admit(self) -> AbstractContextManager[None]:
        """See `Pipeline.admit`."""
        try:
            self._check_accepting()
        except BaseException:
            self._counters.add(requests=1, requests_turned_away=1)
            raise
        return self._memory.in_flight

    def submit(self, data: bytes, signal: Signal) -> Rejections:
        """See `Pipeline.submit` and `Pipeline.submit_logs`."""
        self._counters.add(requests=1)
        self._memory.record_message(len(data))
        try:
            self._check_accepting(len(data))
            with self._group_commit.joining:
                pending, digest = self._decode(data, signal)
            if pending is None:
                return self._replies.get(digest, _NO_REJECTIONS)
            self._group_commit.wait(pending)
        except DecodeError:
            self._counters.add(requests_undecodable=1)
            raise
        except BaseException:
            self._counters.add(requests_turned_away=1)
            raise
        return pending.rejections

    def _check_accepting(self, message_bytes: int | None = None) -> None:
        """Raise if a message of this size cannot be accepted now.

        The size is None before the message is received.
        """
        if not self._is_open:
            raise ShuttingDownError("the receiver is shutting down; send again later")
        self._durability.check_capacity()
        if self._is_idle(is_received=message_bytes is not None):
            return
        if self._memory.exceeds_hard_limit(time.monotonic(), message_bytes):
            raise QueueFullError(
                f"the receiver has too little left of {self._memory.limit_bytes >> 20} MiB of "
                "memory (memory_limit_mib); send again later"
            )

    def _is_idle(self, *, is_received: bool) -> bool:
        # If no other request is in memory, the caches use the memory. Refusing does not free it;
        # `_free_memory` clears the caches.
        others = self._memory.in_flight.count - is_received
        return others <= 0 and self._queue.is_empty and not self._in_flight

    def _decode(self, data: bytes, signal: Signal) -> tuple[_PendingRequest | None, bytes]:
        """Decode a request and join the next group commit.

        Returns:
            The pending request (None if the same bytes were accepted before) and the digest.
        """
        digest = xxhash.xxh3_128_digest(data, seed=_DIGEST_SEEDS[signal])
        encoded = self._durability.encode(data)
        with self._queue.changed:
            self._check_accepting(len(data))
            self._free_memory(len(data))
            pending = self._in_flight.get(digest)
            if pending is not None or self._durability.is_known(digest):
                self._counters.add(requests_deduplicated=1)
                return pending, digest
            window = self._age_limits.window(time.time_ns())
            decoded = self._decoder.decode(signal, data, window)
            entry = Entry(
                sequence=self._durability.next_sequence(),
                received_unix_nano=self._clock.unix_nano(),
                earliest_unix_nano=window.earliest_unix_nano,
                latest_unix_nano=window.latest_unix_nano,
                entries=decoded.batch.entries,
                digest=digest,
                data=encoded,
                signal=signal,
            )
            pending = _PendingRequest(entry, decoded.batch, decoded.rejections)
            if decoded.rejections.counts:
                self._record_rejections(digest, decoded.rejections)
            if entry.entries:
                self._group_commit.join(pending)
                self._in_flight[digest] = pending
            else:
                pending.is_done = True  # nothing to keep
            return pending, digest

    def _free_memory(self, message_bytes: int) -> None:
        # An idle receiver accepts a message that exceeds the limit and clears the series cache for
        # it. It does so at most every 10 s, because all series must be decoded again.
        now = time.monotonic()
        if now >= self._clear_series_at and self._memory.exceeds_hard_limit(now, message_bytes):
            self._clear_series_at = now + _SERIES_CLEARED_EVERY_SECONDS
            _log.warning(
                "the process is near its memory_limit_mib (%d) with no request waiting: clearing "
                "the cache of known series, which fills again; raise the limit, or let senders "
                "send less at once",
                self._memory.limit_bytes >> 20,
            )
            self._decoder.clear_series()
            self._memory.trim(now)

    def _record_rejections(self, digest: bytes, rejections: Rejections) -> None:
        # A repeated request gets the same reply. After a restart, or when the reply was evicted, it
        # gets a reply without rejections.
        self._replies[digest] = rejections
        if len(self._replies) > _MAX_REPLIES:
            del self._replies[next(iter(self._replies))]
        self._counters.add(points_rejected=rejections.total)
        # Logged here too, because senders may not show a partial_success (the Python SDK does not);
        # not for each request of a sender that is always wrong.
        now = time.monotonic()
        if now >= self._log_rejections_at:
            self._log_rejections_at = now + _REJECTIONS_LOGGED_EVERY_SECONDS
            _log.warning("%s (further ones are counted for a minute)", rejections.message())

    def _commit(self, group: list[_PendingRequest]) -> None:
        error: ExporterError | None = None
        try:
            self._durability.append([pending.entry for pending in group])
        except ExporterError as exc:
            error = exc
        except BaseException as exc:
            error = RetryableError(f"the receiver could not keep the request: {exc!r}")
            raise
        finally:
            self._finish(group, error)

    def _finish(self, group: list[_PendingRequest], error: ExporterError | None) -> None:
        now = time.monotonic()
        with self._queue.changed:
            if error is None:
                self._enqueue(group, now)
            for pending in group:
                del self._in_flight[pending.entry.digest]
                if error is not None:
                    self._queue.put_definitions(pending.batch, now)
                pending.error = error
                pending.is_done = True

    def _enqueue(self, group: list[_PendingRequest], now: float) -> None:
        # Read after the append: until then the spool may have got another id.
        writer_id = self._durability.writer_id
        entries = sum(pending.entry.entries for pending in group)
        self._counters.add(
            points_accepted=entries,
            points_queued=entries,
            series_new=sum(len(pending.batch.new_series) for pending in group),
        )
        for pending in group:
            watermark = Watermark(writer_id, pending.entry.sequence)
            batch = replace(pending.batch, watermark=watermark)
            self._queue.put(batch, now, spill=self._memory.exceeds_soft_limit(now))
