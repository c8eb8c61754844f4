"""The times that a point may have, relative to the receiver's clock.

A sender with a wrong clock (1970, seconds instead of nanoseconds, the year 2255) would make the
database create a partition for every day that it names. The limits reject such points. Pure: the
current time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exporter.time_units import NANOSECONDS_PER_DAY, from_nanos

INT64_MAX: Final = (1 << 63) - 1
"""The largest number that a database column holds; as a time it is in the year 2262."""


@dataclass(frozen=True, slots=True)
class AgeLimits:
    """How far from the receiver's clock a point may be, in days; None for no limit."""

    max_past_days: float | None = None
    max_future_days: float | None = None

    def window(self, now_unix_nano: int) -> TimeWindow:
        """The times that a point may have when it is received at this time."""
        past, future = self.max_past_days, self.max_future_days
        earliest = 1 if past is None else max(1, now_unix_nano - _to_nanoseconds(past))
        latest = INT64_MAX if future is None else now_unix_nano + _to_nanoseconds(future)
        return TimeWindow(earliest, min(latest, INT64_MAX), now_unix_nano, self)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The times that points may have, both ends included; made by `AgeLimits.window`.

    Attributes:
        earliest_unix_nano: at least 1.
        latest_unix_nano: at most the largest signed 64-bit integer.
        now_unix_nano: the receiver's clock, for the reason of a rejection.
        limits: the limits that the window was made from, for the reason of a rejection.
    """

    earliest_unix_nano: int
    latest_unix_nano: int
    now_unix_nano: int
    limits: AgeLimits

    def contains(self, time_unix_nano: int) -> bool:
        """Whether a point may have this time."""
        return self.earliest_unix_nano <= time_unix_nano <= self.latest_unix_nano

    def rejection_reason(self, time_unix_nano: int) -> str | None:
        """Why a point may not have this time; None if it may.

        The text names the limit and not the time of the point, so that all points that one limit
        rejects are counted together.
        """
        if self.contains(time_unix_nano):
            return None
        if time_unix_nano < self.earliest_unix_nano:
            side, limit = "behind", f"max_past_days ({self.limits.max_past_days})"
        else:
            side, limit = "ahead of", f"max_future_days ({self.limits.max_future_days})"
        return (
            f"time_unix_nano is further {side} the receiver's clock, "
            f"{from_nanos(self.now_unix_nano):%Y-%m-%dT%H:%M:%SZ}, "
            f"than exporters.openfinops.{limit} allows"
        )


def _to_nanoseconds(days: float) -> int:
    return round(days * NANOSECONDS_PER_DAY)


ANY_TIME: Final = AgeLimits().window(0)
"""Every time that can be stored."""
