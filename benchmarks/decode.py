"""Decoding against the plain loop over protobuf objects."""

from __future__ import annotations

from benchmarks.measure import Result, side_by_side
from benchmarks.plain import plain_rows, richer_plain_rows
from benchmarks.workload import (
    POINTS_OF_RICHER,
    RICHER_SHAPES,
    SHAPES,
    RicherShape,
    Shape,
    requests,
    richer_requests,
)
from exporter.intern import SeriesCache
from exporter.model import Batch
from exporter.wire import decode

__all__ = ["run"]

_REQUESTS = 25


def run() -> list[Result]:
    """One result for each shape of request; the series are known, as for a steady sender."""
    richer = [result for shape in RICHER_SHAPES for result in _compare_richer(shape)]
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


def _compare_richer(shape: RicherShape) -> list[Result]:
    """As columns, which is what decoding gives, and as rows, which is what a store makes of it."""
    sent = richer_requests(shape, _REQUESTS)
    points = _REQUESTS * POINTS_OF_RICHER
    series = SeriesCache()
    decode(sent[0], series)

    def ours() -> int:
        return sum(decode(data, series).batch.entries for data in sent)

    def ours_as_rows() -> int:
        return sum(_rows(decode(data, series).batch) for data in sent)

    def baseline() -> int:
        return sum(len(richer_plain_rows(data, shape.kind)) for data in sent)

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
    # Reading the first makes all of them.
    assert not batch.histograms or batch.histograms[0]
    assert not batch.exemplars or batch.exemplars[0]
    return batch.entries


def _facts(batch: Batch) -> tuple[object, ...]:
    """What there is in a request besides times and names, in its order."""
    explicit = [one.bucket_counts for one in batch.histograms if one.exponential is None]
    exponential = [one.exponential.positive_counts for one in batch.histograms if one.exponential]
    traces = [one.trace_id for one in batch.exemplars]
    return batch.points.value.tolist(), explicit, exponential, traces


def _plain_facts(data: bytes, shape: RicherShape) -> tuple[object, ...]:
    rows = richer_plain_rows(data, shape.kind)
    # Four come before what a kind has, and each kind's rows end in exemplars.
    value = [row[4] for row in rows if shape.kind == "sum"]
    explicit = [row[9] for row in rows if shape.kind == "histogram"]
    exponential = [row[12] for row in rows if shape.kind == "exponential_histogram"]
    return value, explicit, exponential, [one[2] for row in rows for one in row[-1]]
