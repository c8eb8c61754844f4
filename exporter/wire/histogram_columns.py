"""Decodes many histogram points at once into columns, without times and attributes.

The rules are those of `exporter.wire.batch_builder`. A point that might violate one of them, or
that is unusual (a count above 2**60), is marked invalid and goes to the official messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from exporter.model import ExponentialBuckets, HistogramPoint, Int64Array
from exporter.wire.batch_builder import bounds_increase
from exporter.wire.field_scan import MISSING, ScanResult, scan_fields
from exporter.wire.vectorized_buffer import (
    BoolArray,
    ByteBuffer,
    ParseCache,
    RaggedColumn,
    read_packed_fixed64,
    read_packed_varints,
)

# message HistogramDataPoint:
#   repeated KeyValue attributes     = 9     tag 0x4A
#   fixed64 start_time_unix_nano     = 2     tag 0x11
#   fixed64 time_unix_nano           = 3     tag 0x19
#   fixed64 count                    = 4     tag 0x21
#   optional double sum              = 5     tag 0x29
#   repeated fixed64 bucket_counts   = 6     tag 0x32, packed
#   repeated double explicit_bounds  = 7     tag 0x3A, packed
#   repeated Exemplar exemplars      = 8     tag 0x42
#   uint32 flags                     = 10    tag 0x50
#   optional double min              = 11    tag 0x59
#   optional double max              = 12    tag 0x61
# Attributes, times, exemplars and flags are read in `exporter.wire.columnar_decoder`.
_COUNT: Final = 0x21
_SUM: Final = 0x29
_BUCKET_COUNTS: Final = 0x32
_BOUNDS: Final = 0x3A
_MIN: Final = 0x59
_MAX: Final = 0x61
EXPLICIT_TAGS: Final = frozenset(
    {0x4A, 0x11, 0x19, 0x42, 0x50, _COUNT, _SUM, _BUCKET_COUNTS, _BOUNDS, _MIN, _MAX}
)
# message ExponentialHistogramDataPoint:
#   repeated KeyValue attributes     = 1     tag 0x0A
#   fixed64 start_time_unix_nano     = 2     tag 0x11
#   fixed64 time_unix_nano           = 3     tag 0x19
#   fixed64 count                    = 4     tag 0x21
#   optional double sum              = 5     tag 0x29
#   sint32 scale                     = 6     tag 0x30, zigzag
#   fixed64 zero_count               = 7     tag 0x39
#   Buckets positive                 = 8     tag 0x42
#   Buckets negative                 = 9     tag 0x4A
#   uint32 flags                     = 10    tag 0x50
#   repeated Exemplar exemplars      = 11    tag 0x5A
#   optional double min              = 12    tag 0x61
#   optional double max              = 13    tag 0x69
#   double zero_threshold            = 14    tag 0x71
#   message Buckets:
#     sint32 offset                  = 1     tag 0x08, zigzag
#     repeated uint64 bucket_counts  = 2     tag 0x12 packed, tag 0x10 one by one
_SCALE: Final = 0x30
_ZERO_COUNT: Final = 0x39
_POSITIVE: Final = 0x42
_NEGATIVE: Final = 0x4A
_EXPONENTIAL_MIN: Final = 0x61
_EXPONENTIAL_MAX: Final = 0x69
_ZERO_THRESHOLD: Final = 0x71
EXPONENTIAL_TAGS: Final = frozenset(
    {
        *(0x0A, 0x11, 0x19, 0x50, 0x5A),
        *(_COUNT, _SUM, _SCALE, _ZERO_COUNT, _POSITIVE, _NEGATIVE),
        *(_EXPONENTIAL_MIN, _EXPONENTIAL_MAX, _ZERO_THRESHOLD),
    }
)
_OFFSET: Final = 0x08
_PACKED_COUNTS: Final = 0x12
_UNPACKED_COUNT: Final = 0x10
_BUCKETS_TAGS: Final = frozenset({_OFFSET, _PACKED_COUNTS, _UNPACKED_COUNT})
_COUNT_LIMIT: Final = 1 << 60
_UINT32_LIMIT: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class _OptionalColumn:
    """A number that a point may lack."""

    values: npt.NDArray[np.float64]
    present: BoolArray

    def items(self) -> list[float | None]:
        items: list[float | None] = self.values.tolist()
        for index in np.flatnonzero(~self.present).tolist():
            items[index] = None
        return items


@dataclass(frozen=True, slots=True)
class _BucketColumns:
    """Positive or negative buckets of exponential histograms."""

    offsets: Int64Array
    counts: RaggedColumn


@dataclass(frozen=True, slots=True)
class _ExponentialColumns:
    """The fields that only exponential histograms have."""

    scale: Int64Array
    zero_count: Int64Array
    zero_threshold: npt.NDArray[np.float64]
    positive: _BucketColumns
    negative: _BucketColumns

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
    """Histograms of one type as columns; the fields are those of `exporter.model.HistogramPoint`.

    Series ids and times are passed to `rows`.
    """

    count: Int64Array
    sum: _OptionalColumn
    min: _OptionalColumn
    max: _OptionalColumn
    bounds: list[tuple[float, ...]] | None = None
    bucket_counts: RaggedColumn | None = None
    exponential: _ExponentialColumns | None = None

    def rows(
        self, series_ids: Int64Array, times: Int64Array, starts: Int64Array
    ) -> list[HistogramPoint]:
        """The points as rows; times and start times in nanoseconds."""
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


def read_explicit(buffer: ByteBuffer, scan: ScanResult) -> HistogramColumns:
    """Decode explicit histograms; clears `scan.valid` of those that cannot be decoded here."""
    counts, has_valid_size = read_packed_fixed64(buffer, *scan.single_span(_BUCKET_COUNTS))
    start, end = scan.single_span(_BOUNDS)
    bounds, has_valid_bounds = _read_bounds(buffer, start, end)
    bound_count = (end - start) // 8
    count = buffer.int64s(scan.last_value(_COUNT))
    in_buckets, is_exact = counts.sums()
    has_buckets = counts.sizes > 0
    scan.valid &= has_valid_bounds & has_valid_size & is_exact & (count >= 0)
    scan.valid &= np.where(has_buckets, counts.sizes == bound_count + 1, bound_count == 0)
    scan.valid &= ~has_buckets | (count == in_buckets)
    return HistogramColumns(
        count,
        _read_optional(buffer, scan, _SUM),
        _read_optional(buffer, scan, _MIN),
        _read_optional(buffer, scan, _MAX),
        bounds=bounds,
        bucket_counts=counts,
    )


def read_exponential(buffer: ByteBuffer, scan: ScanResult) -> HistogramColumns:
    """Decode exponential histograms; clears `scan.valid` of those that cannot be decoded here."""
    count = buffer.int64s(scan.last_value(_COUNT))
    zero_count = buffer.int64s(scan.last_value(_ZERO_COUNT))
    positive = _read_buckets(buffer, scan, _POSITIVE)
    negative = _read_buckets(buffer, scan, _NEGATIVE)
    in_positive, positive_is_exact = positive.counts.sums()
    in_negative, negative_is_exact = negative.counts.sums()
    scan.valid &= positive_is_exact & negative_is_exact
    scan.valid &= (zero_count >= 0) & (zero_count < _COUNT_LIMIT)
    scan.valid &= count == zero_count + in_positive + in_negative
    scale, has_valid_scale = _decode_sint32(scan.last_value(_SCALE, default=0))
    scan.valid &= has_valid_scale
    return HistogramColumns(
        count,
        _read_optional(buffer, scan, _SUM),
        _read_optional(buffer, scan, _EXPONENTIAL_MIN),
        _read_optional(buffer, scan, _EXPONENTIAL_MAX),
        exponential=_ExponentialColumns(
            scale,
            zero_count,
            buffer.doubles(scan.last_value(_ZERO_THRESHOLD)),
            positive,
            negative,
        ),
    )


def _read_optional(buffer: ByteBuffer, scan: ScanResult, tag: int) -> _OptionalColumn:
    offsets = scan.last_value(tag)
    return _OptionalColumn(buffer.doubles(offsets), offsets != MISSING)


def _read_buckets(buffer: ByteBuffer, points: ScanResult, tag: int) -> _BucketColumns:
    point_count = len(points.valid)
    if not points.has_field(tag):
        zeros = np.zeros(point_count, np.int64)
        return _BucketColumns(zeros, RaggedColumn(zeros[:0], zeros))
    # A point without the field has the span 0:0, an empty message, which means the same.
    buckets = scan_fields(buffer, *points.single_span(tag), _BUCKETS_TAGS)
    packed, unpacked = buckets.all_spans(_PACKED_COUNTS), buckets.all_spans(_UNPACKED_COUNT)
    if len(unpacked):
        # Only .NET is known to write counts one by one, and it does not mix both forms.
        buckets.valid[packed.message] = False
        # The `start` of a varint field is its number.
        sizes = np.bincount(unpacked.message, minlength=point_count)
        counts = RaggedColumn(unpacked.start, sizes)
    else:
        counts, is_readable = read_packed_varints(buffer, packed, point_count)
        buckets.valid &= is_readable
    offsets, has_valid_offset = _decode_sint32(buckets.last_value(_OFFSET, default=0))
    points.valid &= buckets.valid & has_valid_offset
    return _BucketColumns(offsets, counts)


def _decode_sint32(zigzag: Int64Array) -> tuple[Int64Array, BoolArray]:
    """The signed numbers, and whether each was encoded in 32 bits."""
    return zigzag >> 1 ^ -(zigzag & 1), zigzag < _UINT32_LIMIT


def _read_bounds(
    buffer: ByteBuffer, start: Int64Array, end: Int64Array
) -> tuple[list[tuple[float, ...]], BoolArray]:
    """The packed bounds of each point, and whether they are valid; equal bounds are one tuple."""
    if buffer.all_equal(start, end):
        shared = _parse_bounds(buffer.data[start[0] : end[0]])
        return [shared or ()] * len(start), np.full(len(start), shared is not None)
    parsed = ParseCache(_parse_bounds)
    bounds = list(map(parsed.__getitem__, buffer.slices(start, end)))
    if None in parsed.values():
        is_valid = np.array([each is not None for each in bounds], np.bool_)
        return [each or () for each in bounds], is_valid
    return cast("list[tuple[float, ...]]", bounds), np.ones(len(bounds), np.bool_)


def _parse_bounds(raw: bytes) -> tuple[float, ...] | None:
    if len(raw) % 8:
        return None
    bounds = tuple(np.frombuffer(raw, "<f8").tolist())
    return bounds if bounds_increase(bounds) else None
