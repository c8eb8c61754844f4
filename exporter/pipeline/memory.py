"""How much memory this process takes, against how much it may."""

from __future__ import annotations

from typing import Final

import psutil

__all__ = ["MemoryLimit"]

# Asking the system takes 20 us, a request of ten points not much more.
_ASK_EVERY_SECONDS: Final = 0.05


class MemoryLimit:
    """Says whether the process has grown past its limit.

    Args:
        limit_bytes: resident memory; None for no limit.
    """

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes
        self._process = psutil.Process()
        self._ask_at = 0.0
        self._is_exceeded = False

    @property
    def limit_bytes(self) -> int:
        """The limit, 0 where there is none."""
        return self._limit_bytes or 0

    def is_exceeded(self, now: float) -> bool:
        """Whether the limit was exceeded lately; `now` is in seconds of any steady clock."""
        if self._limit_bytes is not None and now >= self._ask_at:
            self._ask_at = now + _ASK_EVERY_SECONDS
            self._is_exceeded = self._process.memory_info().rss > self._limit_bytes
        return self._is_exceeded
