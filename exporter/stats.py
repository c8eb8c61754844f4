"""What has gone through each stage, counted once and read as one consistent snapshot."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields

__all__ = ["Counters", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters since start; they balance: accepted = stored + dead + refused + lost + queued.

    Attributes:
        requests: export requests that arrived whole, or were turned away before that.
        requests_unauthenticated: further ones, answered UNAUTHENTICATED.
        requests_stalled: further ones, cut off because their message did not arrive in time.
        requests_undecodable: of these, answered INVALID_ARGUMENT.
        requests_turned_away: of these, answered UNAVAILABLE (buffer or spool full, too little
            memory, shutting down, or an error of the receiver's own).
        requests_deduplicated: of these, answered OK because the same bytes had been taken before.
        points_accepted: data points and cost events acknowledged, and those that waited in the
            spool at start.
        points_replayed: of these, those that waited in the spool at start.
        points_rejected: data points and log records that `partial_success` named; also points that
            were stored as such and refused as a cost.
        points_queued: accepted and not yet settled, in memory or in the spool.
        points_stored: in the backend.
        points_dead: refused by the backend for their content, and put among its dead letters.
        points_refused: left out by the backend for a series id collision.
        points_lost: accepted, and not to be read again from a spool that was damaged.
        rows_evicted: let go by a bounded backend to make room.
        rows_expired: deleted because they were older than the retention.
        texts_altered: texts that the backend cannot hold as they came, stored with U+FFFD for each
            NUL. That of a series counts when its definition is written, not for each point.
        series_new: series definitions handed to the backend.
        batches_written: transactions.
        batch_points_largest: data points of the largest of them.
        batches_stored_before: writes that found their batch stored by an attempt whose outcome had
            been unknown.
        write_retries: times that a write was tried again.
        write_seconds: time spent inside the backend's write.
        spool_requests: requests that wait in the spool.
        spool_bytes: their size there.
        spool_age_seconds: for how long the oldest of them has waited.
    """

    requests: int = 0
    requests_unauthenticated: int = 0
    requests_stalled: int = 0
    requests_undecodable: int = 0
    requests_turned_away: int = 0
    requests_deduplicated: int = 0
    points_accepted: int = 0
    points_replayed: int = 0
    points_rejected: int = 0
    points_queued: int = 0
    points_stored: int = 0
    points_dead: int = 0
    points_refused: int = 0
    points_lost: int = 0
    rows_evicted: int = 0
    rows_expired: int = 0
    texts_altered: int = 0
    series_new: int = 0
    batches_written: int = 0
    batch_points_largest: int = 0
    batches_stored_before: int = 0
    write_retries: int = 0
    write_seconds: float = 0.0
    spool_requests: int = 0
    spool_bytes: int = 0
    spool_age_seconds: float = 0.0

    @property
    def is_balanced(self) -> bool:
        """Whether every accepted point is accounted for."""
        settled = self.points_stored + self.points_dead + self.points_refused + self.points_lost
        return self.points_accepted == settled + self.points_queued

    def __str__(self) -> str:
        """One line for the log, without the counters that are zero."""
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        return " ".join(
            f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in shown.items()
            if value
        )


class Counters:
    """The one place where counters change; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, float] = {}

    def add(self, **amounts: float) -> None:
        """Raise (or with a negative amount, lower) the named counters together."""
        now = self._now
        with self._lock:
            for name, amount in amounts.items():
                now[name] = now.get(name, 0) + amount

    def at_least(self, name: str, value: float) -> None:
        """Raise the named counter to this value if it is lower."""
        with self._lock:
            self._now[name] = max(self._now.get(name, 0), value)

    def snapshot(self, **gauges: float) -> Snapshot:
        """All counters at one moment, with what is not counted but measured."""
        with self._lock:
            return Snapshot(**self._now, **gauges)  # type: ignore[arg-type]  # int where it counts
