"""The memory limit of the process: when requests wait in the spool alone, when they are refused.

A request uses memory before its size is known, so the last three eighths of the limit
are reserved for requests that are being received and decoded.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Final

import psutil

from exporter.pipeline.in_flight_counter import InFlightCounter

IDLE_BYTES: Final = 112 << 20
"""What the process takes while it handles no request (docs/robustness.md)."""

# Reading the resident size takes 20 us, a request of ten points not much more.
_MEASURE_EVERY_SECONDS: Final = 0.05
# malloc_trim takes some milliseconds, during which no other thread can allocate.
_TRIM_EVERY_SECONDS: Final = 1.0
# Shares of the limit. Above the first, accepted requests wait in the spool alone; above the second,
# requests are refused.
_SOFT_SHARE: Final = 1 / 2
_HARD_SHARE: Final = 5 / 8
# A request is refused if the process would pass this share with it. The rest is for the batch that
# is being written.
_PEAK_SHARE: Final = 7 / 8
# Multiples of the message's size (docs/robustness.md). Receiving: gRPC's buffers, the message and
# what is kept of it. Decoding: decoding and storing a message in which every series is new; with
# known series it is 3.
_BYTES_TO_RECEIVE: Final = 3
_BYTES_TO_DECODE: Final = 40
# The size that is expected of a message until some have come.
_INITIAL_EXPECTED_BYTES: Final = 1024 * 1024
# After a large message, messages as large are expected for some hundred more.
_EXPECTED_DECAY: Final = 0.99


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


class MemoryLimit:
    """Compares the memory of the process with its limit; safe to use from any thread.

    Args:
        limit_bytes: of resident memory; None for no limit.
        resident_bytes: measures what this process takes now.

    Attributes:
        in_flight: entered while a message is received and handled. Each is counted as large as the
            largest of the last messages.
    """

    def __init__(
        self, limit_bytes: int | None, resident_bytes: Callable[[], int] = _resident_bytes
    ) -> None:
        self._limit_bytes = limit_bytes
        self._measure = resident_bytes
        self._malloc_trim = _find_malloc_trim()
        self._measure_at = 0.0
        self._trim_at = 0.0
        self._resident_bytes = 0
        self.in_flight = InFlightCounter()
        self._expected_lock = threading.Lock()
        self._expected_bytes = float(_INITIAL_EXPECTED_BYTES)

    @property
    def limit_bytes(self) -> int:
        """The limit, 0 if there is none."""
        return self._limit_bytes or 0

    def record_message(self, message_bytes: int) -> None:
        """Note how large a message was, to know what to expect of the next ones."""
        with self._expected_lock:
            self._expected_bytes = max(message_bytes, self._expected_bytes * _EXPECTED_DECAY)

    def exceeds_soft_limit(self, now: float) -> bool:
        """Whether accepted requests should wait in the spool alone.

        Args:
            now: in seconds of any steady clock.
        """
        limit_bytes = self._limit_bytes
        return limit_bytes is not None and self._resident(now) > limit_bytes * _SOFT_SHARE

    def exceeds_hard_limit(self, now: float, message_bytes: int | None = None) -> bool:
        """Whether a message should be refused.

        Args:
            now: in seconds of any steady clock.
            message_bytes: its size; None before it is received.
        """
        limit_bytes = self._limit_bytes
        if limit_bytes is None:
            return False
        resident_bytes = self._resident(now)
        with self._expected_lock:
            expected_bytes = self._expected_bytes
        upcoming_bytes = self.in_flight.count * expected_bytes * _BYTES_TO_RECEIVE
        if message_bytes is None:
            upcoming_bytes += expected_bytes * (_BYTES_TO_RECEIVE + _BYTES_TO_DECODE)
        else:
            upcoming_bytes += message_bytes * _BYTES_TO_DECODE
        return (
            resident_bytes > limit_bytes * _HARD_SHARE
            or resident_bytes + upcoming_bytes > limit_bytes * _PEAK_SHARE
        )

    def trim(self, now: float) -> None:
        """Return freed memory to the system, and measure again.

        Args:
            now: in seconds of the same clock.
        """
        self._trim_at = now + _TRIM_EVERY_SECONDS
        self._malloc_trim()
        self._measure_at = now + _MEASURE_EVERY_SECONDS
        self._resident_bytes = self._measure()

    def _resident(self, now: float) -> int:
        if now >= self._measure_at:
            self._measure_at = now + _MEASURE_EVERY_SECONDS
            self._resident_bytes = self._measure()
            if self._resident_bytes > self.limit_bytes * _SOFT_SHARE and now >= self._trim_at:
                self.trim(now)
        return self._resident_bytes


def _find_malloc_trim() -> Callable[[], object]:
    """The call that returns freed memory to the system; does nothing without glibc.

    glibc keeps freed memory in an arena of each thread. Without this call, the process would stay
    above its limit after a burst, although the freed memory is unused.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    trim = getattr(library, "malloc_trim", None)
    if trim is None:
        return lambda: None
    trim.argtypes = [ctypes.c_size_t]
    return lambda: trim(0)
