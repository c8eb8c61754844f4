"""The reference decoder: the official messages, one point after the other.

Simple and slow; the fast decoder is tested to be equal to it. It must not import a module of the
fast decoder (tests/test_layers.py lists what it may import).
"""

from __future__ import annotations

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.errors import DecodeError
from exporter.series_cache import SeriesCache
from exporter.wire.batch_builder import BatchBuilder
from exporter.wire.decode_result import Decoded
from exporter.wire.limits import check_message_count
from exporter.wire.series_lookup import metric_entry, resource_entry, scope_entry
from exporter.wire.time_window import ANY_TIME, TimeWindow


def parse_request(data: bytes) -> ExportMetricsServiceRequest:
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
    check_message_count(data)
    request = parse_request(data)
    builder = BatchBuilder(series, window)
    with series.transaction() as transaction:
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
                        builder.add_point(entry, point)
        return builder.build(transaction.new_series)
