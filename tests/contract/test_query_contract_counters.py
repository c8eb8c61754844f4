"""Increase and rate of counters: resets, start times, gaps, look-back, deltas."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
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


ULP_BELOW = math.nextafter(0.6, 0)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param([(10, 5, None), (20, 8, None)], 3, id="unknown start: from the first point"),
        pytest.param([(10, 5, 4), (20, 8, 4)], 8, id="known start: from zero"),
        pytest.param([(10, 5, None), (20, 2, None), (30, 4, None)], 4, id="fell: from zero again"),
        pytest.param([(10, 5, 4), (20, 7, 15)], 12, id="restarted, and passed the old value"),
        pytest.param([(10, 5, 4), (20, 5, 10)], 10, id="restarted at the last point"),
        pytest.param([(10, 5, 4), (20, 2, 4), (30, 3, 4)], 8, id="restarted without a new start"),
        pytest.param([(10, 5, 4), (20, 4, 4), (30, 7, 4)], 7, id="a correction, and more after"),
        pytest.param([(10, 0.6, 4), (20, ULP_BELOW, 4)], ULP_BELOW, id="one digit lower"),
        pytest.param(
            [(10, 5, None), (20, 5.6, None), (30, 5.6 - 1e-9, None), (40, 5.75, None)],
            0.75,
            id="unknown start: one digit lower",
        ),
        pytest.param(
            [(10, 5.0, 1), (11, 1.2, 3), (70, 5.1, 1), (71, 1.3, 3)], 6.4, id="two processes"
        ),
        pytest.param([(10, 5, 1), (10, 4, 3), (20, 6, 1), (20, 6, 3)], 12, id="at the same times"),
        pytest.param([(10, 5, 4), (20, 7, 5)], 12, id="starts a second apart are two"),
        pytest.param(
            [(10, 5, 4), (20, 7, 4.003), (30, 9, 3.998), (40, 9, 4.001)], 9, id="the start jitters"
        ),
        pytest.param(
            [(10, 5, 4), (11, 2, 4.003), (20, 7, 4), (21, 3, 4.003)], 10, id="forked workers"
        ),
        pytest.param(
            [(10, 0.6, 4), (20, ULP_BELOW, 4.003)], ULP_BELOW, id="jitters, one digit lower"
        ),
        pytest.param(
            [(10, 5, 0.5), (20, 6, 0.5), (11, 4, 0.8), (21, 9, 1.6), (31, 12, 1.6)],
            22,
            id="a chain that falls is one stream for each start",
        ),
        pytest.param(
            [(10, 10, 10), (20, 20, 20), (30, 30, 30)], 20, id="each start is its own time"
        ),
        pytest.param([(10, 5.25, 10)], 5.25, id="one point that starts at its time"),
        pytest.param([(10, 5, 10), (20, 8, 10)], 8, id="the first point starts at its time"),
        pytest.param(
            [(10, 5, 10), (20, 8, 10), (30, 2, 30), (40, 3, 30), (50, 1, 50)],
            12,
            id="three programs whose first point starts at its time",
        ),
        pytest.param([(10, 5, 4), (20, 3, 20)], 8, id="a program that counts once, after another"),
        pytest.param([(10, 5, 12), (20, 8, 23)], 3, id="starts after their times are unknown"),
        pytest.param([(10, 5, None), (20, 6, 12)], 6, id="a start known only later"),
        pytest.param([(10, 5, 4), (20, None, 15), (30, 9, 4)], 9, id="no recorded value"),
        pytest.param([(10, 5, 4), (20, math.nan, 4), (30, 9, 4)], 9, id="NaN"),
        pytest.param([(10, 0, 4), (20, 0, 4)], 0, id="nothing happened"),
    ],
)
def test_increase_by_hand(backend: Backend, points: list[Point], expected: float) -> None:
    BatchBuilder().sum("total", points).write(backend)
    assert [value for _, value in increase(backend)] == [pytest.approx(expected, rel=1e-12)]


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


@pytest.mark.parametrize("shape", ["histogram", "summary"])
def test_histograms_and_summaries_restart_if_their_count_falls(
    backend: Backend, shape: str
) -> None:
    counts = [(10, 6, 3.0), (20, 5, 12.0), (30, 8, 14.0)]
    points = [
        {"time": time, "count": count, "sum": total, "start": 5} for time, count, total in counts
    ]
    options: dict[str, Any] = {} if shape == "summary" else {"temporality": "cumulative"}
    getattr(BatchBuilder(), shape)("time", points, **options).write(backend)
    reader = Reader(backend)
    assert [row["value"] for row in reader.aggregate("time", aggregation="count")] == [14]
    assert [row["value"] for row in reader.aggregate("time", aggregation="sum")] == [17.0]


def test_of_points_with_one_start_and_time_the_larger_counts(backend: Backend) -> None:
    builder = BatchBuilder().counter("total", [(10, 2), (20, 5), (30, 9)], start=1)
    builder.write(backend)
    BatchBuilder().counter("total", [(20, 6)], start=1).write(backend)
    assert increase(backend) == [(10.0, 9.0)]
    assert increase(backend, bucket_seconds=10) == [(30.0, 3.0), (20.0, 4.0), (10.0, 2.0)]


def test_two_processes_in_one_series_add_up_to_one_rate(backend: Backend) -> None:
    # One adds 2 a second, the other 1, and they export at other times.
    first = [(10.0 * n, 20.0 * n, 3.0) for n in range(1, 7)]
    second = [(10.0 * n + 5, 10.0 * n + 5, 6.0) for n in range(1, 6)]
    BatchBuilder().sum("total", first + second).write(backend)
    # From 10 to 60: 100 of the first, 55 of the second, which counts from 0.
    assert rate(backend) == [(10.0, 155 / 50)]
    assert rate(backend, bucket_seconds=20, start_time=40, end_time=60) == [(40.0, 60 / 20)]


LOOK_BACK = 600
Change = tuple[float, float, float | None]  # time, value, delta


def stream_names(points: Sequence[Point]) -> dict[Point, float]:
    """The start that names the stream of each point, 0 for the stream "unknown"."""
    names = {point: point[2] or 0.0 for point in points}
    real = {start for (time, _, _), start in names.items() if 0 < start < time}
    alone = [point for point in points if names[point] >= point[0] and names[point] not in real]
    if len(alone) > 1:
        names |= dict.fromkeys(alone, 0.0)
    chain: list[float] = []
    for start in [*sorted(set(names.values()) - {0.0}), math.inf]:
        if chain and start - chain[-1] >= 1:
            near = sorted((p for p in points if names[p] in chain), key=time_and_start)
            if not any(is_fall(a[1] or 0, b[1] or 0) for a, b in pairwise(near)):
                names |= dict.fromkeys(near, chain[0])
            chain = []
        chain.append(start)
    return names


def time_and_start(point: Point) -> tuple[float, float]:
    return point[0], point[2] or 0.0


def is_fall(before: float, value: float) -> bool:
    return value < before * 0.999999


def plain_changes(points: Sequence[Point], range_start: float, *, delta: bool) -> list[Change]:
    """Each point in order of time with what it adds, None for a base; straight from the rules."""
    points = [p for p in points if p[1] is not None and not math.isnan(p[1])]
    points = sorted((p for p in points if p[0] >= range_start - LOOK_BACK), key=time_and_start)
    names = stream_names(points)
    last: dict[float, float] = {}
    changes: list[Change] = []
    for point in points:
        time, value, name = point[0], point[1] or 0.0, names[point]
        before = last.get(name)
        change: float | None = value
        if delta:
            pass
        elif before is None:
            if name == 0 or name < range_start - LOOK_BACK:
                change = None
        elif not (is_fall(before, value) if name == 0 else value < before / 2):
            change = value - before
        last[name] = value
        changes.append((time, value, change))
    return changes


@st.composite
def processes(draw: st.DrawFn) -> list[Point]:
    """The points of a process that counts, restarts, corrects, and has gaps."""
    begin = draw(st.sampled_from([1.0, 1.004, 1.9, 2.5, 300.0, 300.5, 900.0]))
    style = draw(st.sampled_from(["known", "known", "jitter", "unknown", "own time", "late"]))
    value = 0.0
    points: list[Point] = []
    for time in sorted(draw(st.sets(st.integers(51, 2000), min_size=1, max_size=8))):
        step = draw(st.sampled_from(["grow", "grow", "grow", "restart", "correct", "round"]))
        if step == "restart":
            value = 0.0
        if step == "correct":
            value *= 0.75
        if step == "round":
            value *= 1 - 1e-9
        else:
            value += draw(st.integers(0, 100))
        start: float | None = min(begin, time)
        if style == "jitter":
            start = round(min(begin, time) + draw(st.integers(-3, 3)) / 1000, 3)
        elif style == "unknown":
            start = None
        elif style == "own time":
            start = time
        elif style == "late":
            start = time if not points else points[0][0]
        shown = draw(st.sampled_from([value] * 8 + [None, math.nan]))
        points.append((time, shown, start))
    return points


@st.composite
def counters(draw: st.DrawFn) -> list[Point]:
    """The points of processes that share a series, in any order, each time and start once."""
    points = [
        point for life in draw(st.lists(processes(), min_size=1, max_size=3)) for point in life
    ]
    return draw(st.permutations(list({time_and_start(point): point for point in points}.values())))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    series=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([False, False, True]), counters()),
        min_size=1,
        max_size=3,
    ),
    width=st.sampled_from([60, 700, 10_000]),
    ends=st.sampled_from([(0, 2001), (0, 2001), (500, 1500), (1000, 1001), (700, 2001)]),
)
def test_growth_equals_that_of_plain_python(
    new_store: StoreFactory,
    series: list[tuple[str, bool, list[Point]]],
    width: int,
    ends: tuple[int, int],
) -> None:
    start, end = ends
    store = BatchBuilder()
    grown: dict[tuple[float, str], float] = defaultdict(float)
    rates: dict[tuple[float, str], float] = defaultdict(float)
    for service, delta, points in series:
        temporality: Any = "delta" if delta else "cumulative"
        store.sum("total", points, service=service, temporality=temporality)
        changes = plain_changes([p for p in points if p[0] < end], start, delta=delta)
        by_bucket: dict[float, list[Change]] = defaultdict(list)
        for change in changes:
            if change[0] >= start:
                by_bucket[change[0] // width * width].append(change)
        for bucket, inside in by_bucket.items():
            deltas = [change for _, _, change in inside if change is not None]
            if deltas:
                grown[bucket, service] += sum(deltas)
            first = changes[0][0]
            later = [change for time, _, change in inside if change is not None and time > first]
            earlier = [time for time, *_ in changes if time < max(start, bucket)]
            elapsed = inside[-1][0] - max(earlier, default=first)
            if later and elapsed:
                rates[bucket, service] += sum(later) / elapsed
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
            assert found == pytest.approx(dict(expected), rel=1e-6, abs=1e-6)
