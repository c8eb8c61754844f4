"""Statements use the keys. The plans are SQLite's own text, which differs by version."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from kit.batch_builder import BatchBuilder
from kit.rollups import RecordingBackend

from exporter.backends import open_backend

RANGE: dict[str, Any] = {"start_time": 5.0, "end_time": 50.0}
KEY_RANGE = re.compile(r"^SEARCH m USING PRIMARY KEY \(timestamp>\? AND timestamp<\?\)$")
SERIES_OF_POINT = re.compile(r"^SEARCH c USING AUTOMATIC .*INDEX \(series_id=\?\)$")
DEFINITION_OF_POINT = re.compile(r"^SEARCH s USING INTEGER PRIMARY KEY \(rowid=\?\)$")
POINT_OF_DELTA = re.compile(r"^SEARCH m USING PRIMARY KEY \(timestamp=\? AND series_id=\?\)$")


@pytest.fixture
def explained() -> Iterator[RecordingBackend]:
    backend = open_backend("memory", None, max_memory_entries=10_000)
    backend.start()
    points = [(time, float(time)) for time in range(1, 60)]
    store = BatchBuilder()
    for number in range(20):
        store.gauge(f"level{number}", points).counter(f"total{number}", points)
        histogram = {"time": 9, "counts": (1, 2), "max": 4.0}
        store.histogram(f"time{number}", [histogram], bounds=(1.0,))
    store.write(backend)
    yield RecordingBackend(backend)
    backend.close()


def plan_steps(explained: RecordingBackend) -> list[str]:
    """The steps of the plans of all statements."""
    return [
        row[3]
        for statement, parameters in tuple(explained.statements)
        for row in explained.fetch(f"EXPLAIN QUERY PLAN {statement}", parameters)
    ]


def matching(steps: list[str], pattern: re.Pattern[str]) -> int:
    return sum(pattern.match(step) is not None for step in steps)


@pytest.mark.parametrize("name", [None, "level3", "time*"])
def test_the_newest_points_are_read_along_the_primary_key(
    explained: RecordingBackend, name: str | None
) -> None:
    explained.reader().query_historical_metrics(**RANGE, metric_name=name)
    steps = plan_steps(explained)
    assert matching(steps, KEY_RANGE) == (2 if name is None else 1)
    assert matching(steps, DEFINITION_OF_POINT) == 1
    assert [step for step in steps if re.match("SCAN m( |$)", step)] == []


@pytest.mark.parametrize(
    ("name", "aggregation"),
    [
        ("level*", "avg"),
        ("level*", "last"),
        ("total*", "rate"),
        ("total*", "increase"),
        ("time*", "p95"),
        ("time*", "count"),
        ("time*", "max"),
    ],
)
def test_an_aggregate_reads_one_range_and_looks_up_the_series_of_each_point(
    explained: RecordingBackend, name: str, aggregation: str
) -> None:
    assert explained.reader().aggregate(name, aggregation=aggregation, **RANGE, bucket_seconds=10)
    steps = plan_steps(explained)
    assert matching(steps, KEY_RANGE) == 1
    assert matching(steps, SERIES_OF_POINT) == 1
    assert [step for step in steps if re.match("SCAN (m|c)( |$)", step)] == []


def test_arrays_are_read_by_key_only_at_the_ends_of_a_run(explained: RecordingBackend) -> None:
    explained.reader().aggregate("time*", aggregation="p95", **RANGE)
    assert matching(plan_steps(explained), POINT_OF_DELTA) == 1


def test_a_metric_name_is_looked_up_in_its_index(explained: RecordingBackend) -> None:
    explained.reader().list_series("level3")
    assert plan_steps(explained)[0] == "SEARCH s USING INDEX metric_series_name (metric_name=?)"
