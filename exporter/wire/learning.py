"""From a message that was just decoded to its template, where it has one.

Nothing is decoded here again: every series is looked up by the bytes of its attributes in what
the decoder remembers. Runs once for a steady sender, so it may be slow (some 5 us a point).
"""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from exporter.intern import MetricEntry, Pieces, ResourceEntry
from exporter.wire.identity import metric_fields
from exporter.wire.layouts import AS_DOUBLE, AS_INT, START, TIME
from exporter.wire.lazy import LazyResourceMetrics
from exporter.wire.templates import Places, Single, Template
from exporter.wire.walk import BYTES, FIXED64, Field, UnwalkableError, fields, spans

__all__ = ["learn", "resource_span"]

# Fewer points are decoded in no time by any decoder.
_MIN_NUMBERS: Final = 8
# When this many number points at the beginning have none of the known forms, none is expected.
_MOST_ODD_NUMBERS: Final = 32
_NUMBERS: Final = frozenset({"gauge", "sum"})
_RESOURCE: Final = 1
_SCOPE_METRICS: Final = 2
_SCOPE: Final = 1
_METRICS: Final = 2
_DATA: Final = (5, 7, 9, 10, 11)
_DATA_POINTS: Final = 1
_ATTRIBUTES: Final = 7
# NumberDataPoint.flags, written although they are 0.
_NO_FLAGS: Final = b"\x40\x00"
# Field numbers of NumberDataPoint, as the tags of layouts.py have them.
_START, _TIME, _AS_DOUBLE, _AS_INT = (tag >> 3 for tag in (START, TIME, AS_DOUBLE, AS_INT))
_FIXED: Final = frozenset({_START, _TIME, _AS_DOUBLE, _AS_INT})


def learn(message: bytes, resource: ResourceEntry) -> Template | None:
    """The template of a ResourceMetrics message.

    Args:
        message: its bytes; all of it was decoded and accepted just now.
        resource: its resource, as the cache has it.

    Returns:
        None where the message has too few number points, or one series twice, or is written
        in a way that the walk does not follow (a sub-message in several pieces).
    """
    if resource.refusal:
        return None
    lesson = _Lesson(message)
    try:
        lesson.read(resource)
    except UnwalkableError:
        return None
    numbers = lesson.numbers
    if len(numbers) < _MIN_NUMBERS or len({point.series_id for point in numbers}) < len(numbers):
        return None
    return Template(message, numbers, tuple(lesson.singles))


def resource_span(message: bytes) -> tuple[int, int]:
    """Where the resource stands in a ResourceMetrics message that has a template.

    Returns:
        Start and end, both 0 where the message has none.
    """
    (span,) = spans(message, 0, len(message), _RESOURCE) or [(0, 0)]
    return span


class _Lesson:
    def __init__(self, message: bytes) -> None:
        self.numbers: list[Places] = []
        self.singles: list[Single] = []
        self._message = message
        # Number points that a template cannot read.
        self._odd_numbers = 0

    def read(self, resource: ResourceEntry) -> None:
        message = self._message
        lazy = LazyResourceMetrics.FromString(message)
        if len(lazy.resource) > 1 or _number_points(lazy) < _MIN_NUMBERS:
            raise UnwalkableError
        places = spans(message, 0, len(message), _SCOPE_METRICS)
        for scope_metrics, (start, end) in zip(lazy.scope_metrics, places, strict=True):
            pieces: Pieces = tuple(scope_metrics.scope)
            scope = resource.scopes.get((pieces, scope_metrics.schema_url))
            if scope is None:
                raise UnwalkableError
            metrics = spans(message, start, end, _METRICS)
            for metric, place in zip(scope_metrics.metrics, metrics, strict=True):
                type_name = metric.WhichOneof("data")
                if type_name is not None:
                    data = getattr(metric, type_name)
                    entry = scope.metrics.get(metric_fields(metric, type_name, data))
                    self._read_metric(entry, *place)

    def _read_metric(self, entry: MetricEntry | None, start: int, end: int) -> None:
        data = spans(self._message, start, end, *_DATA)
        if entry is None or len(data) != 1:
            raise UnwalkableError
        for point_start, point_end in spans(self._message, *data[0], _DATA_POINTS):
            places = self._places(entry, point_start, point_end)
            if places is None:
                self.singles.append(Single(entry, point_start, point_end))
                self._check_prospects(entry)
            else:
                self.numbers.append(places)

    def _check_prospects(self, entry: MetricEntry) -> None:
        # Where number points have exemplars there is nothing to learn, and much to read.
        self._odd_numbers += entry.key.type in _NUMBERS
        if self._odd_numbers >= _MOST_ODD_NUMBERS and not self.numbers:
            raise UnwalkableError

    def _places(self, entry: MetricEntry, start: int, end: int) -> Places | None:
        # None where the point is not just times, a value and attributes that are known.
        if entry.key.type not in _NUMBERS or entry.refusal:
            return None
        fixed: dict[int, int] = {}
        attributes = []
        for field in fields(self._message, start, end):
            if field.number == _ATTRIBUTES and field.wire_type == BYTES:
                attributes.append(self._message[field.tag : field.end])
            elif self._message[field.tag : field.end] == _NO_FLAGS:
                continue
            elif field.number in fixed or not _is_plain(field):
                return None
            else:
                fixed[field.number] = field.start
        values = [fixed[number] for number in (_AS_DOUBLE, _AS_INT) if number in fixed]
        series_id = _known(entry, b"".join(attributes))
        if len(values) != 1 or _TIME not in fixed or series_id is None:
            return None
        return Places(series_id, fixed[_TIME], fixed.get(_START, -1), values[0])


def _number_points(lazy: Any) -> int:
    return sum(
        len(metric.gauge.data_points) + len(metric.sum.data_points)
        for scope_metrics in lazy.scope_metrics
        for metric in scope_metrics.metrics
    )


def _known(entry: MetricEntry, attributes: bytes) -> int | None:
    # Remembered as they are written, or at least as protobuf itself would write them.
    found = entry.series_ids.get(attributes)
    if found is None:
        rewritten = NumberDataPoint.FromString(attributes).SerializeToString()
        found = entry.series_ids.get(rewritten)
    return found


def _is_plain(field: Field) -> bool:
    # A tag of more than its one byte is legal, and the mask does not expect it.
    has_one_byte = field.start - field.tag == 1
    return field.number in _FIXED and field.wire_type == FIXED64 and has_one_byte
