"""Increase and rate of counters: resets, start times, gaps, look-back, deltas."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.backends.kinds import Kind, StoreFactory
from kit.batch_builder import BatchBuilder

from exporter.backends.base import Backend
from exporter.query import Reader

Point = tuple[float, float | None, float | None]  # time, value, start


def increase(backend: Backend, **arguments: Any) -> list[tuple[float, float]]:
    rows = Reader(backend).aggregate("total", aggregation="increase", **arguments)
    return [(row["timestamp"], row["value"]) for row in rows]


def rate(backend: Backend, **arguments: Any) -> list[tuple[float, float]]:
    rows = Reader(backend).aggregate("total", aggregation="rate", **arguments)
    return [(row["timestamp"], row["value"]) for row in rows]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param([(10, 5, None), (20, 8, None)], 3, id="unknown start: from the first point"),
        pytest.param([(10, 5, 4), (20, 8, 4)], 8, id="known start: from zero"),
        pytest.param([(10, 5, 10), (20, 8, 10)], 3, id="a start at the first point is unknown"),
        pytest.param([(10, 5, None), (20, 2, None), (30, 4, None)], 4, id="fell: from zero again"),
        pytest.param([(10, 5, 4), (20, 7, 15)], 12, id="restarted, and passed the old value"),
        pytest.param([(10, 5, 4), (20, 5, 10)], 10, id="restarted at the last point"),
        pytest.param([(10, 5, 4), (20, 7, 5)], 7, id="the start only wavers"),
        pytest.param([(10, 5, 4), (20, 7, 3)], 7, id="the start wavers to earlier"),
        pytest.param([(10, 5, 4), (20, 3, 20)], 8, id="fell, and says nothing of its start"),
        pytest.param([(10, 5, 10), (20, 8, 20), (30, 9, 30)], 4, id="each start is its own time"),
        pytest.param([(10, 5, None), (20, 6, 12)], 6, id="a start known only later"),
        pytest.param([(10, 5, 4), (20, None, 15), (30, 9, 4)], 9, id="no recorded value"),
        pytest.param([(10, 5, 4), (20, math.nan, 4), (30, 9, 4)], 9, id="NaN"),
        pytest.param([(10, 0, 4), (20, 0, 4)], 0, id="nothing happened"),
    ],
)
def test_increase_by_hand(backend: Backend, points: list[Point], expected: float) -> None:
    BatchBuilder().sum("total", points).write(backend)
    assert [value for _, value in increase(backend)] == [expected]


def test_a_single_point_without_a_start_time_gives_no_row(backend: Backend) -> None:
    BatchBuilder().counter("total", [(10, 5)]).write(backend)
    assert increase(backend) == []
    assert rate(backend) == []


def test_a_job_that_counts_once_and_ends_is_counted(backend: Backend) -> None:
    runs: list[Point] = [(100, 1000, 99.99), (200, 1000, 199.99), (300, 1200, 299.99)]
    BatchBuilder().sum("total", runs).write(backend)
    assert increase(backend, bucket_seconds=100) == [
        (300.0, 1200.0),
        (200.0, 1000.0),
        (100.0, 1000.0),
    ]


def test_an_increase_between_buckets_counts_in_the_later_one(backend: Backend) -> None:
    BatchBuilder().counter("total", [(50, 1), (70, 4), (110, 5), (130, 25)]).write(backend)
    assert increase(backend, bucket_seconds=60) == [(120.0, 20.0), (60.0, 4.0)]


def test_order_of_arrival_does_not_matter(backend: Backend) -> None:
    early, late = BatchBuilder(), BatchBuilder()
    early.counter("total", [(30, 9)])
    late.counter("total", [(10, 2), (20, 5)])
    early.write(backend)
    late.write(backend)
    assert increase(backend) == [(10.0, 7.0)]


def test_a_point_sent_again_with_another_value_replaces_the_first(
    backend: Backend, kind: Kind
) -> None:
    if not kind.replaces:
        pytest.skip("a second point of a series and time is stored beside the first")
    BatchBuilder().counter("total", [(10, 2), (20, 5)]).write(backend)
    BatchBuilder().counter("total", [(20, 6)]).write(backend)
    assert increase(backend) == [(10.0, 4.0)]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(999, 5.0, id="just before"),
        pytest.param(400, 5.0, id="ten minutes before"),
        pytest.param(399, 2.0, id="too long before"),
    ],
)
def test_the_previous_point_may_be_ten_minutes_before_the_range(
    backend: Backend, before: float, expected: float
) -> None:
    BatchBuilder().counter("total", [(before, 1), (1000, 4), (1010, 6)]).write(backend)
    assert increase(backend, start_time=1000) == [(1000.0, expected)]


@pytest.mark.parametrize(
    ("start", "expected"),
    [(1005, 7.0), (400, 7.0), (399, 2.0)],
    ids=["in the range", "in the ten minutes before", "long before"],
)
def test_a_counter_that_started_in_the_range_started_at_zero(
    backend: Backend, start: float, expected: float
) -> None:
    BatchBuilder().counter("total", [(1010, 5), (1020, 7)], start=start).write(backend)
    assert increase(backend, start_time=1000) == [(1000.0, expected)]


def test_increases_outside_the_range_do_not_count(backend: Backend) -> None:
    BatchBuilder().counter("total", [(time, time) for time in range(10, 100, 10)]).write(backend)
    assert increase(backend, start_time=40, end_time=60) == [(40.0, 20.0)]


def test_deltas_are_added(backend: Backend) -> None:
    points = [(10, 5, 0.5), (20, 2, 10), (30, None, 20), (60, 7, 50), (70, math.nan, 60)]
    BatchBuilder().sum("total", points, temporality="delta").write(backend)
    assert increase(backend, bucket_seconds=60) == [(60.0, 7.0), (0.0, 7.0)]


def test_each_series_is_computed_separately(backend: Backend) -> None:
    BatchBuilder().counter("total", [(10, 100), (30, 101)], service="a").counter(
        "total", [(20, 5), (40, 7)], service="a"
    ).sum("total", [(15, 3, 10), (25, 4, 15)], service="b", temporality="delta").write(backend)
    rows = Reader(backend).aggregate("total", aggregation="increase", group_by=["service_name"])
    assert [(row["service_name"], row["value"]) for row in rows] == [("a", 3.0), ("b", 7.0)]
    assert increase(backend) == [(10.0, 10.0)]


def test_a_rate_is_per_time_between_points_not_per_bucket(backend: Backend) -> None:
    # 2 per second, sent a little more than every 60 s: one bucket has two points, another none.
    times = [1, 61, 119, 181, 241]
    BatchBuilder().counter("total", [(time, 2 * time) for time in times]).write(backend)
    assert rate(backend, bucket_seconds=60) == [(240.0, 2.0), (180.0, 2.0), (60.0, 2.0)]


def test_the_rates_of_series_are_added(backend: Backend) -> None:
    BatchBuilder().counter("total", [(0.5, 0), (10.5, 10)]).counter(
        "total", [(5, 0), (9, 20)]
    ).write(backend)
    assert rate(backend) == [(0.5, 6.0)]


def test_a_first_point_has_no_rate_even_if_its_start_is_recent(backend: Backend) -> None:
    BatchBuilder().counter("total", [(10, 1000), (20, 1010)], start=9.999).write(backend)
    assert rate(backend) == [(10.0, 1.0)]


def test_a_rate_over_a_reset_includes_the_downtime(backend: Backend) -> None:
    BatchBuilder().sum("total", [(10, 5, 4), (110, 50, 90)]).write(backend)
    assert rate(backend) == [(10.0, 0.5)]


def test_a_rate_of_deltas_is_per_time_between_points(backend: Backend) -> None:
    # A delta sender is silent while nothing happens, so the gap counts.
    BatchBuilder().sum(
        "total", [(10, 5, 0.5), (20, 2, 10), (60, 6, 50)], temporality="delta"
    ).write(backend)
    assert rate(backend) == [(10.0, 8 / 50)]


def test_the_previous_point_of_a_rate_may_be_before_the_range(backend: Backend) -> None:
    BatchBuilder().counter("total", [(990, 0), (1010, 40)]).write(backend)
    assert rate(backend, start_time=1000) == [(1000.0, 2.0)]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("count", 9), ("increase", 9), ("sum", 25.0), ("avg", 25 / 9), ("rate", 6 / 20)],
)
@pytest.mark.parametrize("shape", ["histogram", "summary", "exponential"])
def test_counts_of_histograms_and_summaries_grow_like_counters(
    backend: Backend, shape: str, aggregation: str, expected: float
) -> None:
    counts = [(10, 2, 3.0), (20, 5, 12.0), (30, 4, 13.0)]  # a reset before the last
    points = [
        {"time": time, "count": count, "sum": total, "start": 5, "scale": 0}
        for time, count, total in counts
    ]
    options: dict[str, Any] = {} if shape == "summary" else {"temporality": "cumulative"}
    getattr(BatchBuilder(), shape)("time", points, **options).write(backend)
    [row] = Reader(backend).aggregate("time", aggregation=aggregation)
    # The first point has no rate: 3 + 4 in the 20 s from 10 to 30.
    assert row["value"] == pytest.approx(7 / 20 if aggregation == "rate" else expected)


def test_an_average_leaves_out_points_without_a_sum(backend: Backend) -> None:
    BatchBuilder().histogram(
        "time", [{"time": 1, "count": 4, "sum": 8.0}, {"time": 2, "count": 96}]
    ).histogram("empty", [{"time": 1, "count": 0, "sum": 0.0}]).histogram(
        "unsummed", [{"time": 1, "count": 3}, {"time": 2, "count": None}]
    ).write(backend)
    reader = Reader(backend)
    assert [row["value"] for row in reader.aggregate("time", aggregation="avg")] == [2.0]
    assert [row["value"] for row in reader.aggregate("time", aggregation="count")] == [100]
    assert [row["value"] for row in reader.aggregate("empty", aggregation="count")] == [0]
    assert reader.aggregate("empty", aggregation="avg") == []
    assert reader.aggregate("unsummed", aggregation="sum") == []


def test_min_and_max_of_histograms_are_the_recorded_ones(backend: Backend) -> None:
    BatchBuilder().histogram(
        "time",
        [
            {"time": 1, "counts": (1,), "min": 2.0, "max": 3.0},
            {"time": 2, "counts": (1,)},
            {"time": 3, "counts": (1,), "min": 1.0, "max": 2.5},
        ],
    ).write(backend)
    reader = Reader(backend)
    assert [row["value"] for row in reader.aggregate("time", aggregation="min")] == [1.0]
    assert [row["value"] for row in reader.aggregate("time", aggregation="max")] == [3.0]


LOOK_BACK = 600


def plain_changes(
    points: Sequence[Point], range_start: float, *, delta: bool
) -> list[tuple[float, float, float | None]]:
    """Time, delta and seconds since the previous point, straight from the rules."""
    changes: list[tuple[float, float, float | None]] = []
    before: tuple[float, float, float | None] | None = None
    for time, value, start in sorted(points):
        if value is None or math.isnan(value) or time < range_start - LOOK_BACK:
            continue
        own_start = start if start is not None and start < time else None
        change: float | None = value
        if delta:
            pass
        elif before is None:
            if own_start is None or own_start < range_start - LOOK_BACK:
                change = None
        else:
            earlier_time, earlier_value, earlier_start = before
            restarted = own_start is not None and own_start >= max(
                earlier_time, (earlier_start or 0) + 0.5
            )
            if not restarted and value >= earlier_value:
                change = value - earlier_value
        if change is not None and time >= range_start:
            changes.append((time, change, None if before is None else time - before[0]))
        before = (time, value, start)
    return changes


@st.composite
def counters(draw: st.DrawFn) -> list[Point]:
    """The points of a counter that grows, restarts, and has gaps."""
    points: list[Point] = []
    value, start = 0.0, draw(st.none() | st.integers(1, 50))
    for time in sorted(draw(st.sets(st.integers(51, 2000), min_size=1, max_size=15))):
        step = draw(st.sampled_from(["grow", "grow", "grow", "restart", "fall", "own", "none"]))
        if step == "restart":
            value, start = 0.0, draw(st.integers(1, time))
        elif step == "fall":
            value = 0.0
        elif step == "own":
            start = time
        value += draw(st.integers(0, 100))
        shown = draw(st.sampled_from([None, math.nan])) if step == "none" else value
        points.append((time, shown, start))
    return points


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    series=st.lists(
        st.tuples(st.sampled_from("ab"), st.booleans(), counters()), min_size=1, max_size=4
    ),
    width=st.sampled_from([60, 700, 10_000]),
    ends=st.tuples(st.integers(0, 2000), st.integers(0, 2001)).map(sorted),
)
def test_growth_equals_that_of_plain_python(
    new_store: StoreFactory,
    series: list[tuple[str, bool, list[Point]]],
    width: int,
    ends: list[int],
) -> None:
    start, end = ends
    store = BatchBuilder()
    grown: dict[tuple[float, str], float] = defaultdict(float)
    rates: dict[tuple[float, str], float] = defaultdict(float)
    for service, delta, points in series:
        temporality: Any = "delta" if delta else "cumulative"
        store.sum("total", points, service=service, temporality=temporality)
        by_bucket: dict[tuple[float, str], list[tuple[float, float]]] = defaultdict(list)
        for time, change, seconds in plain_changes(points, start, delta=delta):
            if time < end:
                grown[time // width * width, service] += change
                if seconds is not None:
                    by_bucket[time // width * width, service].append((change, seconds))
        for cell, parts in by_bucket.items():
            rates[cell] += sum(part[0] for part in parts) / sum(part[1] for part in parts)
    with new_store() as backend:
        store.write(backend)
        for aggregation, expected in (("increase", grown), ("rate", rates)):
            rows = Reader(backend).aggregate(
                "total",
                aggregation=aggregation,
                bucket_seconds=width,
                group_by=["service_name"],
                start_time=start,
                end_time=end,
            )
            found = {(row["timestamp"], row["service_name"]): row["value"] for row in rows}
            assert found == pytest.approx(dict(expected))
