"""Conversions between the time units of the wire, the stores and Python; pure.

OTLP counts nanoseconds since 1970 UTC, the stores keep whole microseconds, the Python API answers
with seconds. Integers are converted as integers: a double has 53 bits, and nanoseconds need 61.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = [
    "EPOCH",
    "MICROSECONDS_PER_SECOND",
    "NANOSECONDS_PER_DAY",
    "NANOSECONDS_PER_HOUR",
    "NANOSECONDS_PER_MICROSECOND",
    "NANOSECONDS_PER_SECOND",
    "SECONDS_PER_DAY",
    "from_micros",
    "from_nanos",
    "nanos_to_micros",
    "seconds_to_micros",
    "to_micros",
    "to_nanos",
]

SECONDS_PER_DAY: Final = 86_400
MICROSECONDS_PER_SECOND: Final = 1_000_000
NANOSECONDS_PER_MICROSECOND: Final = 1_000
NANOSECONDS_PER_SECOND: Final = 1_000_000_000
NANOSECONDS_PER_HOUR: Final = 3_600 * NANOSECONDS_PER_SECOND
NANOSECONDS_PER_DAY: Final = SECONDS_PER_DAY * NANOSECONDS_PER_SECOND

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def from_micros(unix_micros: int) -> datetime:
    """The UTC datetime of microseconds since 1970.

    Raises:
        OverflowError: it is before the year 1 or after the year 9999.
    """
    return EPOCH + timedelta(microseconds=unix_micros)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime."""
    return (moment - EPOCH) // _MICROSECOND


def nanos_to_micros(unix_nano: int) -> int:
    """Nanoseconds as whole microseconds, rounded down."""
    return unix_nano // NANOSECONDS_PER_MICROSECOND


def from_nanos(unix_nano: int) -> datetime:
    """The UTC datetime of nanoseconds since 1970, rounded down to a microsecond."""
    return from_micros(nanos_to_micros(unix_nano))


def to_nanos(moment: datetime) -> int:
    """Nanoseconds since 1970 of an aware datetime."""
    return to_micros(moment) * NANOSECONDS_PER_MICROSECOND


def seconds_to_micros(unix_seconds: float) -> int:
    """Microseconds since 1970, rounded, of seconds as the Python API gives them.

    Seconds as a double are exact to a microsecond until the year 2242.
    """
    return round(unix_seconds * MICROSECONDS_PER_SECOND)
