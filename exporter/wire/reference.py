"""The plain decoder: the official messages, one point after the other.

Slow and obvious on purpose: it is what the fast decoder is proven equal to.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.errors import DecodeError
from exporter.intern import SeriesCache
from exporter.wire.ages import ANY_TIME, TimeWindow
from exporter.wire.identity import metric_entry, resource_entry, scope_entry
from exporter.wire.points import Rows
from exporter.wire.result import Decoded
from exporter.wire.shape import check_shape

__all__ = ["decode_reference", "parse"]


def parse(data: bytes) -> ExportMetricsServiceRequest:
    """The request as an official message.

    Raises:
        DecodeError: the bytes are not an ExportMetricsServiceRequest.
    """
    try:
        return ExportMetricsServiceRequest.FromString(data)
    except ProtobufDecodeError as exc:
        raise DecodeError(
            f"cannot decode {len(data)} bytes as an ExportMetricsServiceRequest: {exc}; "
            "the receiver takes OTLP metrics in protobuf encoding"
        ) from exc


def decode_reference(data: bytes, series: SeriesCache, window: TimeWindow = ANY_TIME) -> Decoded:
    """Decode one serialized ExportMetricsServiceRequest; see `exporter.wire.decode`."""
    check_shape(data)
    request = parse(data)
    rows = Rows(series, window)
    with series.registration() as registration:
        for resource_metrics in request.resource_metrics:
            resource = resource_entry(
                series,
                (resource_metrics.resource.SerializeToString(),),
                resource_metrics.schema_url,
            )
            for scope_metrics in resource_metrics.scope_metrics:
                scope = scope_entry(
                    series,
                    resource,
                    (scope_metrics.scope.SerializeToString(),),
                    scope_metrics.schema_url,
                )
                for metric in scope_metrics.metrics:
                    type_name = metric.WhichOneof("data")
                    if type_name is None:
                        continue
                    data_message = getattr(metric, type_name)
                    entry = metric_entry(series, scope, metric, type_name, data_message)
                    for point in data_message.data_points:
                        rows.add(entry, point)
        return rows.finish(registration.new_series)
