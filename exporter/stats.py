"""Counters of every stage, read as one consistent snapshot."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields

__all__ = ["Counters", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters since start; they balance: accepted = stored + dead + refused + lost + queued.

    Attributes:
        requests: export requests that were received completely, or refused before they were
            received.
        requests_unauthenticated: further requests, answered UNAUTHENTICATED.
        requests_stalled: further requests, cancelled because their message did not arrive in time.
        requests_undecodable: of `requests`, those answered INVALID_ARGUMENT.
        requests_turned_away: of `requests`, those answered UNAVAILABLE (queue or spool full, too
            little memory, shutting down, or an internal error of the receiver).
        requests_deduplicated: of `requests`, those answered OK because the same bytes had been
            accepted before.
        points_accepted: data points and cost events that were acknowledged, and those that were
            pending in the spool at start.
        points_replayed: of `points_accepted`, those that were pending in the spool at start.
        points_rejected: data points and log records that `partial_success` named; also points that
            were stored as such and rejected as a cost.
        costs_counted_twice: services and OpenCost nodes whose spend is sent twice; the log names
            each once.
        costs_conflicting: points of costs that came with another value than a point with their
            series, start and time; the larger value counts.
        costs_at_start: points of totals of costs whose start is their own time: the sender's first
            point, or a sender that does not know its start.
        points_queued: accepted and in none of the final states below; in memory or in the spool.
        points_stored: in the backend.
        points_dead: refused by the backend for their content, and stored as dead letters.
        points_refused: left out by the backend because of a series id collision.
        points_lost: accepted, and unreadable in a damaged spool.
        rows_evicted: deleted by a bounded backend to make room.
        rows_expired: deleted because they were older than the retention.
        texts_altered: texts that the backend cannot store unchanged; it stored U+FFFD for each
            NUL. The text of a series counts when its definition is written, not for each point.
        series_new: series definitions handed to the backend.
        batches_written: transactions.
        batch_points_largest: data points of the largest of them.
        batches_stored_before: writes whose batch was already stored by an earlier attempt with an
            unknown outcome.
        write_retries: times that a write was tried again.
        write_seconds: time spent inside the backend's write.
        spool_requests: requests pending in the spool.
        spool_bytes: their size there.
        spool_age_seconds: how long the oldest of them has been pending.
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
    costs_counted_twice: int = 0
    costs_conflicting: int = 0
    costs_at_start: int = 0
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
        """Whether every accepted point is queued or in a final state."""
        final = self.points_stored + self.points_dead + self.points_refused + self.points_lost
        return self.points_accepted == final + self.points_queued

    def __str__(self) -> str:
        """One line for the log, without the counters that are zero."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return " ".join(
            f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in values.items()
            if value
        )


class Counters:
    """The counters of one pipeline; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, float] = {}

    def add(self, **amounts: float) -> None:
        """Add to the named counters together; an amount may be negative."""
        values = self._values
        with self._lock:
            for name, amount in amounts.items():
                values[name] = values.get(name, 0) + amount

    def set_max(self, name: str, value: float) -> None:
        """Set the named counter to this value if it is lower."""
        with self._lock:
            self._values[name] = max(self._values.get(name, 0), value)

    def snapshot(self, **gauges: float) -> Snapshot:
        """All counters at one moment, with gauges that were measured by the caller."""
        with self._lock:
            # Only counters of seconds are given floats.
            return Snapshot(**self._values, **gauges)  # type: ignore[arg-type]
