"""How much memory this process takes, against how much it may.

Three steps, because memory is taken before anybody can say how much: from five eighths of the limit
on, what is accepted waits in the spool alone; from three quarters on, senders are refused; the last
quarter is for requests that are being received and decoded meanwhile.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final

import psutil

__all__ = ["MemoryLimit"]

# Asking the system takes 20 us, a request of ten points not much more.
_ASK_EVERY_SECONDS: Final = 0.05
# Giving memory back takes some milliseconds, in which nobody else can take any.
_TRIM_EVERY_SECONDS: Final = 1.0
_TIGHT: Final = 5 / 8
_FULL: Final = 3 / 4
# A request of new series takes 12 times its size, one of known ones 3 times (docs/robustness.md).
_DECODED_PER_BYTE: Final = 12


class MemoryLimit:
    """Says whether the process is about to grow past its limit.

    Args:
        limit_bytes: resident memory; None for no limit.
    """

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes
        self._process = psutil.Process()
        self._trim = _malloc_trim()
        self._ask_at = 0.0
        self._trim_at = 0.0
        self._resident_bytes = 0

    @property
    def limit_bytes(self) -> int:
        """The limit, 0 where there is none."""
        return self._limit_bytes or 0

    def is_tight(self, now: float) -> bool:
        """Whether what can wait elsewhere should; `now` is in seconds of any steady clock."""
        limit_bytes = self._limit_bytes
        return limit_bytes is not None and self._resident(now) > limit_bytes * _TIGHT

    def is_exceeded(self, now: float, request_bytes: int = 0) -> bool:
        """Whether a request should be refused.

        Args:
            now: in seconds of any steady clock.
            request_bytes: its size, where it is there already.
        """
        limit_bytes = self._limit_bytes
        if limit_bytes is None:
            return False
        resident_bytes = self._resident(now)
        with_it_bytes = resident_bytes + request_bytes * _DECODED_PER_BYTE
        return resident_bytes > limit_bytes * _FULL or with_it_bytes > limit_bytes

    def _resident(self, now: float) -> int:
        if now >= self._ask_at:
            self._ask_at = now + _ASK_EVERY_SECONDS
            self._resident_bytes = self._process.memory_info().rss
            if self._resident_bytes > self.limit_bytes * _TIGHT and now >= self._trim_at:
                self._trim_at = now + _TRIM_EVERY_SECONDS
                self._trim()
                self._resident_bytes = self._process.memory_info().rss
        return self._resident_bytes


def _malloc_trim() -> Callable[[], object]:
    """Gives what was freed back to the system, where the C library is glibc.

    It keeps freed memory in an arena for each thread, and would for ever: after a burst from many
    senders the process would stay above its limit with nothing in it.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    trim = getattr(library, "malloc_trim", None)
    if trim is None:
        return lambda: None
    trim.argtypes = [ctypes.c_size_t]
    return lambda: trim(0)
