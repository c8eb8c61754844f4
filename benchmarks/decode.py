"""Decoding, against a loop over protobuf objects."""

from __future__ import annotations

from benchmarks.measure import Result, side_by_side
from benchmarks.plain_decoder import complex_plain_rows, plain_rows
from benchmarks.workload import (
    COMPLEX_SHAPES,
    POINTS_OF_COMPLEX_REQUEST,
    SHAPES,
    ComplexShape,
    Shape,
    complex_requests,
    requests,
)
from exporter.model import Batch
from exporter.series_cache import SeriesCache
from exporter.wire import decode

_REQUESTS = 25


def run() -> list[Result]:
    """Return one result for each shape of request; the series are known, as for a steady sender."""
    richer = [result for shape in COMPLEX_SHAPES for result in _compare_complex(shape)]
    return [*(_compare(shape) for shape in SHAPES), *richer]


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


def _compare_complex(shape: ComplexShape) -> list[Result]:
    """Compare decoding to columns, and decoding to the rows that a backend writes."""
    sent = complex_requests(shape, _REQUESTS)
    points = _REQUESTS * POINTS_OF_COMPLEX_REQUEST
    series = SeriesCache()
    decode(sent[0], series)

    def ours() -> int:
        return sum(decode(data, series).batch.entries for data in sent)

    def ours_as_rows() -> int:
        return sum(_rows(decode(data, series).batch) for data in sent)

    def baseline() -> int:
        return sum(len(complex_plain_rows(data, shape.kind)) for data in sent)

    assert ours() == baseline() == points
    assert _facts(decode(sent[1], series).batch) == _plain_facts(sent[1], shape)
    seconds, baseline_seconds = side_by_side(ours, baseline, rounds=5)
    rows_seconds, _ = side_by_side(ours_as_rows, lambda: None, rounds=5)
    name = f"decode, {shape.name}"
    return [
        Result(name, points, seconds, "protobuf loop", baseline_seconds, 5.0),
        Result(f"{name}, rows", points, rows_seconds, "protobuf loop", baseline_seconds, 1.0),
    ]


def _rows(batch: Batch) -> int:
    # Reading the first item of a lazy sequence builds all items.
    assert not batch.histograms or batch.histograms[0]
    assert not batch.exemplars or batch.exemplars[0]
    return batch.entries


def _facts(batch: Batch) -> tuple[object, ...]:
    """The values of a request without times and names, in order."""
    explicit = [one.bucket_counts for one in batch.histograms if one.exponential is None]
    exponential = [one.exponential.positive_counts for one in batch.histograms if one.exponential]
    traces = [one.trace_id for one in batch.exemplars]
    return batch.points.value.tolist(), explicit, exponential, traces


def _plain_facts(data: bytes, shape: ComplexShape) -> tuple[object, ...]:
    rows = complex_plain_rows(data, shape.kind)
    # The first four fields are common to all kinds; the last field holds the exemplars.
    value = [row[4] for row in rows if shape.kind == "sum"]
    explicit = [row[9] for row in rows if shape.kind == "histogram"]
    exponential = [row[12] for row in rows if shape.kind == "exponential_histogram"]
    return value, explicit, exponential, [one[2] for row in rows for one in row[-1]]
