"""How many threads decode and answer requests."""

from __future__ import annotations

from typing import Final

__all__ = ["workers_for"]

# One decodes while the other receives and replies. More of them only pass the interpreter's lock
# around: gRPC to SQLite takes 1.1 times as long with eight.
_NOBODY_WAITS: Final = 2
# Each waits for its sync, and those that wait share one. With eight a request takes 1.07 times the
# CPU that it takes with four, and with so many a fast disk is no bottleneck.
_FAST_DISK: Final = 4
# Of a disk that needs 10 ms, 16 get 1,600 requests a second. With four it would be 400.
_SLOW_DISK: Final = 16
_FAST_SECONDS: Final = 0.002


def workers_for(seconds_to_sync: float | None) -> int:
    """The number of workers that serves most requests.

    Args:
        seconds_to_sync: what each waits for before it answers; None where it waits for nothing.
    """
    if seconds_to_sync is None:
        return _NOBODY_WAITS
    return _FAST_DISK if seconds_to_sync < _FAST_SECONDS else _SLOW_DISK
