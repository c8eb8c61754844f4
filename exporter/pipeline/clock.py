"""What time it is for the spool: the time of day as it was at start, counted on steadily.

A clock that is set forward by a day must not make the receiver forget which requests it has seen,
nor take a request of this minute for one that has waited too long.
"""

from __future__ import annotations

import time

__all__ = ["SteadyClock"]


class SteadyClock:
    """Nanoseconds since 1970, by the clock as it was when this was made."""

    def __init__(self) -> None:
        self._offset_nano = time.time_ns() - time.monotonic_ns()

    def unix_nano(self) -> int:
        """The time now."""
        return time.monotonic_ns() + self._offset_nano
