"""Pages of a time range, from every backend: each row once, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from kit.batch_builder import BatchBuilder

from exporter.backends.base import Backend
from exporter.model import Batch, CostBasis, CostEntry, CostSample
from exporter.query.filters import SeriesFilters
from exporter.query.pages import cost_pages, point_pages
from exporter.query.times import TimeRange

START = 1_793_491_200  # 2026-11-01
ALWAYS = TimeRange(None, None)


def entry(number: int, *, seconds: int) -> CostEntry:
    return CostEntry(
        entry_id=f"e-{number}",
        time_unix_nano=(START + seconds) * 1_000_000_000 + 1_000,
        resource_id="vm-1",
        category="compute",
        amount=Decimal("-123456789012345.000000001") * number,
        currency="USD",
        region="eu" if number % 2 else None,
        service_name="shop",
        tags='{"team":"a"}',
        billing_period="2026-11",
        source="focus",
        period_end_unix_nano=(START + seconds) * 1_000_000_000 + 1_000,
    )


@pytest.mark.parametrize("page_rows", [1, 2, 3, 100])
def test_each_cost_is_read_once_and_exactly(backend: Backend, page_rows: int) -> None:
    # Several entries have one time, as those of a bill do, and pages end between them.
    costs = [entry(number, seconds=number // 4) for number in range(1, 10)]
    basis = CostBasis("cumulative", Decimal(1), 60.0, "vm", "compute", "USD")
    # The first costs nothing and is left out; the newest of a stream is not.
    first, newest = (CostSample(1, costs[at].time_unix_nano, 0, 5.0, basis) for at in (0, 4))
    backend.write(Batch(costs=tuple(reversed(costs)), cost_samples=(first, newest)))
    pages = list(cost_pages(backend, ALWAYS, page_rows))
    assert all(1 <= len(page) <= page_rows for page in pages)
    found = [replace(one, tags=one.tags.replace(" ", "")) for page in pages for one in page]
    assert [one for one in found if one.derived_from is None] == costs
    assert [one.time_unix_nano for one in found if one.derived_from] == [newest.time_unix_nano]


def test_costs_of_a_time_range(backend: Backend) -> None:
    backend.write(Batch(costs=tuple(entry(number, seconds=number) for number in range(6))))
    stretch = TimeRange((START + 1) * 1_000_000, (START + 4) * 1_000_000)
    pages = cost_pages(backend, stretch, 2)
    assert [one.entry_id for page in pages for one in page] == ["e-1", "e-2", "e-3"]


def points(pages: Iterator[list[dict[str, Any]]]) -> list[tuple[str, float, Any]]:
    return [
        (point["metric_name"], point["timestamp"] - START, point["value"] or point.get("sum"))
        for page in pages
        for point in page
    ]


def filled(backend: Backend) -> None:
    times = [START + second for second in range(5)]
    store = BatchBuilder()
    for name in ("level", "load"):
        store.gauge(name, [(time, time - START + 0.5) for time in times], cluster=name)
    sizes = [{"time": time, "counts": (1,), "sum": 2.0} for time in times]
    store.histogram("size", sizes)
    store.write(backend)


@pytest.mark.parametrize("page_rows", [1, 2, 3, 100])
def test_each_point_is_read_once_newest_first_by_table(backend: Backend, page_rows: int) -> None:
    filled(backend)
    found = points(point_pages(backend, SeriesFilters(), ALWAYS, page_rows))
    assert len(found) == 15
    sizes = [point for point in found if point[0] == "size"]
    assert sizes == [("size", second, 2.0) for second in (4, 3, 2, 1, 0)]
    numbers = [point for point in found if point[0] != "size"]
    assert [second for _, second, _ in numbers] == [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    assert {(name, value) for name, _, value in numbers} == {
        (name, second + 0.5) for name in ("level", "load") for second in range(5)
    }


def test_points_of_some_series_and_a_time_range(backend: Backend) -> None:
    filled(backend)
    stretch = TimeRange((START + 1) * 1_000_000, (START + 4) * 1_000_000)
    by_name = points(point_pages(backend, SeriesFilters("l*", cluster_id="load"), stretch, 2))
    assert by_name == [("load", second, second + 0.5) for second in (3, 2, 1)]
    assert points(point_pages(backend, SeriesFilters("missing"), stretch)) == []


@pytest.mark.parametrize("page_rows", [1, 2, 3])
def test_a_point_that_is_stored_twice_is_read_once(backend: Backend, page_rows: int) -> None:
    filled(backend)
    filled(backend)
    assert len(points(point_pages(backend, SeriesFilters("level"), ALWAYS, page_rows))) == 5
