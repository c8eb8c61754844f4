"""What the receiver turned away before anything was decoded, counted by reason."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

__all__ = ["ConcurrencyLimiter", "ReceiverCounts"]


@dataclass(frozen=True, slots=True)
class ReceiverCounts:
    """Counters since the receiver was made. None of these requests reached `submit`.

    Attributes:
        requests_unauthenticated: answered UNAUTHENTICATED, for want of a bearer token that counts.
        requests_overloaded: answered UNAVAILABLE, because too many were under way, or because
            no token could be read.
        requests_stalled: cut off, because their message did not arrive in time.
    """

    requests_unauthenticated: int = 0
    requests_overloaded: int = 0
    requests_stalled: int = 0


class ConcurrencyLimiter:
    """Counts requests that were turned away, and bounds those that are inside.

    Safe to use from any thread.

    Args:
        max_inside: requests that may be inside, waiting for a worker or being worked on.
    """

    def __init__(self, max_inside: int) -> None:
        self._max_inside = max_inside
        self._lock = threading.Lock()
        self._inside = 0
        self._counts = ReceiverCounts()

    def enter(self) -> bool:
        """Let one request in; each that was let in has to `leave` once.

        Returns:
            Whether there was room.
        """
        with self._lock:
            if self._inside >= self._max_inside:
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        """Let one request out."""
        with self._lock:
            self._inside -= 1

    def count(self, **amounts: int) -> ReceiverCounts:
        """Raise the named counters; returns all of them, as they are then."""
        with self._lock:
            raised = {name: getattr(self._counts, name) + by for name, by in amounts.items()}
            self._counts = replace(self._counts, **raised)
            return self._counts

    def counts(self) -> ReceiverCounts:
        """All counters at one moment."""
        return self._counts
