"""Statements use the keys. The plans are SQLite's own text, which differs by version."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from kit.batch_builder import BatchBuilder

from exporter.backends import open_backend
from exporter.backends.base import Backend
from exporter.backends.dialect import Dialect
from exporter.query import Reader

RANGE: dict[str, Any] = {"start_time": 5.0, "end_time": 50.0}
KEY_RANGE = re.compile(r"^SEARCH m USING PRIMARY KEY \(timestamp>\? AND timestamp<\?\)$")
SERIES_OF_POINT = re.compile(r"^SEARCH c USING AUTOMATIC .*INDEX \(series_id=\?\)$")
DEFINITION_OF_POINT = re.compile(r"^SEARCH s USING INTEGER PRIMARY KEY \(rowid=\?\)$")
POINT_OF_DELTA = re.compile(r"^SEARCH m USING PRIMARY KEY \(timestamp=\? AND series_id=\?\)$")


class ExplainingBackend:
    """A backend that also records the plan of each statement."""

    hypertable_catalog = None

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.steps: list[str] = []

    @property
    def dialect(self) -> Dialect:
        return self._backend.dialect

    @property
    def location(self) -> str:
        return self._backend.location

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        plan = self._backend.fetch(f"EXPLAIN QUERY PLAN {statement}", parameters)
        self.steps += [row[3] for row in plan]
        return self._backend.fetch(statement, parameters)


@pytest.fixture
def explained() -> Iterator[ExplainingBackend]:
    backend = open_backend("memory", None, max_memory_entries=10_000)
    backend.start()
    points = [(time, float(time)) for time in range(1, 60)]
    store = BatchBuilder()
    for number in range(20):
        store.gauge(f"level{number}", points).counter(f"total{number}", points)
        histogram = {"time": 9, "counts": (1, 2), "max": 4.0}
        store.histogram(f"time{number}", [histogram], bounds=(1.0,))
    store.write(backend)
    yield ExplainingBackend(backend)
    backend.close()


def matching(explained: ExplainingBackend, pattern: re.Pattern[str]) -> int:
    return sum(pattern.match(step) is not None for step in explained.steps)


def reader(explained: ExplainingBackend) -> Reader:
    return Reader(cast(Backend, explained))


@pytest.mark.parametrize("name", [None, "level3", "time*"])
def test_the_newest_points_are_read_along_the_primary_key(
    explained: ExplainingBackend, name: str | None
) -> None:
    reader(explained).query_historical_metrics(**RANGE, metric_name=name)
    assert matching(explained, KEY_RANGE) == (2 if name is None else 1)
    assert matching(explained, DEFINITION_OF_POINT) == 1
    assert [step for step in explained.steps if re.match("SCAN m( |$)", step)] == []


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
    explained: ExplainingBackend, name: str, aggregation: str
) -> None:
    assert reader(explained).aggregate(name, aggregation=aggregation, **RANGE, bucket_seconds=10)
    assert matching(explained, KEY_RANGE) == 1
    assert matching(explained, SERIES_OF_POINT) == 1
    assert [step for step in explained.steps if re.match("SCAN (m|c)( |$)", step)] == []


def test_arrays_are_read_by_key_only_at_the_ends_of_a_run(explained: ExplainingBackend) -> None:
    reader(explained).aggregate("time*", aggregation="p95", **RANGE)
    assert matching(explained, POINT_OF_DELTA) == 1


def test_a_metric_name_is_looked_up_in_its_index(explained: ExplainingBackend) -> None:
    reader(explained).list_series("level3")
    assert explained.steps[0] == "SEARCH s USING INDEX metric_series_name (metric_name=?)"
