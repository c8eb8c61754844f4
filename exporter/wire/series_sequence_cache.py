"""Caches the series ids of points that have the same order in every request.

Looking up a series by the attributes of one point takes a slice and a hash of their bytes: two
fifths of the time of a histogram. A steady sender repeats its attributes in every request, so the
attributes of all points are compared at once with those of the last request (33 us for 1,000
points; single look-ups take 268 us). A sequence holds only ids that the decoder looked up in an
accepted request, and is dropped when one of its series is invalidated.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from exporter.model import Int64Array
from exporter.series_cache import MetricEntry, SeriesCache
from exporter.wire.vectorized_buffer import PADDING, ByteBuffer

# Longer attributes are not compared, because reading that many bytes after the last point would
# pass the end of the buffer.
_MAX_ATTRIBUTES_BYTES: Final = len(PADDING)
_WORD_BYTES: Final = 8
# For each resource: a sender that splits its points over several requests needs one for each.
_MAX_SEQUENCES: Final = 16


class PointBlock(NamedTuple):
    """Consecutive points of one type: the metric of each, and the span of its attributes."""

    metrics: list[MetricEntry]
    buffer: ByteBuffer
    start: Int64Array
    end: Int64Array

    def attributes(self) -> list[bytes]:
        """The bytes of each point's attributes."""
        return self.buffer.slices(self.start, self.end)

    def cache_key(self) -> tuple[MetricEntry, int, bytes]:
        """The key of the sequence: first metric, number of points, attributes of the first one."""
        first = self.buffer.data[self.start[0] : self.end[0]]
        return self.metrics[0], len(self.metrics), first


class _SeriesSequence:
    """The series ids of a block of points, and the attributes that the points had."""

    __slots__ = ("_mask", "_masked", "_metrics", "_misses", "_series_ids", "_sizes")

    def __init__(self) -> None:
        self._metrics: list[MetricEntry] = []
        self._misses = 0

    @property
    def point_count(self) -> int:
        """How many points the sequence holds."""
        return len(self._metrics)

    def match(self, block: PointBlock) -> Int64Array | None:
        """The series ids of the points if metrics and attributes are the same as before."""
        if self._metrics != block.metrics:
            return None
        if not np.array_equal(block.end - block.start, self._sizes):
            return None
        masked = _attribute_words(block, self._mask.shape[1]) & self._mask
        if not np.array_equal(masked, self._masked):
            return None
        self._misses = 0
        return self._series_ids

    def record_miss(self, block: PointBlock, series_ids: Int64Array) -> None:
        """Count a block that did not match; at the 2nd, 4th, 8th ... miss, store it instead.

        A sender that reorders its points therefore pays for fewer and fewer replacements.
        """
        self._misses += 1
        if self._misses == 1 or self._misses & (self._misses - 1):
            return
        sizes = block.end - block.start
        # One row of whole words for each point; the mask clears the bytes after the attributes.
        words = max(1, -(-int(sizes.max()) // _WORD_BYTES))
        is_attribute = np.arange(words * _WORD_BYTES) < sizes[:, np.newaxis]
        self._metrics = block.metrics
        self._sizes = sizes
        self._mask = np.where(is_attribute, 0xFF, 0).astype(np.uint8).view(np.int64)
        self._masked = _attribute_words(block, words) & self._mask
        self._series_ids = series_ids
        series_ids.setflags(write=False)  # shared by all batches


def cached_series_ids(block: PointBlock) -> Int64Array | None:
    """The series id of each point, None if they must be looked up one by one."""
    sequence = block.metrics[0].scope.resource.series_sequences.get(block.cache_key())
    series_ids: Int64Array | None = sequence.match(block) if sequence is not None else None
    return series_ids


def remember(block: PointBlock, series_ids: Int64Array, series: SeriesCache) -> None:
    """Remember series ids that were looked up one by one; only after the request is accepted."""
    if (block.end - block.start).max() > _MAX_ATTRIBUTES_BYTES:
        return
    sequences = block.metrics[0].scope.resource.series_sequences
    sequence = sequences.get(block.cache_key())
    if sequence is None:
        if len(sequences) >= _MAX_SEQUENCES:
            _, oldest = sequences.popitem(last=False)
            series.count_template_points(-oldest.point_count)
        sequence = sequences[block.cache_key()] = _SeriesSequence()
    before = sequence.point_count
    sequence.record_miss(block, series_ids)
    series.count_template_points(sequence.point_count - before)


def _attribute_words(block: PointBlock, words: int) -> npt.NDArray[np.int64]:
    return block.buffer.matrix(block.start, words * _WORD_BYTES).view(np.int64)
