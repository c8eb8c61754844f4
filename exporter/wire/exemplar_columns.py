"""Decodes the exemplars of many points at once into columns.

The rules are those of `exporter.wire.batch_builder`. The point of an exemplar in an unusual form,
or with ids of another length, is marked invalid and goes to the official messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.json_text import canonical_json
from exporter.model import Exemplar, Int64Array
from exporter.wire.attributes import InvalidAttributesError, attributes_to_dict
from exporter.wire.field_scan import ScanResult, scan_fields
from exporter.wire.time_window import TimeWindow
from exporter.wire.vectorized_buffer import BoolArray, ByteBuffer, ParseCache, Spans

# message Exemplar:
#   repeated KeyValue filtered_attributes = 7    tag 0x3A
#   fixed64 time_unix_nano                = 2    tag 0x11
#   oneof value:
#     double   as_double                  = 3    tag 0x19
#     sfixed64 as_int                     = 6    tag 0x31
#   bytes span_id                         = 4    tag 0x22, 8 bytes or empty
#   bytes trace_id                        = 5    tag 0x2A, 16 bytes or empty
_TIME: Final = 0x11
_AS_DOUBLE: Final = 0x19
_SPAN_ID: Final = 0x22
_TRACE_ID: Final = 0x2A
_AS_INT: Final = 0x31
_ATTRIBUTES: Final = 0x3A
_TAGS: Final = frozenset({_TIME, _AS_DOUBLE, _SPAN_ID, _TRACE_ID, _AS_INT, _ATTRIBUTES})
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
# Filtered attributes often repeat. Longer ones are parsed each time, which bounds the memory.
_MAX_CACHED_ATTRIBUTES: Final = 4096
_MAX_CACHED_BYTES: Final = 512
# The tags of the messages that enclose an exemplar, innermost first: exemplars, data_points,
# gauge, metrics, scope_metrics, resource_metrics.
_ENCLOSING_TAGS: Final = (0x2A, 0x0A, 0x2A, 0x12, 0x12, 0x0A)


@dataclass(frozen=True, slots=True)
class ExemplarColumns:
    """Exemplars as columns.

    Attributes:
        point: the index of the point that each belongs to.
        time_unix_nano: always > 0.
        value: integers as the nearest double.
        trace_ids: one row of 16 bytes for each.
        has_trace_id: whether it has a trace id.
        span_ids: the 8 bytes of each as a number.
        has_span_id: whether it has a span id.
        attributes: filtered attributes as canonical JSON; None if they cannot be stored, which
            `read_exemplars` filters out.
    """

    point: Int64Array
    time_unix_nano: Int64Array
    value: npt.NDArray[np.float64]
    trace_ids: npt.NDArray[np.uint8]
    has_trace_id: BoolArray
    span_ids: Int64Array
    has_span_id: BoolArray
    attributes: list[str | None]

    def take(self, chosen: BoolArray) -> ExemplarColumns:
        """The chosen exemplars."""
        return ExemplarColumns(
            self.point[chosen],
            self.time_unix_nano[chosen],
            self.value[chosen],
            self.trace_ids[chosen],
            self.has_trace_id[chosen],
            self.span_ids[chosen],
            self.has_span_id[chosen],
            list(compress(self.attributes, chosen.tolist())),
        )

    def rows(self, series_ids: Int64Array) -> list[Exemplar]:
        """The exemplars as rows; `series_ids` has the series of each point."""
        return list(
            map(
                Exemplar,
                series_ids[self.point].tolist(),
                self.time_unix_nano.tolist(),
                self.value.tolist(),
                _hex(self.trace_ids, self.has_trace_id, _TRACE_ID_BYTES),
                _hex(self.span_ids, self.has_span_id, _SPAN_ID_BYTES),
                self.attributes,
            )
        )


def read_exemplars(
    buffer: ByteBuffer, spans: Spans, point_times: Int64Array, window: TimeWindow
) -> tuple[ExemplarColumns, Int64Array]:
    """Decode exemplars.

    Args:
        buffer: the bytes of the points.
        spans: the exemplars, each with the index of its point.
        point_times: in nanoseconds, of every point; used for exemplars without a time.
        window: the times that exemplars may have.

    Returns:
        The exemplars to store, and the indexes of points with an exemplar that could not be read.

    Raises:
        google.protobuf.message.DecodeError: filtered attributes are not a valid message.
    """
    scan = scan_fields(buffer, spans.start, spans.end, _TAGS)
    double, integer = scan.last_value(_AS_DOUBLE), scan.last_value(_AS_INT)
    trace_id, has_trace_id = _read_id(scan, _TRACE_ID, _TRACE_ID_BYTES)
    span_id, has_span_id = _read_id(scan, _SPAN_ID, _SPAN_ID_BYTES)
    time = buffer.int64s(scan.last_value(_TIME))
    time = np.where(time == 0, point_times[spans.message], time)
    start, end = scan.adjacent_span(_ATTRIBUTES)
    parsed = ParseCache(_attributes_json)
    attributes = list(map(parsed.__getitem__, buffer.slices(start, end)))
    # Both offsets are MISSING if the exemplar has no value.
    stored = double != integer
    if None in parsed.values():
        stored &= np.array([text is not None for text in attributes], np.bool_)
    stored &= (time >= window.earliest_unix_nano) & (time <= window.latest_unix_nano)
    # Of a double and an integer the later field counts.
    value = np.where(double > integer, buffer.doubles(double), buffer.int64s(integer))
    columns = ExemplarColumns(
        spans.message,
        time,
        value,
        buffer.matrix(trace_id, _TRACE_ID_BYTES),
        has_trace_id,
        buffer.int64s(span_id),
        has_span_id,
        attributes,
    )
    unread = spans.message[~scan.valid]
    return (columns if stored.all() else columns.take(stored)), unread


def _read_id(scan: ScanResult, tag: int, size_bytes: int) -> tuple[Int64Array, BoolArray]:
    start, end = scan.single_span(tag)
    present = end > start
    scan.valid &= ~present | (end - start == size_bytes)
    return start, present


def _hex(ids: npt.NDArray[Any], present: BoolArray, size_bytes: int) -> list[str]:
    digits = ids.tobytes().hex()
    width = 2 * size_bytes
    texts = [digits[at : at + width] for at in range(0, len(digits), width)]
    for index in np.flatnonzero(~present).tolist():
        texts[index] = ""
    return texts


def _attributes_json(raw: bytes) -> str | None:
    if not raw:
        return "{}"
    if len(raw) > _MAX_CACHED_BYTES:
        return _parse_attributes(raw)
    return _parse_attributes_cached(raw)


def _parse_attributes(raw: bytes) -> str | None:
    """Filtered attributes as canonical JSON, None if they cannot be stored."""
    # Parsed inside all enclosing messages, because protobuf limits the depth of the whole request.
    request = raw
    for tag in _ENCLOSING_TAGS:
        request = _length_delimited(tag, request)
    parsed = ExportMetricsServiceRequest.FromString(request)
    metric = parsed.resource_metrics[0].scope_metrics[0].metrics[0]
    exemplar = metric.gauge.data_points[0].exemplars[0]
    try:
        return canonical_json(attributes_to_dict(exemplar.filtered_attributes))
    except InvalidAttributesError:
        return None


_parse_attributes_cached: Final = lru_cache(_MAX_CACHED_ATTRIBUTES)(_parse_attributes)


def _length_delimited(tag: int, body: bytes) -> bytes:
    encoded, length = bytearray([tag]), len(body)
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + body
