"""Quantiles out of bucket counts; pure.

As Prometheus' histogram_quantile does, values are taken to lie evenly within their bucket: evenly
in value for explicit bounds, evenly in logarithm for exponential buckets. Where the smallest and
largest value are known they cut the buckets, which makes the ends exact.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ExponentialCounts", "explicit_quantile", "exponential_quantile"]

_HIGHEST_EXPONENT: Final = 1024  # 2.0**1024 is the first that a double cannot hold


@dataclass(frozen=True, slots=True)
class _Interval:
    """Values above `lower` up to `upper`, how many, and whether they spread logarithmically."""

    lower: float
    upper: float
    count: float
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class ExponentialCounts:
    """Bucket counts of one scale; see `exporter.model.ExponentialBuckets` for the bounds."""

    scale: int
    zero_count: float
    zero_threshold: float
    positive: Mapping[int, float]
    negative: Mapping[int, float]

    @classmethod
    def merge(
        cls, parts: Iterable[tuple[int, int, int, float]], zero_threshold: float
    ) -> ExponentialCounts:
        """Counts of any scales at the coarsest of them.

        One step of scale joins two neighbouring buckets, so a bucket's place at a scale that is
        coarser by n is its index shifted right by n.

        Args:
            parts: scale, sign of the values (1, -1, or 0 for the zero bucket), bucket index, and
                count; at least one.
            zero_threshold: the widest zero bucket.
        """
        parts = list(parts)
        scale = min(part[0] for part in parts)
        counts: dict[int, dict[int, float]] = {-1: {}, 0: {}, 1: {}}
        for own_scale, sign, index, count in parts:
            place = index >> (own_scale - scale)
            counts[sign][place] = counts[sign].get(place, 0) + count
        return cls(scale, sum(counts[0].values()), zero_threshold, counts[1], counts[-1])


def explicit_quantile(
    quantile: float,
    bounds: Sequence[float],
    counts: Sequence[float],
    low: float | None = None,
    high: float | None = None,
) -> float | None:
    """The value below which this share of the values lies, from explicit buckets.

    Without `low` the first bucket is taken to begin at 0 if it ends above 0, else its end is the
    answer; without `high` the highest bound is the answer for the last bucket.

    Args:
        quantile: 0 to 1.
        bounds: upper bounds, ascending; the last bucket has none.
        counts: one more than there are bounds.
        low: no value is smaller, None if unknown.
        high: no value is larger, None if unknown.

    Returns:
        None if there are no values, or one bucket without bounds holds them all.
    """
    low, high = _consistent(low, high)
    first = 0.0 if low is None and bounds and bounds[0] > 0 else -math.inf
    edges = [first, *bounds, math.inf]
    intervals = [
        _Interval(edges[index], edges[index + 1], count) for index, count in enumerate(counts)
    ]
    return _interpolate(quantile, intervals, low, high)


def exponential_quantile(
    quantile: float,
    counts: ExponentialCounts,
    low: float | None = None,
    high: float | None = None,
) -> float | None:
    """The value below which this share of the values lies, from exponential buckets.

    The zero bucket reaches to the zero threshold on a side only where there are values beyond it
    on that side or none on either.

    Args:
        quantile: 0 to 1.
        counts: what the buckets hold.
        low: no value is smaller, None if unknown.
        high: no value is larger, None if unknown.

    Returns:
        None if there are no values.
    """
    low, high = _consistent(low, high)
    negative, positive = _beyond_zero(counts, -1), _beyond_zero(counts, 1)
    edge = counts.zero_threshold
    zero = _Interval(
        0.0 if positive and not negative else 0.0 - edge,
        0.0 if negative and not positive else edge,
        counts.zero_count,
    )
    return _interpolate(quantile, [*negative, zero, *positive], low, high)


def _beyond_zero(counts: ExponentialCounts, sign: Literal[-1, 1]) -> list[_Interval]:
    """The filled buckets on one side, ascending by value."""
    intervals = []
    for index, count in sorted((counts.positive if sign == 1 else counts.negative).items()):
        # A bucket that reaches into the zero bucket of another series begins where that one ends.
        near = max(_power(index, counts.scale), counts.zero_threshold)
        far = max(_power(index + 1, counts.scale), counts.zero_threshold)
        lower, upper = (near, far) if sign == 1 else (-far, -near)
        if count > 0:
            intervals.append(_Interval(lower, upper, count, logarithmic=True))
    return intervals[::sign]


def _power(index: int, scale: int) -> float:
    """base**index with base = 2**(2**-scale), within what a double holds."""
    exponent = math.ldexp(index, -scale)
    if exponent >= _HIGHEST_EXPONENT:
        return sys.float_info.max
    return math.pow(2.0, exponent)


def _consistent(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """The limits; none if a sender said that the smallest value is larger than the largest."""
    if low is not None and high is not None and low > high:
        return None, None
    return low, high


def _interpolate(
    quantile: float, intervals: Iterable[_Interval], low: float | None, high: float | None
) -> float | None:
    # A count below 0 comes of a reset that nothing gave away; it cannot hold values.
    filled = [_cut(interval, low, high) for interval in intervals if interval.count > 0]
    if not filled:
        return None
    rank = quantile * math.fsum(interval.count for interval in filled)
    for interval in filled:
        if rank <= interval.count:
            return _within(interval, rank / interval.count)
        rank -= interval.count
    return _within(filled[-1], 1.0)  # rounding left a rest


def _cut(interval: _Interval, low: float | None, high: float | None) -> _Interval:
    floor = -math.inf if low is None else low
    ceiling = math.inf if high is None else high
    return _Interval(
        min(max(interval.lower, floor), ceiling),
        min(max(interval.upper, floor), ceiling),
        interval.count,
        interval.logarithmic,
    )


def _within(interval: _Interval, share: float) -> float | None:
    lower, upper = interval.lower, interval.upper
    if math.isinf(lower) or math.isinf(upper):
        return next((edge for edge in (lower, upper) if math.isfinite(edge)), None)
    if interval.logarithmic and (lower > 0 or upper < 0):
        value = _logarithmic(lower, upper, share)
    else:
        value = lower * (1 - share) + upper * share
    return min(max(value, lower), upper)  # rounding may lead out of the bucket


def _logarithmic(lower: float, upper: float, share: float) -> float:
    start, end = math.log2(abs(lower)), math.log2(abs(upper))
    exponent = min(start + (end - start) * share, math.nextafter(_HIGHEST_EXPONENT, 0))
    return math.copysign(2.0**exponent, lower)
