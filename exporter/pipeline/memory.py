"""How much memory this process takes, against how much it may.

Memory is taken before anybody can say how much, so the last three eighths of the limit are for
requests that are being received and decoded. From half of it on, what is accepted waits in the
spool alone; from five eighths on, senders are refused; and so is any message for which what is
left would not do. One that comes while nothing waits is taken in any case, for then it is not
requests that fill the memory: what is remembered between them goes first.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Final

import psutil

from exporter.pipeline.in_flight import InFlightCounter

__all__ = ["IDLE_BYTES", "MemoryLimit"]

IDLE_BYTES: Final = 112 << 20
"""What the program takes with nothing under way (docs/robustness.md)."""

# Asking the system takes 20 us, a request of ten points not much more.
_ASK_EVERY_SECONDS: Final = 0.05
# Giving memory back takes some milliseconds, in which nobody else can take any.
_TRIM_EVERY_SECONDS: Final = 1.0
_TIGHT: Final = 1 / 2
_FULL: Final = 5 / 8
# The rest is for the batch that is written.
_RESERVED: Final = 7 / 8
# In sizes of the message (docs/robustness.md): gRPC's buffers, the message and what is kept of it;
# and what it takes to decode and store one in which every series is new. With known ones that is 3.
_TO_RECEIVE: Final = 3
_TO_DECODE: Final = 40
# Until messages have come. A large one is expected again for some hundred messages.
_EXPECTED_BYTES: Final = 1024 * 1024
_FADING: Final = 0.99


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


class MemoryLimit:
    """Says whether the process is about to grow past its limit; safe to use from any thread.

    Args:
        limit_bytes: resident memory; None for no limit.
        resident_bytes: what this process takes now.

    Attributes:
        receiving: entered while a message is under way, which is taken to be as large as the
            largest of late.
    """

    def __init__(
        self, limit_bytes: int | None, resident_bytes: Callable[[], int] = _resident_bytes
    ) -> None:
        self._limit_bytes = limit_bytes
        self._ask = resident_bytes
        self._trim = _malloc_trim()
        self._ask_at = 0.0
        self._trim_at = 0.0
        self._resident_bytes = 0
        self.receiving = InFlightCounter()
        self._counting = threading.Lock()
        self._expected_bytes = float(_EXPECTED_BYTES)

    @property
    def limit_bytes(self) -> int:
        """The limit, 0 where there is none."""
        return self._limit_bytes or 0

    def received(self, message_bytes: int) -> None:
        """Note how large a message was."""
        with self._counting:
            self._expected_bytes = max(message_bytes, self._expected_bytes * _FADING)

    def is_tight(self, now: float) -> bool:
        """Whether what can wait elsewhere should; `now` is in seconds of any steady clock."""
        limit_bytes = self._limit_bytes
        return limit_bytes is not None and self._resident(now) > limit_bytes * _TIGHT

    def is_exceeded(self, now: float, message_bytes: int | None = None) -> bool:
        """Whether a message should be refused.

        Args:
            now: in seconds of any steady clock.
            message_bytes: its size; None where it is not there yet.
        """
        limit_bytes = self._limit_bytes
        if limit_bytes is None:
            return False
        resident_bytes = self._resident(now)
        with self._counting:
            expected_bytes = self._expected_bytes
        coming_bytes = self.receiving.count * expected_bytes * _TO_RECEIVE
        if message_bytes is None:
            coming_bytes += expected_bytes * (_TO_RECEIVE + _TO_DECODE)
        else:
            coming_bytes += message_bytes * _TO_DECODE
        return (
            resident_bytes > limit_bytes * _FULL
            or resident_bytes + coming_bytes > limit_bytes * _RESERVED
        )

    def give_back(self, now: float) -> None:
        """Give what was freed just now back to the system."""
        self._trim_at = now + _TRIM_EVERY_SECONDS
        self._trim()
        self._ask_at = now + _ASK_EVERY_SECONDS
        self._resident_bytes = self._ask()

    def _resident(self, now: float) -> int:
        if now >= self._ask_at:
            self._ask_at = now + _ASK_EVERY_SECONDS
            self._resident_bytes = self._ask()
            if self._resident_bytes > self.limit_bytes * _TIGHT and now >= self._trim_at:
                self.give_back(now)
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
