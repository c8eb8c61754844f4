"""Which times a point may have: not too far from the moment at which it is received.

A sender with a broken clock (1970, or seconds taken for nanoseconds, or the year 2255) would make
a partition for every day that it invents, so limits refuse its points by name. Pure: the moment is
an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

__all__ = ["ANY_TIME", "AgeLimits", "TimeWindow"]

_NANOSECONDS_PER_SECOND: Final = 1_000_000_000
_NANOSECONDS_PER_DAY: Final = 86_400 * _NANOSECONDS_PER_SECOND
_INT64_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class AgeLimits:
    """How far from the receiver's clock a point may be, in days; None for any distance."""

    max_past_days: float | None = None
    max_future_days: float | None = None

    def window(self, now_unix_nano: int) -> TimeWindow:
        """The times that points may have at this moment."""
        past, future = self.max_past_days, self.max_future_days
        earliest = 1 if past is None else max(1, now_unix_nano - _nanoseconds(past))
        latest = _INT64_MAX if future is None else now_unix_nano + _nanoseconds(future)
        return TimeWindow(earliest, min(latest, _INT64_MAX), now_unix_nano, self)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The times that points may have, both ends included; get one from `AgeLimits.window`.

    Attributes:
        earliest_unix_nano: at least 1.
        latest_unix_nano: at most the largest signed 64-bit integer.
        now_unix_nano: the receiver's clock, for reasons.
        limits: what the window comes from, likewise.
    """

    earliest_unix_nano: int
    latest_unix_nano: int
    now_unix_nano: int
    limits: AgeLimits

    def holds(self, time_unix_nano: int) -> bool:
        """Whether a point may have this time."""
        return self.earliest_unix_nano <= time_unix_nano <= self.latest_unix_nano

    def refusal(self, time_unix_nano: int) -> str | None:
        """Why a point may not have this time; None if it may.

        Points of one request that are refused by the same limit get the same text, so that they
        are counted together.
        """
        if self.holds(time_unix_nano):
            return None
        if time_unix_nano < self.earliest_unix_nano:
            side, limit = "behind", f"max_past_days ({self.limits.max_past_days})"
        else:
            side, limit = "ahead of", f"max_future_days ({self.limits.max_future_days})"
        now = datetime.fromtimestamp(self.now_unix_nano // _NANOSECONDS_PER_SECOND, UTC)
        return (
            f"time_unix_nano is further {side} the receiver's clock, {now:%Y-%m-%dT%H:%M:%SZ}, "
            f"than exporters.openfinops.{limit} allows"
        )


def _nanoseconds(days: float) -> int:
    return round(days * _NANOSECONDS_PER_DAY)


ANY_TIME: Final = AgeLimits().window(0)
"""Every time that can be stored."""
