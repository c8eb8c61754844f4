"""What has gone through each stage, counted once and read as one consistent snapshot."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, replace

__all__ = ["Counters", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters since start; they balance: accepted = stored + failed + refused + queued.

    Attributes:
        requests: export requests that arrived.
        requests_undecodable: of these, answered INVALID_ARGUMENT.
        requests_turned_away: of these, answered UNAVAILABLE (buffer full, shutting down, or an
            error of the receiver's own).
        points_accepted: data points acknowledged.
        points_rejected: data points that `partial_success` named.
        points_queued: acknowledged and not yet written.
        points_stored: written.
        points_failed: acknowledged, and lost because the backend refused their batch for good.
        points_refused: acknowledged, and left out by the backend for a series id collision.
        rows_evicted: let go by a bounded backend to make room.
        rows_expired: deleted because they were older than the retention.
        series_new: series definitions handed to the backend.
        batches_written: transactions.
        write_retries: times that a write was tried again.
        write_seconds: time spent inside the backend's write.
    """

    requests: int = 0
    requests_undecodable: int = 0
    requests_turned_away: int = 0
    points_accepted: int = 0
    points_rejected: int = 0
    points_queued: int = 0
    points_stored: int = 0
    points_failed: int = 0
    points_refused: int = 0
    rows_evicted: int = 0
    rows_expired: int = 0
    series_new: int = 0
    batches_written: int = 0
    write_retries: int = 0
    write_seconds: float = 0.0

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
        self._now = Snapshot()

    def add(self, **amounts: float) -> None:
        """Raise (or with a negative amount, lower) the named counters together."""
        with self._lock:
            changed = {name: getattr(self._now, name) + by for name, by in amounts.items()}
            self._now = replace(self._now, **changed)

    def snapshot(self) -> Snapshot:
        """All counters at one moment."""
        return self._now
