"""What the data model forbids, each as a change to one place of a well-formed request.

A fault takes a request and a number that chooses where; where the request has no such place it
changes nothing. It says nothing of what a receiver should do: `kit.otlp.model` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

__all__ = ["VIOLATIONS", "Violation", "data_points", "nested"]

Violation: TypeAlias = "Callable[[ExportMetricsServiceRequest, int], None]"

_TOO_LARGE: Final = 2**63
_LARGEST_UINT64: Final = 2**64 - 1
_UNKNOWN_TEMPORALITY: Final = 7


def nested(levels: int, *, kvlists: bool = False) -> AnyValue:
    """The number 1 inside so many arrays, or key-value lists."""
    value = AnyValue(int_value=1)
    for _ in range(levels):
        if kvlists:
            value = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=value)]))
        else:
            value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


def data_points(metric: Metric) -> Sequence[Any]:
    """The metric's points, whatever its type."""
    kind = metric.WhichOneof("data")
    return () if kind is None else getattr(metric, kind).data_points


def _metrics(request: ExportMetricsServiceRequest) -> Iterator[Metric]:
    for group in request.resource_metrics:
        for scope_metrics in group.scope_metrics:
            yield from scope_metrics.metrics


def _points(request: ExportMetricsServiceRequest, *kinds: str) -> Iterator[Any]:
    for metric in _metrics(request):
        if not kinds or metric.WhichOneof("data") in kinds:
            yield from data_points(metric)


def _chosen(places: Iterator[Any], choice: int) -> Iterator[Any]:
    """One of the places as an iterator, empty where there are none."""
    found = list(places)
    if found:
        yield found[choice % len(found)]


def _set(field: str, value: object, *kinds: str) -> Violation:
    def fault(request: ExportMetricsServiceRequest, choice: int) -> None:
        for point in _chosen(_points(request, *kinds), choice):
            setattr(point, field, value)

    return fault


def _no_value(request: ExportMetricsServiceRequest, choice: int) -> None:
    for point in _chosen(_points(request, "gauge", "sum"), choice):
        point.ClearField("as_int")
        point.ClearField("as_double")
        point.flags &= ~1


def _no_name(request: ExportMetricsServiceRequest, choice: int) -> None:
    for metric in _chosen(_metrics(request), choice):
        metric.name = ""


def _no_data(request: ExportMetricsServiceRequest, choice: int) -> None:
    for metric in _chosen(_metrics(request), choice):
        kind = metric.WhichOneof("data")
        if kind is not None:
            metric.ClearField(kind)


def _temporality(number: int) -> Violation:
    def fault(request: ExportMetricsServiceRequest, choice: int) -> None:
        with_one = (
            getattr(metric, kind)
            for metric in _metrics(request)
            if (kind := metric.WhichOneof("data")) in {"sum", "histogram", "exponential_histogram"}
        )
        for data in _chosen(with_one, choice):
            data.aggregation_temporality = number

    return fault


def _attribute_owners(request: ExportMetricsServiceRequest) -> Iterator[Any]:
    """Everything with an attribute list that counts, the points first and most often."""
    for point in _points(request):
        yield point.attributes
        yield from (each.filtered_attributes for each in getattr(point, "exemplars", ()))
    for group in request.resource_metrics:
        yield group.resource.attributes
        yield from (each.scope.attributes for each in group.scope_metrics)


def _attributes(*added: KeyValue) -> Violation:
    def fault(request: ExportMetricsServiceRequest, choice: int) -> None:
        for attributes in _chosen(_attribute_owners(request), choice):
            attributes.extend(added)

    return fault


def _bounds(*bounds: float) -> Violation:
    def fault(request: ExportMetricsServiceRequest, choice: int) -> None:
        for point in _chosen(_points(request, "histogram"), choice):
            point.explicit_bounds[:] = bounds
            point.bucket_counts[:] = [1] * (len(bounds) + 1)
            point.count = len(bounds) + 1

    return fault


def _one_bucket_more(request: ExportMetricsServiceRequest, choice: int) -> None:
    for point in _chosen(_points(request, "histogram"), choice):
        point.bucket_counts.append(0)


def _bounds_without_buckets(request: ExportMetricsServiceRequest, choice: int) -> None:
    for point in _chosen(_points(request, "histogram"), choice):
        point.explicit_bounds[:] = [1.0]
        point.bucket_counts[:] = []


def _one_count_more(request: ExportMetricsServiceRequest, choice: int) -> None:
    for point in _chosen(_points(request, "histogram", "exponential_histogram"), choice):
        point.count = min(point.count + 1, _LARGEST_UINT64)


def _huge_buckets(request: ExportMetricsServiceRequest, choice: int) -> None:
    """Bucket counts whose sum fits again only where 64 bits overflow."""
    for point in _chosen(_points(request, "histogram", "exponential_histogram"), choice):
        buckets = getattr(point, "positive", point).bucket_counts
        buckets[:] = [_TOO_LARGE, _TOO_LARGE]
        point.count = 0


def _quantile(quantile: float) -> Violation:
    def fault(request: ExportMetricsServiceRequest, choice: int) -> None:
        for point in _chosen(_points(request, "summary"), choice):
            point.quantile_values.add(quantile=quantile, value=1.0)

    return fault


def _key_value(key: str, value: AnyValue) -> KeyValue:
    return KeyValue(key=key, value=value)


_TWIN = _key_value("twin", AnyValue(string_value="a"))
_TWINS_INSIDE = AnyValue(kvlist_value=KeyValueList(values=[_TWIN, _TWIN]))

VIOLATIONS: Final[Mapping[str, Violation]] = {
    "time 0": _set("time_unix_nano", 0),
    "time beyond int64": _set("time_unix_nano", _TOO_LARGE),
    "start beyond int64": _set("start_time_unix_nano", _TOO_LARGE),
    "start at the end of uint64": _set("start_time_unix_nano", _LARGEST_UINT64),
    "flagged as not recorded": _set("flags", 1),
    "no value": _no_value,
    "no name": _no_name,
    "no data": _no_data,
    "temporality unspecified": _temporality(0),
    "temporality unknown": _temporality(_UNKNOWN_TEMPORALITY),
    "temporality negative": _temporality(-1),
    "attribute twice": _attributes(_TWIN, _TWIN),
    "attribute twice with two values": _attributes(
        _TWIN, _key_value("twin", AnyValue(int_value=1))
    ),
    "attribute twice inside": _attributes(_key_value("inside", _TWINS_INSIDE)),
    "arrays as deep as may be": _attributes(_key_value("deep", nested(16))),
    "maps as deep as may be": _attributes(_key_value("deep", nested(16, kvlists=True))),
    "arrays too deep": _attributes(_key_value("too deep", nested(17))),
    "maps too deep": _attributes(_key_value("too deep", nested(17, kvlists=True))),
    "bounds equal": _bounds(1.0, 1.0),
    "bounds falling": _bounds(2.0, 1.0),
    "bounds both zero": _bounds(-0.0, 0.0),
    "bound NaN": _bounds(float("nan")),
    "bound NaN between others": _bounds(1.0, float("nan"), 2.0),
    "a bucket too many": _one_bucket_more,
    "bounds without buckets": _bounds_without_buckets,
    "buckets short of count": _one_count_more,
    "buckets beyond uint64": _huge_buckets,
    "summary count beyond int64": _set("count", _TOO_LARGE, "summary"),
    "histogram count beyond int64": _set("count", _LARGEST_UINT64, "histogram"),
    "zero_count beyond int64": _set("zero_count", _TOO_LARGE, "exponential_histogram"),
    "quantile above 1": _quantile(1.5),
    "quantile below 0": _quantile(-0.5),
    "quantile NaN": _quantile(float("nan")),
}
