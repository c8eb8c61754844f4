"""Seeded requests: the same bytes in every run."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

__all__ = ["SHAPES", "Shape", "requests"]

FIRST_TIME_UNIX_NANO: Final = 1_700_000_000_000_000_000
STEP_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """How a request is filled: metrics times points of each."""

    name: str
    metrics: int
    points: int
    attributes: int = 3


SHAPES: Final = (
    Shape("10 metrics of 100 points", 10, 100),
    Shape("100 metrics of 10 points", 100, 10),
    Shape("1000 metrics of 1 point", 1000, 1),
)


def requests(shape: Shape, count: int, *, series_sets: int = 1) -> list[bytes]:
    """Serialized requests one step apart.

    Args:
        shape: how each is filled.
        count: how many.
        series_sets: how many senders take turns, each with series of its own.
    """
    random = Random(7)  # noqa: S311 - seeded on purpose
    return [
        _request(shape, at // series_sets, at % series_sets, random).SerializeToString()
        for at in range(count)
    ]


def _request(shape: Shape, step: int, sender: int, random: Random) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    for key, value in (("service.name", "checkout"), ("host.name", f"host-{sender}")):
        attribute = resource_metrics.resource.attributes.add()
        attribute.key = key
        attribute.value.string_value = value
    scope_metrics = resource_metrics.scope_metrics.add()
    scope_metrics.scope.name = "benchmark"
    for number in range(shape.metrics):
        _fill(scope_metrics.metrics.add(), number, shape, step, random)
    return request


def _fill(metric: Metric, number: int, shape: Shape, step: int, random: Random) -> None:
    metric.name = f"http.server.requests.{number}"
    metric.unit = "{request}"
    metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    metric.sum.is_monotonic = True
    for at in range(shape.points):
        point = metric.sum.data_points.add()
        point.start_time_unix_nano = FIRST_TIME_UNIX_NANO
        point.time_unix_nano = FIRST_TIME_UNIX_NANO + (step + 1) * STEP_NANO
        point.as_double = round(random.uniform(0, 1000), 1)
        for name in range(shape.attributes):
            attribute = point.attributes.add()
            attribute.key = f"attribute.{name}"
            attribute.value.string_value = f"value-{at}-{name}"
