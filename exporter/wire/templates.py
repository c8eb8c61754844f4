"""The fastest decoder: a message that differs from an earlier one in its times and values only.

A steady sender writes the same ResourceMetrics again and again, but for the fixed-width times and
values of its points. Once such a message has been decoded, the places of these are known, and
the next one is recognised by one masked comparison and read by one gather, whatever the order
of its fields: 25 ns a point instead of 300 to 3,000.

Right by construction: outside the mask the bytes equal those of a message that the other decoder
took, inside it any eight bytes are a legal fixed64. The one tag within the mask, the value's, is
checked to be that of a double or an integer, which are alternatives of one oneof.

Points that are more than times, a value and attributes, and all histograms and summaries, are
masked out whole and handed back as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.intern import MetricEntry
from exporter.model import Int64Array, Points
from exporter.wire.ages import TimeWindow
from exporter.wire.layouts import AS_DOUBLE, AS_INT

__all__ = ["Places", "Recognised", "Single", "Template"]

_WORD_BYTES: Final = 8
_NOWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class Single:
    """A point that is decoded by itself, as it stands in the message."""

    metric: MetricEntry
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where the fixed-width fields of one number point stand; `start` is -1 where it has none."""

    series_id: int
    time: int
    start: int
    value: int


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a template reads from a message: number points, and the points to decode singly."""

    points: Points
    singles: tuple[tuple[MetricEntry, bytes], ...]


class Template:
    """One ResourceMetrics message, with its times and values masked out.

    Args:
        message: the message, already decoded.
        numbers: its number points; at least one, each series once.
        singles: all its other points.
    """

    __slots__ = (
        "_all_doubles",
        "_has_start",
        "_mask",
        "_masked",
        "_places",
        "_recorded",
        "_series_ids",
        "_singles",
        "_tail",
        "_tail_mask",
        "length",
    )

    def __init__(self, message: bytes, numbers: list[Places], singles: tuple[Single, ...]) -> None:
        self.length = len(message)
        self._singles = singles
        self._series_ids = _column([point.series_id for point in numbers])
        times = _column([point.time for point in numbers])
        values = _column([point.value for point in numbers])
        starts = _column([point.start for point in numbers])
        has_start = starts != _NOWHERE
        self._has_start = None if has_start.all() else has_start
        # Of all times, then all values, then all starts (0 for none): one gather reads them. Each
        # gather lets go of the interpreter lock, for which others wait.
        self._places = np.concatenate([times, values, np.where(has_start, starts, 0)])
        self._all_doubles = bytes([AS_DOUBLE]) * len(numbers)
        self._recorded = np.ones(len(numbers), np.bool_)
        for shared in (self._series_ids, self._recorded):
            shared.setflags(write=False)  # every batch gets these very arrays
        mask = self._mask_of_bytes(times, starts[has_start], values)
        whole = self.length - self.length % _WORD_BYTES
        self._mask = mask[:whole].view(np.uint64)
        self._masked = (np.frombuffer(message, np.uint64, len(self._mask)) & self._mask).tobytes()
        self._tail_mask = int.from_bytes(mask[whole:].tobytes(), "little")
        self._tail = int.from_bytes(message[whole:], "little") & self._tail_mask

    @property
    def points(self) -> int:
        """How many number points it has."""
        return len(self._series_ids)

    def read(self, message: bytes, window: TimeWindow) -> Recognised | None:
        """The points of a message of this length, None where it must be decoded otherwise.

        That is the case when it differs from the template outside the mask, and also when a
        point would be rejected, so that its reason is found where all reasons are.
        """
        if not self._fits(message):
            return None
        values_at = self._places[self.points : 2 * self.points]
        tags = np.frombuffer(message, np.uint8)[values_at - 1]
        # Every eight bytes of the message as a number, without a copy.
        words = np.ndarray((self.length - _WORD_BYTES + 1,), "<i8", message, 0, (1,))
        times, value, starts = words[self._places].reshape(3, -1)
        if self._has_start is not None:
            starts = starts * self._has_start
        if (
            times.min() < window.earliest_unix_nano
            or times.max() > window.latest_unix_nano
            or starts.min() < 0
        ):
            return None
        values: npt.NDArray[np.float64] = value.view(np.float64)
        if tags.tobytes() != self._all_doubles:
            doubles = tags == AS_DOUBLE
            if not (doubles | (tags == AS_INT)).all():
                return None
            values = np.where(doubles, values, value)
        points = Points(self._series_ids, times, starts, values, self._recorded)
        singles = tuple((item.metric, message[item.start : item.end]) for item in self._singles)
        return Recognised(points, singles)

    def _fits(self, message: bytes) -> bool:
        words = len(self._mask)
        tail = int.from_bytes(message[words * _WORD_BYTES :], "little")
        if tail & self._tail_mask != self._tail:
            return False
        # Compared as bytes: memcmp ends at the first difference.
        return (np.frombuffer(message, np.uint64, words) & self._mask).tobytes() == self._masked

    def _mask_of_bytes(
        self, times: Int64Array, starts: Int64Array, values: Int64Array
    ) -> npt.NDArray[np.uint8]:
        mask = np.full(self.length, 0xFF, np.uint8)
        for places in (times, starts, values):
            for at in range(_WORD_BYTES):
                mask[places + at] = 0
        mask[values - 1] = 0  # the tag, either of two
        for single in self._singles:
            mask[single.start : single.end] = 0
        return mask


def _column(numbers: list[int]) -> Int64Array:
    return np.array(numbers, np.int64)
