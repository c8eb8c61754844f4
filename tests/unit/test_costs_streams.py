"""Totals of several processes, restarts, corrections and late points: every order gives one sum."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import accumulate
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.cost_store import CostStore
from kit.money_model import Cost, Point
from kit.money_model import expected as model_sums

from exporter.costs.entry_calculation import cost_of, quantity_at, sample_point
from exporter.costs.streams import StreamIndex, assign_streams, by_stream
from exporter.model import CostBasis, CostPoint, CostSample, CostStream

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
MILLISECOND = 1_000_000
SERIES = 7
T0 = 1_790_000_000 * SECOND

TOTAL = CostBasis("cumulative", Decimal(1), 600.0, "r", "c", "USD")
UP_DOWN = replace(TOTAL, is_monotonic=False)
GAUGE = replace(TOTAL, has_known_starts=False)
RATE = replace(TOTAL, kind="hourly_rate")
DELTA = replace(TOTAL, kind="amount")


def sample(
    time: int, value: float, start: int = 0, basis: CostBasis = TOTAL, count: int | None = None
) -> CostSample:
    return CostSample(SERIES, time, start, value, basis, count)


def expected(samples: Iterable[CostSample]) -> Decimal:
    """The sum that the rules say, from all points at once."""
    points: dict[tuple[int, int], tuple[CostPoint, CostBasis]] = {}
    for one in samples:
        point = sample_point(one)
        known = points.get(point[:2])
        if known is None or known[0].value < point.value:
            points[point[:2]] = (point, one.basis)
    bases = dict(points.values())
    streams = assign_streams(
        bases, is_monotonic=all(basis.is_monotonic for basis in bases.values())
    )
    total = Decimal(0)
    for label, stream in by_stream(streams):
        previous = None
        for point in stream:
            total += cost_of(bases[point], label, previous, point)[0]
            previous = point
    return total


def check_every_order(samples: Sequence[CostSample], total: str) -> None:
    """Thirty orders, cut into requests at random, give the sum."""
    assert expected(samples) == Decimal(total)
    for seed in range(30):
        dice = random.Random(seed)
        shuffled = dice.sample(samples, len(samples)) + dice.sample(samples, len(samples) // 2)
        store = CostStore()
        while shuffled:
            size = dice.randint(1, 4)
            store.write(shuffled[:size])
            shuffled = shuffled[size:]
        assert store.total == Decimal(total), seed


def series(
    *values: float, start: int = 0, begin: int = T0, basis: CostBasis = TOTAL
) -> list[CostSample]:
    return [
        sample(begin + (number + 1) * MINUTE, value, start, basis)
        for number, value in enumerate(values)
    ]


EXAMPLES = {
    "two processes": (
        [
            sample(T0 + MINUTE, 5.0, T0),
            sample(T0 + 2 * MINUTE, 1.2, T0 + 30 * SECOND),
            sample(T0 + 3 * MINUTE, 5.1, T0),
            sample(T0 + 4 * MINUTE, 1.3, T0 + 30 * SECOND),
        ],
        "6.4",
    ),
    "forked workers": (
        [
            sample(T0 + MINUTE, 5.0, T0),
            sample(T0 + 2 * MINUTE, 1.2, T0 + 3 * MILLISECOND),
            sample(T0 + 3 * MINUTE, 5.1, T0),
            sample(T0 + 4 * MINUTE, 1.3, T0 + 3 * MILLISECOND),
        ],
        "6.4",
    ),
    "a start that jitters": (
        [
            sample(T0 + number * MINUTE, 10.0 * number, T0 - 5 * MINUTE + jitter * MILLISECOND)
            for number, jitter in enumerate((0, 2, -1, 0, 2, 1), 1)
        ],
        "60",
    ),
    "a start that drifts far": (
        [
            sample(T0 + (n + 1) * MINUTE, 10.0 * (n + 1), T0 + 9 * n * SECOND // 10)
            for n in range(40)
        ],
        "400",
    ),
    "one digit lower": (series(0.1 + 0.2 + 0.3, 0.6, start=T0), "0.6"),
    "a correction": (series(10, 26, 25, 30, start=T0), "30"),
    "a restart without a new start": (series(10, 30, 4, 9, start=T0), "39"),
    "unknown start": (series(10, 30, 4, 9), "29"),
    "unknown start, rounding": (series(10, 30, 30 - 3e-14, 31), "21"),
    "start is the time": (
        [sample(T0 + n * MINUTE, 10.0 * n, T0 + n * MINUTE) for n in (1, 2, 3)],
        "20",
    ),
    "one point, start is the time": ([sample(T0, 5.25, T0)], "5.25"),
    "first point at the start": (
        [
            sample(T0, 5.0, T0),
            sample(T0 + MINUTE, 9.0, T0),
            sample(T0 + 9 * MINUTE, 2.0, T0 + 9 * MINUTE),
            sample(T0 + 10 * MINUTE, 4.0, T0 + 9 * MINUTE),
        ],
        "13",
    ),
    "month to date": (series(1000, 1010, 1007, 1012, basis=GAUGE), "12"),
    "a new month": (series(990, 1000, 0.5, 3, basis=GAUGE), "13"),
    "month to date below 0": (series(-10, -10, -9, -12, -11, basis=GAUGE), "-1"),
    "up and down": (series(5, 3, 4, start=T0, basis=UP_DOWN), "4"),
    "the larger value": (
        [sample(T0 + MINUTE, 5.0, T0), sample(T0 + MINUTE, 6.0, T0), sample(T0 + MINUTE, 4.0, T0)],
        "6",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_sum_of_a_total(name: str) -> None:
    check_every_order(*EXAMPLES[name])


def test_histogram_restarts_when_its_count_falls() -> None:
    samples = [
        sample(T0 + MINUTE, 10.0, T0, count=5),
        sample(T0 + 2 * MINUTE, 4.0, T0, count=6),
        sample(T0 + 3 * MINUTE, 12.0, T0, count=2),
    ]
    check_every_order(samples, "16")


def test_deltas_of_two_processes_at_one_time_are_two_amounts() -> None:
    samples = [sample(T0 + MINUTE, 2.0, T0, DELTA), sample(T0 + MINUTE, 3.0, T0 + SECOND, DELTA)]
    store = CostStore()
    store.write(samples)
    store.write(samples)
    assert store.total == Decimal(5)


def test_constant_rate_of_a_day_is_the_rate_times_the_day() -> None:
    store = CostStore()
    samples = [sample(T0 + 7 * SECOND * n, 0.1, 0, RATE) for n in range(86_400 // 7 + 1)]
    last = sample(T0 + 86_400 * SECOND, 0.1, 0, RATE)
    random.Random(1).shuffle(samples)
    store.write([*samples, last])
    assert store.total == Decimal("2.4")


# Writers start a second and more apart, or together; -1 stands for the time of the point itself.
writer_starts = st.lists(
    st.one_of(
        st.just(0),
        st.just(-1),
        st.builds(
            lambda second, millisecond: T0 + second * SECOND + millisecond * MILLISECOND,
            st.sampled_from([0, 1, 2, 9 * 60, 3_600]),
            st.sampled_from([0, 1, 3, 400, 700, 999]),
        ),
    ),
    min_size=1,
    max_size=6,
)


@st.composite
def points_of_writers(draw: st.DrawFn) -> list[CostSample]:
    """Points of writers in any state: late, repeated, with two values, and at their starts."""
    starts = draw(writer_starts)
    basis = draw(st.sampled_from([TOTAL, TOTAL, TOTAL, UP_DOWN, GAUGE]))
    samples = []
    for start, minute, value in draw(
        st.lists(
            st.tuples(st.sampled_from(starts), st.integers(0, 12), st.sampled_from(VALUES)),
            max_size=14,
        )
    ):
        time = start if minute == 0 and start > 0 else T0 + minute * MINUTE
        samples.append(sample(time, value, time if start < 0 else start, basis))
    return samples


VALUES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 1e-18, 0.1 + 0.2, 0.3, 1e15)


def by_model(samples: Iterable[CostSample]) -> Decimal:
    """The sum of a model that has nothing in common with the product."""
    points = []
    for one in samples:
        kind: Literal["total", "month to date"] = (
            "total" if one.basis.has_known_starts else "month to date"
        )
        cost = Cost("x", kind, "USD", may_fall=not one.basis.is_monotonic)
        value = Decimal(repr(float(one.value)))
        point = Point(one.time_unix_nano // 1_000, one.start_time_unix_nano // 1_000, value)
        points.append((cost, point))
    with localcontext(prec=60):
        return sum(model_sums(points).values(), Decimal(0))


def write_in_parts(store: CostStore, samples: list[CostSample], dice: random.Random) -> None:
    while samples:
        size = dice.randint(1, 4)
        store.write(samples[:size])
        samples = samples[size:]


@settings(max_examples=300, deadline=None)
@given(points_of_writers(), st.randoms(use_true_random=False))
def test_every_order_and_cut_gives_the_sum_of_all_points(
    samples: list[CostSample], dice: random.Random
) -> None:
    total = by_model(samples)
    with localcontext(prec=60):
        assert expected(samples) == total
        for _ in range(3):
            store = CostStore()
            write_in_parts(store, dice.sample(samples, len(samples)) + samples[:3], dice)
            assert store.total == total


@given(
    st.lists(st.lists(st.integers(0, 900), min_size=2, max_size=8), min_size=1, max_size=4),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_deleted_points_change_no_sum_of_what_is_kept(
    writers: list[list[int]], kept_from: int, dice: random.Random
) -> None:
    """The deleted amounts and the kept ones are the last totals, and late points add nothing."""
    older: list[CostSample] = []
    newer: list[CostSample] = []
    spent = Decimal(0)
    border = T0 + kept_from * 24 * 60 * MINUTE
    for place, increases in enumerate(writers):
        start = T0 + place * MINUTE
        for day, value in enumerate(accumulate(increases), 1):
            time = start + (24 * 60 * day - 30) * MINUTE
            (older if time < border else newer).append(sample(time, value / 4, start))
        spent += Decimal(sum(increases)) / 4
    store = CostStore()
    # The newest old point of each writer comes, and others are late.
    missing = {one for one in older if dice.random() < 0.3 and not is_last(one, older)}
    write_in_parts(store, [one for one in older if one not in missing], dice)
    before = store.total
    store.delete_before(border)
    deleted = before - store.total
    late = [*missing, *newer, *dice.sample(newer, len(newer) // 2)]
    write_in_parts(store, dice.sample(late, len(late)), dice)
    assert deleted + store.total == spent


def is_last(one: CostSample, samples: Iterable[CostSample]) -> bool:
    return not any(
        other.start_time_unix_nano == one.start_time_unix_nano
        and other.time_unix_nano > one.time_unix_nano
        for other in samples
    )


def test_streams_near_a_start_are_found_among_many() -> None:
    index = StreamIndex()
    starts = [T0 + at * MINUTE for at in range(100)]
    for start in random.Random(1).sample(starts, len(starts)):
        index[start] = CostStream(SERIES, start, start, start)
    assert [one.stream_start for one in index.near(starts[7] + SECOND - 1)] == [starts[7]]
    assert [one.stream_start for one in index.near(starts[7] - SECOND + 1)] == [starts[7]]
    assert index.near(starts[7] + SECOND) == []
    del index[starts[7]]
    assert index.near(starts[7]) == []


def test_points_at_or_before_deleted_ones_cost_nothing() -> None:
    store = CostStore()
    points = [sample(T0 + day * 1440 * MINUTE, 100.0 * day, T0) for day in range(1, 11)]
    store.write(points)
    store.delete_before(T0 + 6 * 1440 * MINUTE)
    assert store.total == 500
    store.write([sample(T0 + 7 * 720 * MINUTE, 350.0, T0), sample(T0 + 720 * MINUTE, 50.0, T0)])
    assert store.total == 500
    store.write([sample(T0 + 1440 * MINUTE * 5 + 720 * MINUTE, 550.0, T0)])
    assert store.total == 500
    store.write([sample(T0 + 11 * 1440 * MINUTE, 1100.0, T0)])
    assert store.total == 600


def test_a_late_size_changes_how_long_the_last_one_holds() -> None:
    size = replace(GAUGE, kind="quantity", currency="")
    rate = replace(GAUGE, kind="hourly_rate", staleness_seconds=3_600.0, quantity_id=5)
    sizes = [CostSample(5, T0 + at * MINUTE, 0, 10.0, size) for at in (0, 10, 20)]
    prices = [CostSample(6, T0 + at * MINUTE, 0, 0.6, rate) for at in range(0, 60, 5)]
    for seed in range(30):
        dice = random.Random(seed)
        store = CostStore()
        write_in_parts(store, dice.sample(sizes + prices, 15), dice)
        assert store.total == Decimal("2.5"), seed  # 25 minutes at 6 an hour


def test_quantity_holds_until_the_next_is_overdue() -> None:
    sizes = [CostPoint(T0, 0, 10.0), CostPoint(T0 + 6 * MINUTE, 0, 20.0)]
    assert quantity_at(sizes[:1], T0 + 500 * MINUTE) == 10.0
    assert quantity_at(sizes, T0 - 1) is None
    assert quantity_at(sizes, T0 + 6 * MINUTE) == 20.0
    assert quantity_at(sizes, T0 + 12 * MINUTE - 1) == 20.0
    assert quantity_at(sizes, T0 + 12 * MINUTE) is None


def test_increases_of_large_totals_keep_every_digit() -> None:
    dear = replace(TOTAL, factor=Decimal("1.000000000000000001"))
    samples = series(1e14, 2e14, 3e14, start=T0, basis=dear)
    check_every_order(samples, "300000000000000.0003")
