"""Takes requests on the callers' threads: decoded, made durable, put in the queue.

Decoding is under the queue's lock: the interpreter runs one decoder at a time anyway, and series
definitions must reach the backend no later than the first points that need them. Syncing to disk
is not, and is shared by those who come together (`exporter.pipeline.group_commit`).
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
from exporter.pipeline.clock import SteadyClock
from exporter.pipeline.durability import Durability
from exporter.pipeline.group_commit import GroupCommit, Member
from exporter.pipeline.memory import MemoryLimit
from exporter.pipeline.queue import Queue
from exporter.pipeline.request_decoder import RequestDecoder
from exporter.spool import Entry, Signal
from exporter.stats import Counters
from exporter.wire import AgeLimits, Rejections

__all__ = ["Intake"]

_log = logging.getLogger(__name__)

_REJECTIONS_LOGGED_EVERY_SECONDS: Final = 60.0
_ROOM_MADE_EVERY_SECONDS: Final = 10.0
# Answers that were not plain "all is well", about 1 KiB each.
_MOST_ANSWERS: Final = 1_000
_NO_REJECTIONS: Final = Rejections()
_SEEDS: Final[dict[Signal, int]] = {"metrics": 0, "logs": 1}


@dataclass(slots=True)
class _Ticket(Member):
    """A request between decoding and its answer."""

    entry: Entry
    batch: Batch
    rejections: Rejections
    error: ExporterError | None = None


class Intake:
    """Accepts requests until it is closed.

    Args:
        queue: where batches go; its lock guards the series and everything here.
        decoder: decodes requests.
        durability: keeps requests until they are stored.
        counters: of the pipeline.
        age_limits: which times points may have.
        memory: how much this process may take.
        clock: what requests are stamped with.
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
        clock: SteadyClock,
    ) -> None:
        self._queue = queue
        self._decoder = decoder
        self._durability = durability
        self._counters = counters
        self._age_limits = age_limits
        self._memory = memory
        self._clock = clock
        self._is_open = False
        self._under_way: dict[bytes, _Ticket] = {}
        self._answers: dict[bytes, Rejections] = {}
        self._syncing = GroupCommit[_Ticket](queue.changed, self._keep)
        self._log_rejections_at = 0.0
        self._make_room_at = 0.0

    def open(self) -> None:
        """Begin to accept."""
        self._is_open = True

    def close(self) -> None:
        """Accept nothing more; when it returns, all that was accepted is in the queue."""
        with self._queue.changed:
            self._is_open = False
        self._syncing.finish()

    @property
    def is_accepting(self) -> bool:
        """Whether a request would be taken now."""
        try:
            self._check_open()
        except RetryableError:
            return False
        return True

    def receiving(self) -> AbstractContextManager[None]:
        """See `Pipeline.receiving`."""
        try:
            self._check_open()
        except BaseException:
            self._counters.add(requests=1, requests_turned_away=1)
            raise
        return self._memory.receiving

    def submit(self, data: bytes, signal: Signal = "metrics") -> Rejections:
        """See `Pipeline.submit` and `Pipeline.submit_logs`."""
        self._counters.add(requests=1)
        self._memory.received(len(data))
        try:
            return self._submit(data, signal)
        except DecodeError:
            self._counters.add(requests_undecodable=1)
            raise
        except BaseException:
            self._counters.add(requests_turned_away=1)
            raise

    def _submit(self, data: bytes, signal: Signal) -> Rejections:
        self._check_open(len(data))
        with self._syncing.coming:
            ticket, digest = self._decoded(data, signal)
        if ticket is None:
            return self._answers.get(digest, _NO_REJECTIONS)
        self._syncing.wait(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.rejections

    def _decoded(self, data: bytes, signal: Signal) -> tuple[_Ticket | None, bytes]:
        # The ticket, None for what is kept already; and the digest.
        # Seeded, because the same bytes may be a request of either signal.
        digest = xxhash.xxh3_128_digest(data, seed=_SEEDS[signal])
        kept = self._durability.prepare(data)
        with self._queue.changed:
            self._check_open(len(data))
            self._make_room(len(data))
            ticket = self._under_way.get(digest)
            if ticket is None and not self._durability.knows(digest):
                return self._accept(data, signal, digest, kept), digest
        self._counters.add(requests_deduplicated=1)
        return ticket, digest

    def _check_open(self, message_bytes: int | None = None) -> None:
        if not self._is_open:
            raise ShuttingDownError("the receiver is shutting down; send again later")
        self._durability.check_room()
        if self._is_idle(is_here=message_bytes is not None):
            return
        if self._memory.is_exceeded(time.monotonic(), message_bytes):
            raise QueueFullError(
                f"the receiver has too little left of {self._memory.limit_bytes >> 20} MiB of "
                "memory (memory_limit_mib); send again later"
            )

    def _make_room(self, message_bytes: int) -> None:
        # Only for a message that is taken although it does not fit; rarely, because all series
        # have to be learned again afterwards.
        now = time.monotonic()
        if now >= self._make_room_at and self._memory.is_exceeded(now, message_bytes):
            self._make_room_at = now + _ROOM_MADE_EVERY_SECONDS
            _log.warning(
                "the process is near its memory_limit_mib (%d) with nothing waiting: forgetting "
                "the known series, which are learned again; raise it, or let senders send less "
                "at once",
                self._memory.limit_bytes >> 20,
            )
            self._decoder.forget_series()
            self._memory.give_back(now)

    def _is_idle(self, *, is_here: bool) -> bool:
        # With nothing in memory it is not requests that fill it, and refusing would not help.
        others = self._memory.receiving.count - is_here
        return others <= 0 and self._queue.is_empty and not self._under_way

    def _accept(self, data: bytes, signal: Signal, digest: bytes, kept: bytes) -> _Ticket:
        window = self._age_limits.window(time.time_ns())
        decoded = self._decoder.read(signal, data, window)
        self._note(decoded.rejections)
        sequence = self._durability.next_sequence()
        entry = Entry(
            sequence=sequence,
            received_unix_nano=self._clock.unix_nano(),
            earliest_unix_nano=window.earliest_unix_nano,
            latest_unix_nano=window.latest_unix_nano,
            entries=decoded.batch.entries,
            digest=digest,
            data=kept,
            signal=signal,
        )
        ticket = _Ticket(entry, decoded.batch, decoded.rejections)
        if decoded.rejections.counts:
            self._remember_answer(digest, decoded.rejections)
        if decoded.batch.entries:
            self._syncing.join(ticket)
            self._under_way[digest] = ticket
        else:
            ticket.is_settled = True  # there is nothing to keep
        return ticket

    def _remember_answer(self, digest: bytes, rejections: Rejections) -> None:
        # A second attempt gets the same answer; after a restart, or among many, that all is well.
        self._answers[digest] = rejections
        if len(self._answers) > _MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]

    def _keep(self, group: list[_Ticket]) -> None:
        error: ExporterError | None = None
        try:
            self._durability.append([ticket.entry for ticket in group])
        except ExporterError as exc:
            error = exc
        except BaseException as exc:
            error = RetryableError(f"the receiver could not keep the request: {exc!r}")
            raise
        finally:
            self._settle(group, error)

    def _settle(self, group: list[_Ticket], error: ExporterError | None) -> None:
        now = time.monotonic()
        with self._queue.changed:
            if error is None:
                self._hand_on(group, now)
            for ticket in group:
                del self._under_way[ticket.entry.digest]
                if error is not None:
                    self._queue.define(ticket.batch, now)
                ticket.error = error
                ticket.is_settled = True

    def _hand_on(self, group: list[_Ticket], now: float) -> None:
        # Not before it is kept: the spool's name may have become another one until now.
        writer_id = self._durability.writer_id
        entries = sum(ticket.entry.entries for ticket in group)
        self._counters.add(
            points_accepted=entries,
            points_queued=entries,
            series_new=sum(len(ticket.batch.new_series) for ticket in group),
        )
        for ticket in group:
            batch = replace(ticket.batch, watermark=Watermark(writer_id, ticket.entry.sequence))
            self._queue.put(batch, now, is_tight=self._memory.is_tight(now))

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
