"""Points that a backend stores twice count once in most aggregations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kit.backends.kinds import Kind
from kit.batch_builder import BatchBuilder

from exporter.backends.base import Backend
from exporter.backends.memory import MemoryBackend
from exporter.query import Reader


def store() -> BatchBuilder:
    return (
        BatchBuilder()
        .gauge("level", [(10, 1.0), (20, 3.0), (30, 2.0)])
        .counter("total", [(10, 5.0), (20, 8.0), (30, 20.0)], start=1)
        .counter("delta", [(10, 5.0), (20, 8.0), (30, 20.0)], temporality="delta")
        .histogram(
            "time",
            [
                {"time": 10, "start": 1, "counts": (1, 0, 0), "sum": 0.5},
                {"time": 20, "start": 1, "counts": (1, 4, 0), "sum": 9.0},
                {"time": 30, "start": 1, "counts": (1, 4, 6), "sum": 70.0},
            ],
            bounds=(1.0, 5.0),
            temporality="cumulative",
        )
        .histogram(
            "size",
            [{"time": time, "counts": (2, 1), "sum": 3.0} for time in (10, 20)],
            bounds=(1.0,),
            temporality="delta",
        )
        .exponential(
            "wait",
            [{"time": time, "scale": 0, "zero": 1, "positive": (0, (1, 2))} for time in (10, 20)],
            temporality="delta",
        )
        .summary(
            "old",
            [
                {"time": 10, "count": 3, "sum": 6.0, "quantiles": {0.5: 2.0}},
                {"time": 20, "count": 5, "sum": 9.0, "quantiles": {0.5: 2.5}},
            ],
        )
    )


@pytest.fixture(scope="module")
def once() -> Iterator[Reader]:
    backend = MemoryBackend(max_memory_entries=1_000)
    backend.start()
    store().write(backend)
    yield Reader(backend)
    backend.close()


@pytest.fixture
def twice(backend: Backend) -> Reader:
    store().write(backend)
    store().write(backend)
    return Reader(backend)


@pytest.mark.parametrize("bucket_seconds", [None, 10, 20])
@pytest.mark.parametrize(
    ("name", "aggregation"),
    [
        ("level", "last"),
        ("level", "avg"),
        ("level", "min"),
        ("level", "max"),
        ("total", "increase"),
        ("total", "rate"),
        ("total", "last"),
        ("delta", "rate"),
        ("delta", "increase"),
        *(("time", name) for name in ("p50", "p95", "count", "sum", "avg", "rate", "increase")),
        *(("size", name) for name in ("p50", "count", "sum", "avg", "rate")),
        *(("wait", name) for name in ("p50", "count")),
        *(("old", name) for name in ("p50", "count")),
    ],
)
def test_the_answer_is_the_same_for_points_received_twice(
    once: Reader, twice: Reader, name: str, aggregation: str, bucket_seconds: float | None
) -> None:
    question: dict[str, Any] = {"aggregation": aggregation, "bucket_seconds": bucket_seconds}
    expected = once.aggregate(name, **question)
    assert expected
    assert twice.aggregate(name, **question) == expected


def test_points_are_listed_as_they_are_stored(twice: Reader, kind: Kind) -> None:
    assert len(twice.query_historical_metrics(metric_name="level")) == (3 if kind.replaces else 6)
