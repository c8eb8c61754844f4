"""Times, durations and time ranges as people and programs give them; pure, `now` is an argument.

Statements use integer microseconds since 1970 UTC, the unit of the stores.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Real
from typing import Final

from exporter.errors import QueryError
from exporter.time_units import MICROSECONDS_PER_SECOND, seconds_to_micros, to_micros

Time = float | datetime
"""Seconds since 1970, or a datetime (a naive one is UTC)."""

# The years that a datetime can hold. A time outside is an error, usually of the unit.
_EARLIEST_SECONDS: Final = -62_135_596_800
_LATEST_SECONDS: Final = 253_402_300_800

_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_DURATION: Final = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_COMPACT_DATE: Final = re.compile(r"(?:19|20)\d\d(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))?")

_DURATION_FORMS: Final = "a duration such as 90m, 1h30m, 7d or 2w (units ms, s, m, h, d, w)"
_TIME_FORMS: Final = (
    f'"now", {_DURATION_FORMS}, meaning that long ago, '
    "an ISO 8601 time such as 2026-11-23 or 2026-11-23T17:04:05+01:00 (without a zone: UTC), "
    "or epoch seconds"
)


def parse_time(text: str, now: float) -> float:
    """A time as a person writes it, in epoch seconds.

    Args:
        text: "now", a duration (that long ago), an ISO 8601 date or time (UTC if it names no
            zone), or epoch seconds.
        now: epoch seconds.

    Raises:
        QueryError: the text has none of these forms, or the time is outside the years 1 to 9999.
    """
    text = text.strip()
    if text == "now":
        return _seconds(time_micros(now, "now"))
    if _DURATION.fullmatch(text):
        return _seconds(time_micros(now - _duration_seconds(text), f"time {text!r}"))
    if _COMPACT_DATE.fullmatch(text):
        # As epoch seconds they would be in 1970, and the answer would be wrong without a message.
        raise QueryError(f"time {text!r}: is it a date? Write it with dashes, such as 2026-11-23")
    if _NUMBER.fullmatch(text):
        return _seconds(time_micros(float(text), f"time {text!r}"))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(f"time {text!r} is not understood; write {_TIME_FORMS}") from None
    return _seconds(time_micros(moment, f"time {text!r}"))


def parse_duration(text: str) -> float:
    """A duration as a person writes it, in seconds.

    Args:
        text: numbers with the units ms, s, m, h, d, w ("1h30m"), or a bare number of seconds.

    Raises:
        QueryError: the text has neither form, or the duration is longer than 8,000 years.
    """
    text = text.strip()
    if not _DURATION.fullmatch(text) and not (_NUMBER.fullmatch(text) and text[0] != "-"):
        raise QueryError(
            f"duration {text!r} is not understood; write {_DURATION_FORMS}, or a number of seconds"
        )
    seconds = _duration_seconds(text)
    if seconds > _LATEST_SECONDS:
        raise QueryError(f"duration {text!r} is longer than 8,000 years; give a shorter one")
    return seconds


def _duration_seconds(text: str) -> float:
    parts = _DURATION_PART.findall(text)
    if not parts:
        return float(text)
    return math.fsum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def time_micros(value: object, what: str) -> int:
    """A time given by a program, in microseconds since 1970 UTC.

    Args:
        value: epoch seconds, or a datetime (a naive one is UTC).
        what: the name of the value in error messages.

    Raises:
        QueryError: the value is neither, is not finite, or is outside the years 1 to 9999.
    """
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return to_micros(moment)
    seconds = _finite(value, what, "give epoch seconds or a datetime (a naive one is UTC)")
    if not _EARLIEST_SECONDS <= seconds < _LATEST_SECONDS:
        raise QueryError(
            f"{what}: {value!r} seconds since 1970 is outside the years 1 to 9999; "
            "give epoch seconds, not milli- or nanoseconds"
        )
    return seconds_to_micros(seconds)


def duration_micros(value: object, what: str) -> int:
    """A duration in seconds given by a program, in microseconds.

    Raises:
        QueryError: the value is not a finite number of at least one microsecond.
    """
    seconds = _finite(value, what, "give a number of seconds above 0")
    if not 0.000_001 <= seconds <= _LATEST_SECONDS:
        raise QueryError(f"{what}: {value!r} is out of range; give a number of seconds above 0")
    return seconds_to_micros(seconds)


def _finite(value: object, what: str, advice: str) -> float:
    try:
        number = (
            math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
        )
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise QueryError(f"{what}: {value!r} is not usable; {advice}")
    return number


def _seconds(micros: int) -> float:
    return micros / MICROSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Microseconds since 1970 UTC, including `start`, excluding `end`; None is unbounded."""

    start_micros: int | None
    end_micros: int | None

    @classmethod
    def of(cls, start_time: object, end_time: object) -> TimeRange:
        """The range between two times as `time_micros` takes them; None is unbounded.

        Raises:
            QueryError: one of them is not a time, or the start is after the end.
        """
        start = None if start_time is None else time_micros(start_time, "start_time")
        end = None if end_time is None else time_micros(end_time, "end_time")
        if start is not None and end is not None and start > end:
            raise QueryError(
                f"start_time {start_time!r} is after end_time {end_time!r}; exchange them"
            )
        return cls(start, end)
