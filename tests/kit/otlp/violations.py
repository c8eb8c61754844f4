"""Violations of the data model, each a change to one place of a well-formed request.

A violation takes a request and a number that chooses the place. It changes nothing if the request
has no suitable place. What a receiver must do with the result is described by `kit.otlp.model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList

from kit.otlp.messages import data_points, metrics_of, nested_value

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

Violation: TypeAlias = "Callable[[ExportMetricsServiceRequest, int], None]"

_TOO_LARGE: Final = 2**63
_LARGEST_UINT64: Final = 2**64 - 1
_UNKNOWN_TEMPORALITY: Final = 7


def _points(request: ExportMetricsServiceRequest, *kinds: str) -> Iterator[Any]:
    for metric in metrics_of(request):
        if not kinds or metric.WhichOneof("data") in kinds:
            yield from data_points(metric)


def _one_of(places: Iterator[Any], choice: int) -> Iterator[Any]:
    """One of the places as an iterator, which is empty if there are no places."""
    found = list(places)
    if found:
        yield found[choice % len(found)]


def _set(field: str, value: object, *kinds: str) -> Violation:
    def violation(request: ExportMetricsServiceRequest, choice: int) -> None:
        for point in _one_of(_points(request, *kinds), choice):
            setattr(point, field, value)

    return violation


def _no_value(request: ExportMetricsServiceRequest, choice: int) -> None:
    for point in _one_of(_points(request, "gauge", "sum"), choice):
        point.ClearField("as_int")
        point.ClearField("as_double")
        point.flags &= ~1


def _no_name(request: ExportMetricsServiceRequest, choice: int) -> None:
    for metric in _one_of(metrics_of(request), choice):
        metric.name = ""


def _no_data(request: ExportMetricsServiceRequest, choice: int) -> None:
    for metric in _one_of(metrics_of(request), choice):
        kind = metric.WhichOneof("data")
        if kind is not None:
            metric.ClearField(kind)


def _temporality(number: int) -> Violation:
    def violation(request: ExportMetricsServiceRequest, choice: int) -> None:
        with_one = (
            getattr(metric, kind)
            for metric in metrics_of(request)
            if (kind := metric.WhichOneof("data")) in {"sum", "histogram", "exponential_histogram"}
        )
        for data in _one_of(with_one, choice):
            data.aggregation_temporality = number

    return violation


def _attribute_owners(request: ExportMetricsServiceRequest) -> Iterator[Any]:
    """Every attribute list whose content is stored; those of points come first."""
    for point in _points(request):
        yield point.attributes
        yield from (each.filtered_attributes for each in getattr(point, "exemplars", ()))
    for group in request.resource_metrics:
        yield group.resource.attributes
        yield from (each.scope.attributes for each in group.scope_metrics)


def _attributes(*added: KeyValue) -> Violation:
    def violation(request: ExportMetricsServiceRequest, choice: int) -> None:
        for attributes in _one_of(_attribute_owners(request), choice):
            attributes.extend(added)

    return violation


def _bounds(*bounds: float) -> Violation:
    def violation(request: ExportMetricsServiceRequest, choice: int) -> None:
        for point in _one_of(_points(request, "histogram"), choice):
            point.explicit_bounds[:] = bounds
            point.bucket_counts[:] = [1] * (len(bounds) + 1)
            point.count = len(bounds) + 1

    return violation


def _extra_bucket(request: ExportMetricsServiceRequest, choice: int) -> None:
    for point in _one_of(_points(request, "histogram"), choice):
        point.bucket_counts.append(0)


def _bounds_without_buckets(request: ExportMetricsServiceRequest, choice: int) -> None:
    for point in _one_of(_points(request, "histogram"), choice):
        point.explicit_bounds[:] = [1.0]
        point.bucket_counts[:] = []


def _count_too_high(request: ExportMetricsServiceRequest, choice: int) -> None:
    for point in _one_of(_points(request, "histogram", "exponential_histogram"), choice):
        point.count = min(point.count + 1, _LARGEST_UINT64)


def _huge_buckets(request: ExportMetricsServiceRequest, choice: int) -> None:
    """Bucket counts whose sum equals `count` only if 64 bits overflow."""
    for point in _one_of(_points(request, "histogram", "exponential_histogram"), choice):
        buckets = getattr(point, "positive", point).bucket_counts
        buckets[:] = [_TOO_LARGE, _TOO_LARGE]
        point.count = 0


def _quantile(quantile: float) -> Violation:
    def violation(request: ExportMetricsServiceRequest, choice: int) -> None:
        for point in _one_of(_points(request, "summary"), choice):
            point.quantile_values.add(quantile=quantile, value=1.0)

    return violation


_DUPLICATE = KeyValue(key="duplicate", value=AnyValue(string_value="a"))
_NESTED_DUPLICATES = AnyValue(kvlist_value=KeyValueList(values=[_DUPLICATE, _DUPLICATE]))

VIOLATIONS: Final[Mapping[str, Violation]] = {
    "time 0": _set("time_unix_nano", 0),
    "time above int64": _set("time_unix_nano", _TOO_LARGE),
    "start above int64": _set("start_time_unix_nano", _TOO_LARGE),
    "start is the largest uint64": _set("start_time_unix_nano", _LARGEST_UINT64),
    "flag for no recorded value": _set("flags", 1),
    "no value": _no_value,
    "no name": _no_name,
    "no data": _no_data,
    "temporality unspecified": _temporality(0),
    "temporality unknown": _temporality(_UNKNOWN_TEMPORALITY),
    "temporality negative": _temporality(-1),
    "duplicate attribute": _attributes(_DUPLICATE, _DUPLICATE),
    "duplicate attribute with two values": _attributes(
        _DUPLICATE, KeyValue(key="duplicate", value=AnyValue(int_value=1))
    ),
    "duplicate attribute in a nested value": _attributes(
        KeyValue(key="nested", value=_NESTED_DUPLICATES)
    ),
    "arrays of the maximum depth": _attributes(KeyValue(key="deep", value=nested_value(16))),
    "maps of the maximum depth": _attributes(
        KeyValue(key="deep", value=nested_value(16, kvlists=True))
    ),
    "arrays too deep": _attributes(KeyValue(key="too deep", value=nested_value(17))),
    "maps too deep": _attributes(KeyValue(key="too deep", value=nested_value(17, kvlists=True))),
    "bounds equal": _bounds(1.0, 1.0),
    "bounds decreasing": _bounds(2.0, 1.0),
    "bounds both zero": _bounds(-0.0, 0.0),
    "bound NaN": _bounds(float("nan")),
    "bound NaN between other bounds": _bounds(1.0, float("nan"), 2.0),
    "one bucket too many": _extra_bucket,
    "bounds without buckets": _bounds_without_buckets,
    "count greater than the buckets": _count_too_high,
    "sum of buckets above uint64": _huge_buckets,
    "summary count above int64": _set("count", _TOO_LARGE, "summary"),
    "histogram count above int64": _set("count", _LARGEST_UINT64, "histogram"),
    "zero_count above int64": _set("zero_count", _TOO_LARGE, "exponential_histogram"),
    "quantile above 1": _quantile(1.5),
    "quantile below 0": _quantile(-0.5),
    "quantile NaN": _quantile(float("nan")),
}
