"""Builds the template of a message that was just decoded.

It decodes nothing: series ids come from the cache, by the bytes of the attributes. It runs once or
a few times for a steady sender, so it may be slow (5 us a point).
"""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from exporter.series_cache import MetricEntry, ResourceEntry
from exporter.wire.lazy_messages import LazyResourceMetrics
from exporter.wire.point_layouts import AS_DOUBLE, AS_INT, START, TIME
from exporter.wire.protobuf_reader import (
    FIXED64,
    LENGTH_DELIMITED,
    Field,
    MalformedMessageError,
    iter_fields,
    submessage_spans,
)
from exporter.wire.series_lookup import metric_cache_key
from exporter.wire.template import MISSING_START, NonNumberPoint, PointOffsets, Template

# With fewer points every tier of the decoder is fast.
_MIN_NUMBERS: Final = 8
# If this many number points at the beginning of a message do not fit a template, none is expected.
_MAX_UNSUPPORTED_NUMBERS: Final = 32
_NUMBERS: Final = frozenset({"gauge", "sum"})
# Field numbers; the messages are quoted in lazy_messages.py and point_layouts.py.
_RESOURCE: Final = 1
_SCOPE_METRICS: Final = 2
_METRICS: Final = 2
_METRIC_DATA: Final = (5, 7, 9, 10, 11)
_DATA_POINTS: Final = 1
_ATTRIBUTES: Final = 7
_START, _TIME, _AS_DOUBLE, _AS_INT = (tag >> 3 for tag in (START, TIME, AS_DOUBLE, AS_INT))
_FIXED: Final = frozenset({_START, _TIME, _AS_DOUBLE, _AS_INT})
# NumberDataPoint.flags = 0, which some encoders write although it is the default.
_ZERO_FLAGS: Final = b"\x40\x00"


def build_template(message: bytes, resource: ResourceEntry) -> Template | None:
    """The template of a ResourceMetrics message.

    Args:
        message: its bytes; the message was decoded and accepted just before.
        resource: its resource in the cache.

    Returns:
        None if the message has too few number points, two points of one series, or a sub-message
        in several fragments.
    """
    if resource.rejection_reason:
        return None
    builder = _TemplateBuilder(message)
    try:
        builder.read(resource)
    except (MalformedMessageError, _UnsupportedMessageError):
        return None
    numbers = builder.numbers
    if len(numbers) < _MIN_NUMBERS or len({point.series_id for point in numbers}) < len(numbers):
        return None
    return Template(message, numbers, tuple(builder.other_points))


def resource_span(message: bytes) -> tuple[int, int]:
    """Start and end offset of the resource in a ResourceMetrics message that has a template.

    Both are 0 if the message has no resource.
    """
    (span,) = submessage_spans(message, 0, len(message), _RESOURCE) or [(0, 0)]
    return span


class _UnsupportedMessageError(Exception):
    """The message has no template."""


class _TemplateBuilder:
    def __init__(self, message: bytes) -> None:
        self.numbers: list[PointOffsets] = []
        self.other_points: list[NonNumberPoint] = []
        self._message = message
        self._unsupported_numbers = 0

    def read(self, resource: ResourceEntry) -> None:
        message = self._message
        lazy = LazyResourceMetrics.FromString(message)
        if len(lazy.resource) > 1 or _number_point_count(lazy) < _MIN_NUMBERS:
            raise _UnsupportedMessageError
        scope_spans = submessage_spans(message, 0, len(message), _SCOPE_METRICS)
        for scope_metrics, (start, end) in zip(lazy.scope_metrics, scope_spans, strict=True):
            scope = resource.scopes.get((tuple(scope_metrics.scope), scope_metrics.schema_url))
            if scope is None:
                raise _UnsupportedMessageError
            metric_spans = submessage_spans(message, start, end, _METRICS)
            for metric, span in zip(scope_metrics.metrics, metric_spans, strict=True):
                type_name = metric.WhichOneof("data")
                if type_name is not None:
                    data = getattr(metric, type_name)
                    entry = scope.metrics.get(metric_cache_key(metric, type_name, data))
                    self._read_metric(entry, *span)

    def _read_metric(self, entry: MetricEntry | None, start: int, end: int) -> None:
        data_spans = submessage_spans(self._message, start, end, *_METRIC_DATA)
        if entry is None or len(data_spans) != 1:
            raise _UnsupportedMessageError
        for point_start, point_end in submessage_spans(self._message, *data_spans[0], _DATA_POINTS):
            offsets = self._number_offsets(entry, point_start, point_end)
            if offsets is not None:
                self.numbers.append(offsets)
                continue
            self.other_points.append(NonNumberPoint(entry, point_start, point_end))
            # A message of number points with exemplars has no template and takes long to read.
            self._unsupported_numbers += entry.key.type in _NUMBERS
            if self._unsupported_numbers >= _MAX_UNSUPPORTED_NUMBERS and not self.numbers:
                raise _UnsupportedMessageError

    def _number_offsets(self, entry: MetricEntry, start: int, end: int) -> PointOffsets | None:
        """The offsets in a point; None unless it is times, a value and known attributes."""
        if entry.key.type not in _NUMBERS or entry.rejection_reason:
            return None
        fixed: dict[int, int] = {}
        attributes = []
        for field in iter_fields(self._message, start, end):
            if field.number == _ATTRIBUTES and field.wire_type == LENGTH_DELIMITED:
                attributes.append(self._message[field.tag : field.end])
            elif self._message[field.tag : field.end] == _ZERO_FLAGS:
                continue
            elif field.number in fixed or not _is_expected_fixed64(field):
                return None
            else:
                fixed[field.number] = field.start
        values = [fixed[number] for number in (_AS_DOUBLE, _AS_INT) if number in fixed]
        series_id = _find_series_id(entry, b"".join(attributes))
        if len(values) != 1 or _TIME not in fixed or series_id is None:
            return None
        return PointOffsets(series_id, fixed[_TIME], fixed.get(_START, MISSING_START), values[0])


def _number_point_count(lazy: Any) -> int:
    return sum(
        len(metric.gauge.data_points) + len(metric.sum.data_points)
        for scope_metrics in lazy.scope_metrics
        for metric in scope_metrics.metrics
    )


def _find_series_id(entry: MetricEntry, attributes: bytes) -> int | None:
    # The cache knows attributes as the sender wrote them, or as protobuf serializes them.
    series_id = entry.series_ids.get(attributes)
    if series_id is None:
        serialized = NumberDataPoint.FromString(attributes).SerializeToString()
        series_id = entry.series_ids.get(serialized)
    return series_id


def _is_expected_fixed64(field: Field) -> bool:
    # Protobuf allows a tag of more than one byte; the mask of a template does not.
    has_one_byte_tag = field.start - field.tag == 1
    return field.number in _FIXED and field.wire_type == FIXED64 and has_one_byte_tag
