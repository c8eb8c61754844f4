"""Number points whose fixed-width fields are at known offsets: a layout for each encoder.

Protobuf allows any field order, but an encoder always writes the same one. Without the fields at
the known offsets only the attributes remain, and their bytes are the key of the series. A point
that does not match its layout is decoded elsewhere, so a layout only saves time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np

from exporter.model import NO_POINTS, Points
from exporter.series_cache import MetricEntry
from exporter.wire.time_window import TimeWindow

# message NumberDataPoint:
#   repeated KeyValue attributes     = 7    tag 0x3A
#   fixed64 start_time_unix_nano     = 2    tag 0x11, 9 bytes with its tag
#   fixed64 time_unix_nano           = 3    tag 0x19, 9 bytes
#   oneof value:
#     double   as_double             = 4    tag 0x21, 9 bytes
#     sfixed64 as_int                = 6    tag 0x31, 9 bytes
#   repeated Exemplar exemplars      = 5    tag 0x2A
#   uint32 flags                     = 8    tag 0x40
START: Final = 0x11
TIME: Final = 0x19
AS_DOUBLE: Final = 0x21
AS_INT: Final = 0x31
_ATTRIBUTES: Final = 0x3A
NUMBER_TAGS: Final = frozenset({_ATTRIBUTES, START, TIME, AS_DOUBLE, AS_INT, 0x2A, 0x40})
_FIELD_BYTES: Final = 9
_TAGS: Final = {
    "start": frozenset({START}),
    "time": frozenset({TIME}),
    "value": frozenset({AS_DOUBLE, AS_INT}),
}


class Layout:
    """One order of the fixed-width fields.

    Args:
        head: the fields before the attributes, in their order.
        value_last: whether the value follows the attributes.

    Attributes:
        head_bytes: length of the fields before the attributes.
        tail_bytes: length of the fields after them.
        has_start: whether the start time is written.
        dtype: head and tail of a point as one packed record: a tag and eight bytes for each field.
    """

    __slots__ = ("_tags", "dtype", "has_start", "head_bytes", "tail_bytes")

    def __init__(self, *head: str, value_last: bool = False) -> None:
        names = (*head, "value") if value_last else head
        self.head_bytes = _FIELD_BYTES * len(head)
        self.tail_bytes = _FIELD_BYTES if value_last else 0
        self.has_start = "start" in head
        columns = [[(f"{name}_tag", "u1"), (name, "<i8")] for name in names]
        self.dtype = np.dtype([column for pair in columns for column in pair])
        self._tags = [(_FIELD_BYTES * at, _TAGS[name]) for at, name in enumerate(head)]
        if value_last:
            self._tags.append((-_FIELD_BYTES, _TAGS["value"]))

    def matches(self, point: bytes) -> bool:
        """Whether the tags of this point are at the offsets of this layout."""
        if len(point) < self.head_bytes + self.tail_bytes:
            return False
        for at, tags in self._tags:  # noqa: SIM110 - a loop costs half of all() with a generator
            if point[at] not in tags:
                return False
        return True

    def is_too_long_for(self, points: Sequence[bytes]) -> bool:
        """Whether head and tail would overlap in one of these points."""
        # Without a tail a short point is found later, by the length of the joined heads.
        if not self.tail_bytes:
            return False
        return min(map(len, points)) < self.head_bytes + self.tail_bytes


# Longer heads first: a layout without a start would match the beginning of one with a start.
_LAYOUTS: Final = (
    Layout("start", "time", "value"),  # Python, JS, Rust, Java, Envoy, rotel
    Layout("value", "time", "start"),  # Collector since 0.133, which writes backwards
    Layout("value", "start", "time"),  # .NET
    Layout("start", "time", value_last=True),  # Go SDK, Collector until 0.131 for integers
    Layout("time", "value"),  # gauges of the encoders of the first line
    Layout("value", "time"),  # gauges of the second and third line
    Layout("time", value_last=True),  # gauges of the fourth line
)


def find_layout(point: bytes) -> Layout | None:
    """The layout of this point, None if it has none of the known ones."""
    return next((layout for layout in _LAYOUTS if layout.matches(point)), None)


def is_only_attributes(raw: bytes) -> bool:
    """Whether these bytes, cut out of a number point, are attributes and nothing else."""
    position, end = 0, len(raw)
    while position < end:
        if raw[position] != _ATTRIBUTES:
            return False
        length = shift = 0
        while True:
            position += 1
            if position == end or shift > 28:
                return False
            length |= (raw[position] & 0x7F) << shift
            shift += 7
            if raw[position] < 0x80:
                break
        position += 1 + length
    return position == end


class LayoutBatch:
    """The points of one layout in the whole request, which numpy reads all at once."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._series_ids: list[int] = []
        self._heads_and_tails: list[bytes] = []
        self._points: list[bytes] = []
        # The points of metrics[n] start at the position metric_starts[n].
        self._metric_starts: list[int] = []
        self._metrics: list[MetricEntry] = []

    def add(self, metric: MetricEntry, points: list[bytes], series_ids: list[int]) -> None:
        """Add points of one metric, with the series id of each."""
        self._metric_starts.append(len(self._points))
        self._metrics.append(metric)
        self._points += points
        self._series_ids += series_ids
        head, tail = self.layout.head_bytes, self.layout.tail_bytes
        if tail:
            self._heads_and_tails += [point[:head] + point[-tail:] for point in points]
        else:
            self._heads_and_tails += [point[:head] for point in points]

    def point_at(self, position: int) -> tuple[MetricEntry, bytes]:
        """The metric and the bytes of the point at this position."""
        metric = self._metrics[bisect_right(self._metric_starts, position) - 1]
        return metric, self._points[position]

    def decode(self, window: TimeWindow) -> tuple[Points, Sequence[int]]:
        """Read all points.

        Args:
            window: the times that points may have.

        Returns:
            The points as columns, and the positions of points that do not match the layout or
            whose times cannot be stored; these are not among the columns.
        """
        joined = b"".join(self._heads_and_tails)
        dtype = self.layout.dtype
        if len(joined) != dtype.itemsize * len(self._heads_and_tails):
            # Some point is shorter than the fields of the layout.
            return NO_POINTS, range(len(self._points))
        fields = np.frombuffer(joined, dtype)
        time = fields["time"].astype(np.int64)
        value_tag = fields["value_tag"]
        integers = fields["value"].astype(np.int64)
        matches = (fields["time_tag"] == TIME) & (time >= window.earliest_unix_nano)
        matches &= time <= window.latest_unix_nano
        matches &= (value_tag == AS_DOUBLE) | (value_tag == AS_INT)
        if self.layout.has_start:
            start = fields["start"].astype(np.int64)
            matches &= (fields["start_tag"] == START) & (start >= 0)
        else:
            start = np.zeros(len(fields), np.int64)
        points = Points(
            series_id=np.array(self._series_ids, np.int64),
            time_unix_nano=time,
            start_time_unix_nano=start,
            value=np.where(value_tag == AS_INT, integers, integers.view(np.float64)),
            recorded=np.ones(len(fields), np.bool_),
        )
        if matches.all():
            return points, ()
        return points.take(np.flatnonzero(matches)), np.flatnonzero(~matches).tolist()
