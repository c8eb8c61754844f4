"""Decoding against the plain loop over protobuf objects."""

from __future__ import annotations

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from benchmarks.measure import Result, side_by_side
from benchmarks.workload import SHAPES, Shape, requests
from exporter.intern import SeriesCache
from exporter.wire import decode

__all__ = ["run"]

_REQUESTS = 40


def run() -> list[Result]:
    """One result for each shape of request; the series are known, as for a steady sender."""
    return [_compare(shape) for shape in SHAPES]


def _compare(shape: Shape) -> Result:
    sent = requests(shape, _REQUESTS)
    points = _REQUESTS * shape.metrics * shape.points
    series = SeriesCache()
    decode(sent[0], series)

    def ours() -> int:
        return sum(decode(data, series).batch.entries for data in sent)

    def baseline() -> int:
        return sum(len(plain_rows(data)) for data in sent)

    assert ours() == baseline() == points
    values = decode(sent[1], series).batch.points.value.tolist()
    assert values == [row[3] for row in plain_rows(sent[1])]
    seconds, baseline_seconds = side_by_side(ours, baseline, rounds=5)
    return Result(f"decode, {shape.name}", points, seconds, "protobuf loop", baseline_seconds, 5.0)


def plain_rows(data: bytes) -> list[tuple[int, str, dict[str, str], float, int]]:
    """What a program without any trick does: an object a point, a dict of attributes each."""
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
