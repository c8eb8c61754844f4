"""A template of a ResourceMetrics message: reads a message that differs in times and values only.

A steady sender repeats its messages except for the fixed-width times and values of the points. A
template stores their offsets. One masked comparison recognises the next message and one gather
reads it, whatever the order of its fields: 25 ns a point instead of 300 to 3,000.

This is correct by construction. Outside the mask the bytes equal those of a message that was
decoded before. Inside it any eight bytes are a valid fixed64. The tag of the value is masked too,
and is checked to be that of a double or an integer, the two members of its oneof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.model import Int64Array, Points
from exporter.series_cache import MetricEntry
from exporter.wire.point_layouts import AS_DOUBLE, AS_INT
from exporter.wire.time_window import TimeWindow

_WORD_BYTES: Final = 8
MISSING_START: Final = -1


@dataclass(frozen=True, slots=True)
class PointOffsets:
    """The offsets of the fixed-width fields of one number point in the message.

    `start` is MISSING_START if the point has no start time.
    """

    series_id: int
    time: int
    start: int
    value: int


@dataclass(frozen=True, slots=True)
class NonNumberPoint:
    """Any other point: its bytes start:end are masked and decoded separately."""

    metric: MetricEntry
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TemplateMatch:
    """What a template reads from a message: the number points, and the bytes of other points."""

    points: Points
    other_points: tuple[tuple[MetricEntry, bytes], ...]


class Template:
    """One ResourceMetrics message with its times and values masked.

    Args:
        message: the message, already decoded.
        numbers: its number points; at least one, each of another series.
        other_points: all its other points.
    """

    __slots__ = (
        "_all_doubles",
        "_has_start",
        "_mask",
        "_masked",
        "_offsets",
        "_other_points",
        "_recorded",
        "_series_ids",
        "_tail",
        "_tail_mask",
        "length",
    )

    def __init__(
        self, message: bytes, numbers: list[PointOffsets], other_points: tuple[NonNumberPoint, ...]
    ) -> None:
        self.length = len(message)
        self._other_points = other_points
        self._series_ids = _column([point.series_id for point in numbers])
        times = _column([point.time for point in numbers])
        values = _column([point.value for point in numbers])
        starts = _column([point.start for point in numbers])
        has_start = starts != MISSING_START
        self._has_start = None if has_start.all() else has_start
        # All times, then all values, then all starts (0 if missing), so that one gather reads
        # them: each gather releases the interpreter lock, for which other threads wait.
        self._offsets = np.concatenate([times, values, np.where(has_start, starts, 0)])
        self._all_doubles = bytes([AS_DOUBLE]) * len(numbers)
        self._recorded = np.ones(len(numbers), np.bool_)
        for shared in (self._series_ids, self._recorded):
            shared.setflags(write=False)  # shared by all batches
        mask = self._byte_mask(times, starts[has_start], values)
        whole = self.length - self.length % _WORD_BYTES
        self._mask = mask[:whole].view(np.uint64)
        self._masked = (np.frombuffer(message, np.uint64, len(self._mask)) & self._mask).tobytes()
        self._tail_mask = int.from_bytes(mask[whole:].tobytes(), "little")
        self._tail = int.from_bytes(message[whole:], "little") & self._tail_mask

    @property
    def point_count(self) -> int:
        """How many number points the template has."""
        return len(self._series_ids)

    def match(self, message: bytes, window: TimeWindow) -> TemplateMatch | None:
        """The points of a message of this length, None if the template does not match.

        A message with a point to be rejected does not match either: reasons for rejections are
        found in `exporter.wire.batch_builder` only.
        """
        if not self._has_same_bytes(message):
            return None
        value_offsets = self._offsets[self.point_count : 2 * self.point_count]
        value_tags = np.frombuffer(message, np.uint8)[value_offsets - 1]
        # The eight bytes at every offset of the message as a number, without a copy.
        words = np.ndarray((self.length - _WORD_BYTES + 1,), "<i8", message, 0, (1,))
        times, value, starts = words[self._offsets].reshape(3, -1)
        if self._has_start is not None:
            starts = starts * self._has_start
        if (
            times.min() < window.earliest_unix_nano
            or times.max() > window.latest_unix_nano
            or starts.min() < 0
        ):
            return None
        values: npt.NDArray[np.float64] = value.view(np.float64)
        if value_tags.tobytes() != self._all_doubles:
            is_double = value_tags == AS_DOUBLE
            if not (is_double | (value_tags == AS_INT)).all():
                return None
            values = np.where(is_double, values, value)
        points = Points(self._series_ids, times, starts, values, self._recorded)
        others = tuple(
            (other.metric, message[other.start : other.end]) for other in self._other_points
        )
        return TemplateMatch(points, others)

    def _has_same_bytes(self, message: bytes) -> bool:
        words = len(self._mask)
        tail = int.from_bytes(message[words * _WORD_BYTES :], "little")
        if tail & self._tail_mask != self._tail:
            return False
        # Compared as bytes, because memcmp stops at the first difference.
        return (np.frombuffer(message, np.uint64, words) & self._mask).tobytes() == self._masked

    def _byte_mask(
        self, times: Int64Array, starts: Int64Array, values: Int64Array
    ) -> npt.NDArray[np.uint8]:
        """0xFF for each byte to compare, 0 for each byte that may differ."""
        mask = np.full(self.length, 0xFF, np.uint8)
        for offsets in (times, starts, values):
            for byte in range(_WORD_BYTES):
                mask[offsets + byte] = 0
        mask[values - 1] = 0  # the tag of the value: a double or an integer
        for other in self._other_points:
            mask[other.start : other.end] = 0
        return mask


def _column(numbers: list[int]) -> Int64Array:
    return np.array(numbers, np.int64)
