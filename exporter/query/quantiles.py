"""Quantiles from bucket counts; pure.

Interpolation follows Prometheus' histogram_quantile: values are assumed to be uniform within their
bucket, in value for explicit bounds, in logarithm for exponential buckets. If the smallest and
largest value are known, the buckets are clipped to them, so p0 and p100 are exact.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

_HIGHEST_EXPONENT: Final = 1024  # 2.0**1024 is the first power of two beyond a double


@dataclass(frozen=True, slots=True)
class _Interval:
    """How many values are above `lower` up to `upper`; uniform, or uniform in logarithm."""

    lower: float
    upper: float
    count: float
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class ExponentialCounts:
    """Counts by bucket index at one scale; `exporter.model.ExponentialBuckets` has the bounds."""

    scale: int
    zero_count: float
    zero_threshold: float
    positive: Mapping[int, float]
    negative: Mapping[int, float]

    @classmethod
    def merge(
        cls, parts: Iterable[tuple[int, int, int, float]], zero_threshold: float
    ) -> ExponentialCounts:
        """Counts of several scales, merged at the coarsest of them.

        One step of scale merges two adjacent buckets, so the index of a bucket at a scale that is
        n steps coarser is its index shifted right by n.

        Args:
            parts: scale, sign of the values (1, -1, or 0 for the zero bucket), bucket index, and
                count; at least one.
            zero_threshold: the widest zero bucket.
        """
        parts = list(parts)
        scale = min(part[0] for part in parts)
        counts: dict[int, dict[int, float]] = {-1: {}, 0: {}, 1: {}}
        for own_scale, sign, index, count in parts:
            merged_index = index >> (own_scale - scale)
            counts[sign][merged_index] = counts[sign].get(merged_index, 0) + count
        return cls(scale, sum(counts[0].values()), zero_threshold, counts[1], counts[-1])


def explicit_quantile(
    quantile: float,
    bounds: Sequence[float],
    counts: Sequence[float],
    low: float | None = None,
    high: float | None = None,
) -> float | None:
    """The value below which this share of the values lies, from explicit buckets.

    Without `low` the first bucket begins at 0 if it ends above 0, else its end is the answer.
    Without `high` the highest bound is the answer for the last bucket.

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

    The zero bucket reaches to the zero threshold on both sides, unless only one side has values
    beyond it: then it reaches to the threshold on that side only.

    Args:
        quantile: 0 to 1.
        counts: of the buckets.
        low: no value is smaller, None if unknown.
        high: no value is larger, None if unknown.

    Returns:
        None if there are no values.
    """
    low, high = _consistent(low, high)
    negative, positive = _buckets_of_sign(counts, -1), _buckets_of_sign(counts, 1)
    edge = counts.zero_threshold
    zero = _Interval(
        0.0 if positive and not negative else 0.0 - edge,
        0.0 if negative and not positive else edge,
        counts.zero_count,
    )
    return _interpolate(quantile, [*negative, zero, *positive], low, high)


def _buckets_of_sign(counts: ExponentialCounts, sign: Literal[-1, 1]) -> list[_Interval]:
    """The non-empty buckets on one side, ascending by value."""
    intervals = []
    for index, count in sorted((counts.positive if sign == 1 else counts.negative).items()):
        # A bucket that overlaps the zero bucket of another series begins where that one ends.
        near = max(_power(index, counts.scale), counts.zero_threshold)
        far = max(_power(index + 1, counts.scale), counts.zero_threshold)
        lower, upper = (near, far) if sign == 1 else (-far, -near)
        if count > 0:
            intervals.append(_Interval(lower, upper, count, logarithmic=True))
    return intervals[::sign]


def _power(index: int, scale: int) -> float:
    """base**index with base = 2**(2**-scale), at most the largest double."""
    exponent = math.ldexp(index, -scale)
    if exponent >= _HIGHEST_EXPONENT:
        return sys.float_info.max
    return math.pow(2.0, exponent)


def _consistent(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """The limits; both None if a sender reported a minimum above the maximum."""
    if low is not None and high is not None and low > high:
        return None, None
    return low, high


def _interpolate(
    quantile: float, intervals: Iterable[_Interval], low: float | None, high: float | None
) -> float | None:
    # A count below 0 comes from a reset that was not detected, and is left out.
    filled = [_clip(interval, low, high) for interval in intervals if interval.count > 0]
    if not filled:
        return None
    rank = quantile * math.fsum(interval.count for interval in filled)
    for interval in filled:
        if rank <= interval.count:
            return _within(interval, rank / interval.count)
        rank -= interval.count
    return _within(filled[-1], 1.0)  # rounding errors added up


def _clip(interval: _Interval, low: float | None, high: float | None) -> _Interval:
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
    return min(max(value, lower), upper)  # rounding can leave the bucket


def _logarithmic(lower: float, upper: float, share: float) -> float:
    start, end = math.log2(abs(lower)), math.log2(abs(upper))
    exponent = min(start + (end - start) * share, math.nextafter(_HIGHEST_EXPONENT, 0))
    return math.copysign(2.0**exponent, lower)
