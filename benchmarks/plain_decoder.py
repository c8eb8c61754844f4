"""The straightforward decoder: protobuf objects, and a row of Python values for each point."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)


def plain_rows(data: bytes) -> list[tuple[int, str, dict[str, str], float, int]]:
    """Number points of a request: (time, metric, attributes, value, start time)."""
    rows = []
    for resource_metrics in ExportMetricsServiceRequest.FromString(data).resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                for point in metric.sum.data_points:
                    attributes = {item.key: item.value.string_value for item in point.attributes}
                    number = (
                        point.as_double
                        if point.WhichOneof("value") == "as_double"
                        else float(point.as_int)
                    )
                    start = point.start_time_unix_nano
                    rows.append((point.time_unix_nano, metric.name, attributes, number, start))
    return rows


def complex_plain_rows(data: bytes, kind: str) -> list[tuple[Any, ...]]:
    """Points of a kind: (time, metric, attributes, start time, fields of the kind, exemplars)."""
    fields = {
        "sum": _number,
        "histogram": _histogram,
        "exponential_histogram": _exponential_histogram,
    }[kind]
    rows = []
    for resource_metrics in ExportMetricsServiceRequest.FromString(data).resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                for point in getattr(metric, kind).data_points:
                    attributes = {item.key: item.value.string_value for item in point.attributes}
                    time, start = point.time_unix_nano, point.start_time_unix_nano
                    exemplars = [_exemplar(item) for item in point.exemplars]
                    row = (time, metric.name, attributes, start, *fields(point), exemplars)
                    rows.append(row)
    return rows


def _number(point: Any) -> tuple[float]:
    kind = point.WhichOneof("value")
    return (point.as_double if kind == "as_double" else float(point.as_int),)


def _histogram(point: Any) -> tuple[Any, ...]:
    return (
        *_statistics(point),
        tuple(point.explicit_bounds),
        tuple(point.bucket_counts),
    )


def _exponential_histogram(point: Any) -> tuple[Any, ...]:
    positive, negative = point.positive, point.negative
    return (
        *_statistics(point),
        point.scale,
        point.zero_count,
        point.zero_threshold,
        positive.offset,
        tuple(positive.bucket_counts),
        negative.offset,
        tuple(negative.bucket_counts),
    )


def _statistics(point: Any) -> tuple[int, float | None, float | None, float | None]:
    return (
        point.count,
        point.sum if point.HasField("sum") else None,
        point.min if point.HasField("min") else None,
        point.max if point.HasField("max") else None,
    )


def _exemplar(exemplar: Any) -> tuple[Any, ...]:
    return (
        exemplar.time_unix_nano,
        exemplar.as_double if exemplar.WhichOneof("value") == "as_double" else exemplar.as_int,
        exemplar.trace_id.hex(),
        exemplar.span_id.hex(),
        {item.key: item.value.string_value for item in exemplar.filtered_attributes},
    )
