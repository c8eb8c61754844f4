"""Quantiles of histograms and summaries, merged over series and time."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.backends.kinds import StoreFactory
from kit.batch_builder import BatchBuilder

from exporter.backends.base import Backend
from exporter.errors import QueryError
from exporter.query import Reader
from exporter.query.quantiles import explicit_quantile

BOUNDS = (1.0, 2.0, 5.0)


def answers(backend: Backend, aggregation: str, **arguments: Any) -> list[tuple[float, float]]:
    rows = Reader(backend).aggregate("time", aggregation=aggregation, **arguments)
    return [(row["timestamp"], row["value"]) for row in rows]


def test_delta_histograms_are_added(backend: Backend) -> None:
    BatchBuilder().histogram(
        "time",
        [{"time": 10, "counts": (4, 0, 0, 0)}, {"time": 20, "counts": (0, 4, 0, 0)}],
        bounds=BOUNDS,
    ).histogram("time", [{"time": 70, "counts": (0, 0, 2, 0)}], bounds=BOUNDS).write(backend)
    assert answers(backend, "p75", bucket_seconds=60) == [(60.0, 4.25), (0.0, 1.5)]
    assert answers(backend, "p40") == [(10.0, 1.0)]


def test_cumulative_histograms_count_the_difference(backend: Backend) -> None:
    points = [
        {"time": 50, "counts": (100, 0, 0, 0), "start": 1},
        {"time": 70, "counts": (100, 4, 0, 0), "start": 1},
        {"time": 80, "counts": (100, 4, 4, 0), "start": 1},
        {"time": 130, "counts": (104, 4, 4, 0), "start": 1},
        {"time": 190, "counts": (0, 0, 2, 0), "start": 1},  # lower: a reset
    ]
    BatchBuilder().histogram("time", points, bounds=BOUNDS, temporality="cumulative").write(backend)
    assert answers(backend, "p75", bucket_seconds=60) == [
        (180.0, 4.25),
        (120.0, 0.75),
        (60.0, 3.5),
        (0.0, 0.75),
    ]


def test_the_previous_point_may_be_before_the_range(backend: Backend) -> None:
    points = [{"time": 990, "counts": (9, 0, 0, 0)}, {"time": 1010, "counts": (9, 4, 0, 0)}]
    BatchBuilder().histogram("time", points, bounds=BOUNDS, temporality="cumulative").write(backend)
    assert answers(backend, "p50", start_time=1000) == [(1000.0, 1.5)]


def test_limits_clip_the_buckets_if_every_point_has_them(backend: Backend) -> None:
    with_limits = {"time": 10, "counts": (0, 0, 0, 4), "min": 6.0, "max": 10.0}
    BatchBuilder().histogram("time", [with_limits], bounds=BOUNDS, service="known").histogram(
        "time",
        [with_limits, {"time": 20, "counts": (0, 0, 0, 4)}],
        bounds=BOUNDS,
        service="half known",
    ).histogram(
        "time",
        [with_limits, {"time": 20, "counts": (0, 0, 0, 0)}],
        bounds=BOUNDS,
        service="nothing to know",
    ).write(backend)
    rows = Reader(backend).aggregate("time", aggregation="p50", group_by=["service_name"])
    assert {row["service_name"]: row["value"] for row in rows} == {
        "known": 8.0,
        "half known": 5.0,
        "nothing to know": 8.0,
    }


def test_the_previous_point_needs_no_limits(backend: Backend) -> None:
    points = [
        {"time": 50, "counts": (0, 0, 0, 9)},
        {"time": 70, "counts": (0, 0, 0, 11), "min": 6.0, "max": 10.0},
    ]
    BatchBuilder().histogram("time", points, bounds=BOUNDS, temporality="cumulative").write(backend)
    assert answers(backend, "p50", bucket_seconds=60) == [(60.0, 8.0)]


def test_without_measurements_there_is_no_quantile(backend: Backend) -> None:
    BatchBuilder().histogram(
        "time", [{"time": 1, "counts": (0, 0, 0, 0)}, {"time": 2, "count": None}], bounds=BOUNDS
    ).histogram("time", [{"time": 1, "count": 3}]).exponential(
        "time", [{"time": 1, "scale": 0}]
    ).write(backend)
    assert answers(backend, "p50") == []


def test_histograms_with_different_bounds_are_refused(backend: Backend) -> None:
    BatchBuilder().histogram(
        "time", [{"time": 1, "counts": (1, 0)}], bounds=(1.0,), service="a"
    ).histogram("time", [{"time": 2, "counts": (2, 0)}], bounds=(4.0,), service="b").write(backend)
    with pytest.raises(QueryError) as caught:
        answers(backend, "p50")
    for word in ("'time'", "[1.0]", "[4.0]", "group_by"):
        assert word in str(caught.value)
    rows = Reader(backend).aggregate("time", aggregation="p50", group_by=["service_name"])
    assert [row["value"] for row in rows] == [0.5, 2.0]


def test_exponential_histograms_are_merged_at_the_coarser_scale(backend: Backend) -> None:
    # Scale 1, index 2 and 3: (2, 2.83] and (2.83, 4]; at scale 0 both are (2, 4].
    BatchBuilder().exponential(
        "time", [{"time": 1, "scale": 1, "positive": (2, (1, 1))}]
    ).exponential("time", [{"time": 2, "scale": 0, "positive": (0, (2, 0))}]).write(backend)
    [(_, median)] = answers(backend, "p50")
    [(_, upper)] = answers(backend, "p75")
    assert median == pytest.approx(2.0)
    assert upper == pytest.approx(math.sqrt(8))


def test_a_cumulative_histogram_may_become_coarser(backend: Backend) -> None:
    points = [
        {"time": 10, "scale": 2, "positive": (4, (8, 0, 0, 0)), "zero": 2},  # 8 in (2, 2.38]
        {"time": 70, "scale": 0, "positive": (1, (8, 6)), "zero": 4, "negative": (0, (2,))},
    ]
    BatchBuilder().exponential("time", points, temporality="cumulative").write(backend)
    # Added in the second minute: 2 in [-2, -1), 2 zeros, 6 in (4, 8].
    assert answers(backend, "p20", bucket_seconds=60) == [(60.0, -1.0)]
    assert answers(backend, "p40", bucket_seconds=60) == [(60.0, 0.0)]
    [(_, value)] = answers(backend, "p70", bucket_seconds=60)
    assert value == pytest.approx(math.sqrt(32))


def test_limits_clip_exponential_buckets_too(backend: Backend) -> None:
    point = {"time": 1, "scale": 0, "positive": (3, (5,)), "min": 9.5, "max": 9.5}
    BatchBuilder().exponential("time", [point]).write(backend)
    assert answers(backend, "p37") == [(1.0, 9.5)]


def test_each_kind_of_histogram_gives_a_row(backend: Backend) -> None:
    BatchBuilder().exponential("time", [{"time": 1, "scale": 0, "positive": (1, (4,))}]).histogram(
        "time", [{"time": 1, "counts": (4, 0, 0, 0)}], bounds=BOUNDS
    ).write(backend)
    rows = Reader(backend).aggregate("time", aggregation="p100")
    assert [(row["metric_type"], row["value"]) for row in rows] == [
        ("exponential_histogram", 4.0),
        ("histogram", 1.0),
    ]


def test_a_limit_selects_the_newest_quantiles(backend: Backend) -> None:
    points = [{"time": time, "counts": (time, 0)} for time in (10, 70, 130)]
    BatchBuilder().histogram("time", points, bounds=(4.0,)).write(backend)
    assert answers(backend, "p50", bucket_seconds=60, limit=2) == [(120.0, 2.0), (60.0, 2.0)]


def test_a_summary_has_the_quantiles_that_its_sender_computed(backend: Backend) -> None:
    BatchBuilder().summary(
        "time",
        [
            {"time": 10, "quantiles": {0.5: 1.0, 0.99: 9.0}},
            {"time": 20, "quantiles": {0.5: 2.0, 0.99: math.nan}},
            {"time": 30, "count": None, "quantiles": {}},
            {"time": 70, "quantiles": {0.5: 3.0, 0.999: 5.0}},
        ],
    ).write(backend)
    assert answers(backend, "p50", bucket_seconds=60) == [(60.0, 3.0), (0.0, 2.0)]
    assert answers(backend, "p99.9", bucket_seconds=60) == [(60.0, 5.0)]
    [(_, value)] = answers(backend, "p99", bucket_seconds=60)
    assert math.isnan(value)
    with pytest.raises(QueryError, match=r"p95 of time: .* here: p50, p99, p99\.9$"):
        answers(backend, "p95", bucket_seconds=60)
    assert answers(backend, "p95", start_time=100) == []


def test_a_summary_has_no_minimum(backend: Backend) -> None:
    BatchBuilder().summary("time", [{"time": 10, "quantiles": {0.0: 1.0}}]).write(backend)
    with pytest.raises(QueryError, match=r"min of 'time': .*summary; use .*pNN"):
        answers(backend, "min")


@dataclass
class Merged:
    """The values of one bucket of time, counted one by one."""

    counts: list[int] = field(default_factory=lambda: [0] * 4)
    low: float = math.inf
    high: float = -math.inf


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[int, list[float], bool]]:
    """Each export of a process: time, new measurements, and whether the process restarted."""
    times = sorted(draw(st.sets(st.integers(2, 300), min_size=1, max_size=8)))
    values = st.lists(st.sampled_from([0.5, 1.0, 1.7, 3.0, 5.0, 7.5]), max_size=6)
    return [(time, draw(values), draw(st.booleans())) for time in times]


def delta_points(life: Sequence[tuple[int, list[float], bool]]) -> list[dict[str, Any]]:
    return [point(time, values) for time, values, _ in life]


def cumulative_points(life: Sequence[tuple[int, list[float], bool]]) -> list[dict[str, Any]]:
    points = []
    total: list[float] = []
    start = before = 0.5
    for time, values, restarted in life:
        if restarted:
            total, start = [], before
        total = total + values
        points.append(point(time, total) | {"start": start})
        before = time
    return points


def point(time: int, values: list[float]) -> dict[str, Any]:
    counts = [0] * 4
    for value in values:
        counts[bisect_left(BOUNDS, value)] += 1
    limits = {"min": min(values), "max": max(values)} if values else {}
    return {"time": time, "counts": counts, **limits}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    processes=st.lists(st.tuples(st.booleans(), lives()), min_size=1, max_size=3),
    quantile=st.integers(0, 100),
    width=st.sampled_from([50, 1000]),
)
def test_quantiles_equal_those_of_counting_in_python(
    new_store: StoreFactory,
    processes: list[tuple[bool, list[tuple[int, list[float], bool]]]],
    quantile: int,
    width: int,
) -> None:
    store = BatchBuilder()
    cells: dict[float, Merged] = defaultdict(Merged)
    for delta, life in processes:
        points = delta_points(life) if delta else cumulative_points(life)
        temporality: Any = "delta" if delta else "cumulative"
        store.histogram("time", points, bounds=BOUNDS, temporality=temporality)
        for (time, values, _), sent in zip(life, points, strict=True):
            cell = cells[time // width * width]
            for value in values:
                cell.counts[bisect_left(BOUNDS, value)] += 1
            cell.low = min(cell.low, sent.get("min", math.inf))
            cell.high = max(cell.high, sent.get("max", -math.inf))
    expected = {
        time: explicit_quantile(quantile / 100, BOUNDS, cell.counts, cell.low, cell.high)
        for time, cell in cells.items()
        if sum(cell.counts)
    }
    with new_store() as backend:
        store.write(backend)
        assert dict(answers(backend, f"p{quantile}", bucket_seconds=width)) == expected
