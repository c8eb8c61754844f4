"""Seeded requests: the same bytes in every run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

FIRST_TIME_UNIX_NANO: Final = 1_700_000_000_000_000_000
STEP_NANO: Final = 1_000_000_000
# Senders collect at different moments. If a thousand senders used the same time, SQLite would get
# the rows of that time in any order of series, and each batch would change every page of that time.
_APART_NANO: Final = 1_000_000
# The first request of a sender registers its series, the second creates its template.
WARM_UP_STEPS: Final = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a request: metrics, and points of each metric."""

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
        shape: the size of each request.
        count: the number of requests.
        series_sets: the number of senders that take turns, each with its own series.
    """
    random = Random(7)  # noqa: S311 - seeded on purpose
    return [
        _request(shape, at // series_sets, at % series_sets, random).SerializeToString()
        for at in range(count)
    ]


def steady_requests(shape: Shape, count: int, *, senders: int) -> tuple[list[bytes], list[bytes]]:
    """The warm-up requests of the senders, and the requests that follow.

    Args:
        shape: the size of each request.
        count: the number of requests after the warm-up.
        senders: the number of senders that take turns.
    """
    warm_up = WARM_UP_STEPS * senders
    every = requests(shape, warm_up + count, series_sets=senders)
    return every[:warm_up], every[warm_up:]


def at_step(first: Iterable[bytes], step: int) -> Iterator[bytes]:
    """The requests of step 1, one of each sender, with the times of another step.

    The times are replaced in the bytes: encoding the requests again would take longer than the
    measured work.
    """
    for sender, data in enumerate(first):
        written, now = (_time_unix_nano(at, sender).to_bytes(8, "little") for at in (1, step))
        yield data.replace(written, now)


def _time_unix_nano(step: int, sender: int) -> int:
    return FIRST_TIME_UNIX_NANO + step * STEP_NANO + sender * _APART_NANO


def _request(shape: Shape, step: int, sender: int, random: Random) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    for key, value in (("service.name", "checkout"), ("host.name", f"host-{sender}")):
        attribute = resource_metrics.resource.attributes.add()
        attribute.key = key
        attribute.value.string_value = value
    scope_metrics = resource_metrics.scope_metrics.add()
    scope_metrics.scope.name = "benchmark"
    time_unix_nano = _time_unix_nano(step + 1, sender)
    for number in range(shape.metrics):
        _fill(scope_metrics.metrics.add(), number, shape, time_unix_nano, random)
    return request


def _fill(metric: Metric, number: int, shape: Shape, time_unix_nano: int, random: Random) -> None:
    metric.name = f"http.server.requests.{number}"
    metric.unit = "{request}"
    metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    metric.sum.is_monotonic = True
    for at in range(shape.points):
        point = metric.sum.data_points.add()
        point.start_time_unix_nano = FIRST_TIME_UNIX_NANO
        point.time_unix_nano = time_unix_nano
        point.as_double = round(random.uniform(0, 1000), 1)
        for name in range(shape.attributes):
            attribute = point.attributes.add()
            attribute.key = f"attribute.{name}"
            attribute.value.string_value = f"value-{at}-{name}"


@dataclass(frozen=True, slots=True)
class ComplexShape:
    """A request of histograms, or of sums with exemplars: 10 metrics of 100 points.

    Attributes:
        name: shown in the results.
        kind: "histogram", "exponential_histogram" or "sum".
        exemplars: exemplars of each point, with a trace, a span and one of twenty attributes.
    """

    name: str
    kind: str
    exemplars: int = 0


COMPLEX_SHAPES: Final = (
    ComplexShape("histograms", "histogram"),
    ComplexShape("exponential histograms", "exponential_histogram"),
    ComplexShape("sums with an exemplar", "sum", 1),
    ComplexShape("histograms with two exemplars", "histogram", 2),
)
POINTS_OF_COMPLEX_REQUEST: Final = 1_000
# The default bounds of SDKs (specification, metrics/sdk.md).
_BOUNDS: Final = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
_EXPONENTIAL_BUCKETS: Final = 40


def complex_requests(shape: ComplexShape, count: int) -> list[bytes]:
    """Serialized requests of one sender, one step apart, with changing counts and exemplars."""
    random = Random(7)  # noqa: S311 - seeded on purpose
    return [_richer_request(shape, step, random).SerializeToString() for step in range(count)]


def _richer_request(shape: ComplexShape, step: int, random: Random) -> ExportMetricsServiceRequest:
    metrics = 10
    request = _request(Shape(shape.name, metrics, points=0), step, 0, random)
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        data = getattr(metric, shape.kind)
        data.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        for at in range(POINTS_OF_COMPLEX_REQUEST // metrics):
            _fill_richer(data.data_points.add(), at, shape, step, random)
    return request


def _fill_richer(point: Any, at: int, shape: ComplexShape, step: int, random: Random) -> None:
    point.start_time_unix_nano = FIRST_TIME_UNIX_NANO
    point.time_unix_nano = _time_unix_nano(step + 1, sender=0)
    for name in range(3):
        attribute = point.attributes.add(key=f"attribute.{name}")
        attribute.value.string_value = f"value-{at}-{name}"
    if shape.kind == "sum":
        point.as_double = round(random.uniform(0, 1000), 1)
    elif shape.kind == "histogram":
        point.explicit_bounds.extend(_BOUNDS)
        point.bucket_counts.extend(_counts(len(_BOUNDS) + 1, random))
        point.count = sum(point.bucket_counts)
    else:
        point.scale, point.zero_count, point.positive.offset = 3, 2, random.randrange(-90, 90)
        point.positive.bucket_counts.extend(_counts(_EXPONENTIAL_BUCKETS, random))
        point.count = point.zero_count + sum(point.positive.bucket_counts)
    if shape.kind != "sum":
        point.sum, point.min, point.max = random.uniform(0, 1e6), random.random(), 1e4
    for _ in range(shape.exemplars):
        exemplar = point.exemplars.add(as_double=random.uniform(0, 1000))
        exemplar.time_unix_nano = point.time_unix_nano - random.randrange(STEP_NANO)
        exemplar.trace_id, exemplar.span_id = random.randbytes(16), random.randbytes(8)
        attribute = exemplar.filtered_attributes.add(key="user.tier")
        attribute.value.string_value = f"tier {random.randrange(20)}"


def _counts(size: int, random: Random) -> list[int]:
    # Most buckets have small counts, some have counts of more than one varint byte.
    return [int(random.expovariate(1 / 60)) for _ in range(size)]
