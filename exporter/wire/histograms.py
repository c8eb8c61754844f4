"""What histogram points hold beside times and attributes, of many points at once, as columns.

What is valid is as in `exporter.wire.points`; a point that may not be, or that is unusual, such
as one with a count past 2**60, is marked as not sound and left to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from exporter.model import ExponentialBuckets, HistogramPoint, Int64Array
from exporter.wire.buffer import Bits, Buffer
from exporter.wire.ragged import Ragged, packed_fixed64, packed_varints
from exporter.wire.sweep import NOWHERE, Swept, sweep

__all__ = [
    "EXPLICIT_TAGS",
    "EXPONENTIAL_TAGS",
    "HistogramColumns",
    "increase",
    "read_explicit",
    "read_exponential",
]

# Tags of HistogramDataPoint: field number and wire type.
_COUNT: Final = 0x21
_SUM: Final = 0x29
_BUCKET_COUNTS: Final = 0x32
_BOUNDS: Final = 0x3A
_MIN: Final = 0x59
_MAX: Final = 0x61
EXPLICIT_TAGS: Final = frozenset({_COUNT, _SUM, _BUCKET_COUNTS, _BOUNDS, _MIN, _MAX})
# Of ExponentialHistogramDataPoint; count and sum are as above.
_SCALE: Final = 0x30
_ZERO_COUNT: Final = 0x39
_POSITIVE: Final = 0x42
_NEGATIVE: Final = 0x4A
_EXPONENTIAL_MIN: Final = 0x61
_EXPONENTIAL_MAX: Final = 0x69
_ZERO_THRESHOLD: Final = 0x71
EXPONENTIAL_TAGS: Final = frozenset(
    {
        *(_COUNT, _SUM, _SCALE, _ZERO_COUNT, _POSITIVE, _NEGATIVE),
        *(_EXPONENTIAL_MIN, _EXPONENTIAL_MAX, _ZERO_THRESHOLD),
    }
)
# Of ExponentialHistogramDataPoint.Buckets.
_OFFSET: Final = 0x08
_PACKED_COUNTS: Final = 0x12
_SINGLE_COUNT: Final = 0x10
_BUCKETS_TAGS: Final = frozenset({_OFFSET, _PACKED_COUNTS, _SINGLE_COUNT})
_LARGEST_COUNT: Final = 1 << 60
_UINT32_VALUES: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class _Optional:
    """A number that a point may lack."""

    values: npt.NDArray[np.float64]
    present: Bits

    def items(self) -> list[float | None]:
        items: list[float | None] = self.values.tolist()
        for at in np.flatnonzero(~self.present).tolist():
            items[at] = None
        return items


@dataclass(frozen=True, slots=True)
class _Buckets:
    """Positive or negative buckets of exponential histograms."""

    offsets: Int64Array
    counts: Ragged


@dataclass(frozen=True, slots=True)
class _Exponential:
    """What only exponential histograms have."""

    scale: Int64Array
    zero_count: Int64Array
    zero_threshold: npt.NDArray[np.float64]
    positive: _Buckets
    negative: _Buckets

    def items(self) -> list[ExponentialBuckets]:
        return list(
            map(
                ExponentialBuckets,
                self.scale.tolist(),
                self.zero_count.tolist(),
                self.zero_threshold.tolist(),
                self.positive.offsets.tolist(),
                self.positive.counts.tuples(),
                self.negative.offsets.tolist(),
                self.negative.counts.tuples(),
            )
        )


@dataclass(frozen=True, slots=True)
class HistogramColumns:
    """Histograms of one kind, less what identifies them: see `exporter.model.HistogramPoint`."""

    count: Int64Array
    sum: _Optional
    min: _Optional
    max: _Optional
    bounds: list[tuple[float, ...]] | None = None
    bucket_counts: Ragged | None = None
    exponential: _Exponential | None = None

    def rows(
        self, series_ids: Int64Array, times: Int64Array, starts: Int64Array
    ) -> list[HistogramPoint]:
        """The points; times and start times in nanoseconds."""
        return list(
            map(
                HistogramPoint,
                series_ids.tolist(),
                times.tolist(),
                starts.tolist(),
                self.count.tolist(),
                self.sum.items(),
                self.min.items(),
                self.max.items(),
                repeat(()) if self.bounds is None else self.bounds,
                repeat(()) if self.bucket_counts is None else self.bucket_counts.tuples(),
                repeat(None) if self.exponential is None else self.exponential.items(),
            )
        )


def increase(bounds: Sequence[float]) -> bool:
    """Whether bounds are as the data model asks."""
    return not any(map(math.isnan, bounds)) and all(a < b for a, b in pairwise(bounds))


def read_explicit(buffer: Buffer, swept: Swept) -> HistogramColumns:
    """The contents of explicit histograms; marks those that are not sound."""
    counts, whole = packed_fixed64(buffer, *swept.only(_BUCKET_COUNTS))
    start, end = swept.only(_BOUNDS)
    bounds, are_valid = _read_bounds(buffer, start, end)
    sizes = (end - start) // 8
    count = buffer.words(swept.last(_COUNT))
    in_buckets, summable = counts.sums()
    has_buckets = counts.sizes > 0
    swept.sound &= are_valid & whole & summable & (count >= 0)
    swept.sound &= np.where(has_buckets, counts.sizes == sizes + 1, sizes == 0)
    swept.sound &= ~has_buckets | (count == in_buckets)
    return HistogramColumns(
        count,
        _optional(buffer, swept, _SUM),
        _optional(buffer, swept, _MIN),
        _optional(buffer, swept, _MAX),
        bounds=bounds,
        bucket_counts=counts,
    )


def read_exponential(buffer: Buffer, swept: Swept) -> HistogramColumns:
    """The contents of exponential histograms; marks those that are not sound."""
    count = buffer.words(swept.last(_COUNT))
    zero_count = buffer.words(swept.last(_ZERO_COUNT))
    positive = _read_buckets(buffer, swept, _POSITIVE)
    negative = _read_buckets(buffer, swept, _NEGATIVE)
    in_positive, summable = positive.counts.sums()
    in_negative, also_summable = negative.counts.sums()
    swept.sound &= summable & also_summable & (zero_count >= 0) & (zero_count < _LARGEST_COUNT)
    swept.sound &= count == zero_count + in_positive + in_negative
    scale, sound = _sint32(swept.last(_SCALE, missing=0))
    swept.sound &= sound
    return HistogramColumns(
        count,
        _optional(buffer, swept, _SUM),
        _optional(buffer, swept, _EXPONENTIAL_MIN),
        _optional(buffer, swept, _EXPONENTIAL_MAX),
        exponential=_Exponential(
            scale,
            zero_count,
            buffer.doubles(swept.last(_ZERO_THRESHOLD)),
            positive,
            negative,
        ),
    )


def _optional(buffer: Buffer, swept: Swept, tag: int) -> _Optional:
    places = swept.last(tag)
    return _Optional(buffer.doubles(places), places != NOWHERE)


def _read_buckets(buffer: Buffer, points: Swept, tag: int) -> _Buckets:
    if not points.has(tag):
        nothing = np.zeros(len(points.sound), np.int64)
        return _Buckets(nothing, Ragged(nothing[:0], nothing))
    # Where a point has none, the message is empty, which means the same.
    buckets = sweep(buffer, *points.only(tag), _BUCKETS_TAGS)
    spans, singles = buckets.all(_PACKED_COUNTS), buckets.all(_SINGLE_COUNT)
    if len(singles):
        # The one sender that writes them singly (.NET) does not mix both forms.
        buckets.sound[spans.message] = False
        sizes = np.bincount(singles.message, minlength=len(buckets.sound))
        counts = Ragged(singles.start, sizes)
    else:
        counts, readable = packed_varints(buffer, spans, len(buckets.sound))
        buckets.sound &= readable
    offsets, sound = _sint32(buckets.last(_OFFSET, missing=0))
    points.sound &= buckets.sound & sound
    return _Buckets(offsets, counts)


def _sint32(numbers: Int64Array) -> tuple[Int64Array, Bits]:
    return numbers >> 1 ^ -(numbers & 1), numbers < _UINT32_VALUES


def _read_bounds(
    buffer: Buffer, start: Int64Array, end: Int64Array
) -> tuple[list[tuple[float, ...]], Bits]:
    """The packed bounds of each point, and whether they are valid; points share their values."""
    if buffer.are_alike(start, end):
        only = _parsed(buffer.data[start[0] : end[0]])
        return [only or ()] * len(start), np.full(len(start), only is not None)
    parsed = _Parsed()
    bounds = list(map(parsed.__getitem__, buffer.slices(start, end)))
    if None in parsed.values():
        are_valid = np.array([each is not None for each in bounds], np.bool_)
        return [each or () for each in bounds], are_valid
    return cast("list[tuple[float, ...]]", bounds), np.ones(len(bounds), np.bool_)


class _Parsed(dict[bytes, tuple[float, ...] | None]):
    """Bounds by their bytes; parsed when they are first asked for."""

    def __missing__(self, raw: bytes) -> tuple[float, ...] | None:
        bounds = self[raw] = _parsed(raw)
        return bounds


def _parsed(raw: bytes) -> tuple[float, ...] | None:
    if len(raw) % 8:
        return None
    bounds = tuple(np.frombuffer(raw, "<f8").tolist())
    return bounds if increase(bounds) else None
