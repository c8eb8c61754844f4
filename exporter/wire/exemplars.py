"""The exemplars of many points at once, as columns.

What is left out, and what the rest becomes, is as in `exporter.wire.points`. Trace and span ids
that are not as long as they should be, and fields in an unusual form, are left to it.
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

from exporter.model import Exemplar, Int64Array
from exporter.wire.ages import TimeWindow
from exporter.wire.attributes import InvalidAttributesError, canonical_json, plain
from exporter.wire.buffer import Bits, Buffer
from exporter.wire.sweep import Spans, Swept, sweep

__all__ = ["ExemplarColumns", "read_exemplars"]

# Tags of Exemplar: field number and wire type.
_TIME: Final = 0x11
_AS_DOUBLE: Final = 0x19
_SPAN_ID: Final = 0x22
_TRACE_ID: Final = 0x2A
_AS_INT: Final = 0x31
_ATTRIBUTES: Final = 0x3A
_TAGS: Final = frozenset({_TIME, _AS_DOUBLE, _SPAN_ID, _TRACE_ID, _AS_INT, _ATTRIBUTES})
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
# Filtered attributes often repeat. What is longer is read anew each time.
_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED_BYTES: Final = 512
# From the inside out, the tags of the messages that an exemplar stands in.
_OUTER_TAGS: Final = (0x2A, 0x0A, 0x2A, 0x12, 0x12, 0x0A)


class _Parsed(dict[bytes, str | None]):
    """Filtered attributes by their bytes; parsed when they are first asked for."""

    def __missing__(self, raw: bytes) -> str | None:
        text = self[raw] = _json(raw)
        return text


@dataclass(frozen=True, slots=True)
class ExemplarColumns:
    """Exemplars that are stored if their points are.

    Attributes:
        point: which of the points each belongs to.
        time_unix_nano: always > 0.
        value: integers as the nearest double.
        trace_ids: 16 bytes each, a row.
        has_trace_id: whether it has one.
        span_ids: 8 bytes each.
        has_span_id: likewise.
        attributes: canonical JSON; None only before `take` has left those out.
    """

    point: Int64Array
    time_unix_nano: Int64Array
    value: npt.NDArray[np.float64]
    trace_ids: npt.NDArray[np.uint8]
    has_trace_id: Bits
    span_ids: Int64Array
    has_span_id: Bits
    attributes: list[str | None]

    def take(self, chosen: Bits) -> ExemplarColumns:
        """Those that are chosen."""
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
        """The exemplars, with the series of each point."""
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
    buffer: Buffer, spans: Spans, point_times: Int64Array, window: TimeWindow
) -> tuple[ExemplarColumns, Int64Array]:
    """Read exemplars.

    Args:
        buffer: what they stand in.
        spans: where, and of which point.
        point_times: in nanoseconds, of every point; for exemplars without a time.
        window: the times that they may have.

    Returns:
        Those that are to be stored, and the points of those that could not be read.

    Raises:
        google.protobuf.message.DecodeError: filtered attributes are no such message.
    """
    swept = sweep(buffer, spans.start, spans.end, _TAGS)
    double, integer = swept.last(_AS_DOUBLE), swept.last(_AS_INT)
    trace_id, has_trace_id = _id_places(swept, _TRACE_ID, _TRACE_ID_BYTES)
    span_id, has_span_id = _id_places(swept, _SPAN_ID, _SPAN_ID_BYTES)
    time = buffer.words(swept.last(_TIME))
    time = np.where(time == 0, point_times[spans.message], time)
    start, end = swept.run(_ATTRIBUTES)
    parsed = _Parsed()
    attributes = list(map(parsed.__getitem__, buffer.slices(start, end)))
    kept = double != integer
    if None in parsed.values():
        kept &= np.array([text is not None for text in attributes], np.bool_)
    kept &= (time >= window.earliest_unix_nano) & (time <= window.latest_unix_nano)
    value = np.where(double > integer, buffer.doubles(double), buffer.words(integer))
    columns = ExemplarColumns(
        spans.message,
        time,
        value,
        buffer.rows(trace_id, _TRACE_ID_BYTES),
        has_trace_id,
        buffer.words(span_id),
        has_span_id,
        attributes,
    )
    unread = spans.message[~swept.sound]
    return (columns if kept.all() else columns.take(kept)), unread


def _id_places(swept: Swept, tag: int, size_bytes: int) -> tuple[Int64Array, Bits]:
    start, end = swept.only(tag)
    present = end > start
    swept.sound &= ~present | (end - start == size_bytes)
    return start, present


def _hex(ids: npt.NDArray[Any], present: Bits, size_bytes: int) -> list[str]:
    digits = ids.tobytes().hex()
    width = 2 * size_bytes
    texts = [digits[at : at + width] for at in range(0, len(digits), width)]
    for at in np.flatnonzero(~present).tolist():
        texts[at] = ""
    return texts


def _json(raw: bytes) -> str | None:
    if not raw:
        return "{}"
    if len(raw) > _LONGEST_REMEMBERED_BYTES:
        return _parsed(raw)
    return _remembered(raw)


def _parsed(raw: bytes) -> str | None:
    """Filtered attributes as canonical JSON, None where they cannot be stored.

    Parsed as deep within a request as they stand, because how deep a message may be is limited.
    """
    request = raw
    for tag in _OUTER_TAGS:
        request = _framed(tag, request)
    parsed = ExportMetricsServiceRequest.FromString(request)
    metric = parsed.resource_metrics[0].scope_metrics[0].metrics[0]
    exemplar = metric.gauge.data_points[0].exemplars[0]
    try:
        return canonical_json(plain(exemplar.filtered_attributes))
    except InvalidAttributesError:
        return None


_remembered: Final = lru_cache(_REMEMBERED)(_parsed)


def _framed(tag: int, body: bytes) -> bytes:
    framed, length = bytearray([tag]), len(body)
    while length > 0x7F:
        framed.append(length & 0x7F | 0x80)
        length >>= 7
    framed.append(length)
    return bytes(framed) + body
