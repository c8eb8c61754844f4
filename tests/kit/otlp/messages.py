"""Builds and traverses official messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

if TYPE_CHECKING:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

BASE_UNIX_NANO: Final = 1_700_000_000_123_456_789


def nested_value(levels: int, *, kvlists: bool = False) -> AnyValue:
    """The number 1 inside `levels` arrays, or key-value lists."""
    value = AnyValue(int_value=1)
    for _ in range(levels):
        if kvlists:
            value = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=value)]))
        else:
            value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


def data_points(metric: Metric) -> Sequence[Any]:
    """The points of the metric, whatever its type."""
    kind = metric.WhichOneof("data")
    return () if kind is None else getattr(metric, kind).data_points


def metrics_of(request: ExportMetricsServiceRequest) -> Iterator[Metric]:
    """All metrics of the request."""
    for resource_metrics in request.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            yield from scope_metrics.metrics


def request_of_all_types() -> ExportMetricsServiceRequest:
    """A valid request with two points of every type, exemplars and every list of attributes."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope_metrics = group.scope_metrics.add(scope=InstrumentationScope(name="library"))
    scope_metrics.scope.attributes.add(key="short").value.bool_value = True
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        data = getattr(scope_metrics.metrics.add(name=f"the {kind}"), kind)
        if kind not in {"gauge", "summary"}:
            data.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
        for second in range(2):
            point = data.data_points.add(time_unix_nano=BASE_UNIX_NANO + second * 10**9)
            point.attributes.add(key="host").value.string_value = "a"
            _fill(point, kind)
    return request


def _fill(point: Any, kind: str) -> None:
    if kind in {"gauge", "sum"}:
        point.as_int = 7
    else:
        point.count, point.sum = 3, 1.5
    if kind == "histogram":
        point.explicit_bounds.append(1.0)
        point.bucket_counts.extend((1, 2))
    if kind == "exponential_histogram":
        point.zero_count = 1
        point.positive.bucket_counts.append(2)
    if kind == "summary":
        point.quantile_values.add(quantile=0.5, value=1.0)
    else:
        exemplar = point.exemplars.add(as_double=1.0, trace_id=b"t" * 16)
        exemplar.filtered_attributes.add(key="user").value.int_value = 1
