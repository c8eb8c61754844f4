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

__all__ = [
    "LEARNING_STEPS",
    "POINTS_OF_RICHER",
    "RICHER_SHAPES",
    "SHAPES",
    "RicherShape",
    "Shape",
    "at_step",
    "requests",
    "richer_requests",
    "steady_requests",
]

FIRST_TIME_UNIX_NANO: Final = 1_700_000_000_000_000_000
STEP_NANO: Final = 1_000_000_000
# No two senders collect at the same moment. Where a thousand do, SQLite gets their rows of one time
# in any order of series, and each batch changes every page of that time.
_APART_NANO: Final = 1_000_000
# A sender's series are new in its first request, and learned by heart in its second.
LEARNING_STEPS: Final = 2


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


def steady_requests(shape: Shape, count: int, *, senders: int) -> tuple[list[bytes], list[bytes]]:
    """The requests in which senders are learned, and those that follow.

    Args:
        shape: how each is filled.
        count: how many follow.
        senders: how many take turns.
    """
    learning = LEARNING_STEPS * senders
    every = requests(shape, learning + count, series_sets=senders)
    return every[:learning], every[learning:]


def at_step(first: Iterable[bytes], step: int) -> Iterator[bytes]:
    """The requests of the first step, which is 1, one of each sender, with the times of another.

    In place: encoding them anew would take longer than all that is done with them.
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
class RicherShape:
    """A request of points that are more than a number: 10 metrics of 100 points.

    Attributes:
        name: for the table of results.
        kind: "histogram", "exponential_histogram" or "sum".
        exemplars: of each point, each with a trace, a span and one attribute out of twenty.
    """

    name: str
    kind: str
    exemplars: int = 0


RICHER_SHAPES: Final = (
    RicherShape("histograms", "histogram"),
    RicherShape("exponential histograms", "exponential_histogram"),
    RicherShape("sums with an exemplar", "sum", 1),
    RicherShape("histograms with two exemplars", "histogram", 2),
)
POINTS_OF_RICHER: Final = 1_000
# What SDKs take where nothing else is said (specification's metrics/sdk.md).
_BOUNDS: Final = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
_EXPONENTIAL_BUCKETS: Final = 40


def richer_requests(shape: RicherShape, count: int) -> list[bytes]:
    """Serialized requests of one sender, one step apart; counts, sums and exemplars change."""
    random = Random(7)  # noqa: S311 - seeded on purpose
    return [_richer_request(shape, step, random).SerializeToString() for step in range(count)]


def _richer_request(shape: RicherShape, step: int, random: Random) -> ExportMetricsServiceRequest:
    metrics = 10
    request = _request(Shape(shape.name, metrics, points=0), step, 0, random)
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        data = getattr(metric, shape.kind)
        data.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        for at in range(POINTS_OF_RICHER // metrics):
            _fill_richer(data.data_points.add(), at, shape, step, random)
    return request


def _fill_richer(point: Any, at: int, shape: RicherShape, step: int, random: Random) -> None:
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
    # Most buckets hold little, some hold more than one byte of a varint can.
    return [int(random.expovariate(1 / 60)) for _ in range(size)]
