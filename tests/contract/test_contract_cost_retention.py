"""Deleted cost entries close their streams: what is kept keeps its sum, whatever comes later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.backends.kinds import Kind, StoreFactory
from kit.backends.samples import NOW, SECOND, batch_of, batch_of_every_kind, cost
from kit.backends.stored_rows import count
from kit.cost_store import CostStore

from exporter.backends.base import Backend
from exporter.model import Batch, CostBasis, CostEntry, CostSample
from exporter.query import Reader

HOUR = 3_600 * SECOND
DAY = 24 * HOUR
MIDNIGHT = NOW - NOW % DAY
TOTAL = CostBasis("cumulative", Decimal(1), 3_600.0, "i-1", "compute", "USD")
RATE = replace(TOTAL, kind="hourly_rate", staleness_seconds=7 * 86_400.0)
# Ten days of 100 a day, sent at noon: 100, 200, ... 1000.
DAYS = range(1, 11)


def total(day: float, value: float, *, start: int = MIDNIGHT) -> CostSample:
    """A point of a total; whole days are at noon."""
    return CostSample(7, MIDNIGHT + int((day + 0.5) * DAY), start, value, TOTAL)


def rate(day: float, value: float) -> CostSample:
    return CostSample(8, MIDNIGHT + int((day + 0.5) * DAY), 0, value, RATE)


def write(backend: Backend, *samples: CostSample) -> None:
    backend.write(Batch(cost_samples=samples))


def amounts(backend: Backend) -> list[Decimal]:
    """The amounts that are not 0, in order of time."""
    rows = Reader(backend).query_historical_costs(limit=1_000)
    return [Decimal(row["amount_exact"]) for row in reversed(rows)]


def delete_until_day(backend: Backend, day: int) -> int:
    """Delete all rows before this day."""
    return backend.delete_before(MIDNIGHT + day * DAY)


@pytest.fixture
def closed(backend: Backend) -> Backend:
    """A store of ten days of 100 a day, of which the first five are deleted."""
    write(backend, *(total(day, 100 * day) for day in DAYS))
    assert delete_until_day(backend, 6) == 5
    assert amounts(backend) == [100] * 5
    return backend


def test_a_point_older_than_the_closing_point_costs_nothing(closed: Backend) -> None:
    write(closed, total(3.2, 320))
    write(closed, total(5, 500), total(4, 390))
    assert amounts(closed) == [100] * 5


def test_the_next_point_is_counted_from_the_last_one(closed: Backend) -> None:
    write(closed, total(11, 1_130))
    assert amounts(closed) == [100] * 5 + [130]


def test_a_late_point_takes_its_part_from_the_entry_after_it(closed: Backend) -> None:
    write(closed, total(5.75, 575))
    assert amounts(closed) == [75, 25, 100, 100, 100, 100]


def test_if_every_entry_is_deleted_the_next_one_is_counted_from_the_closing_point(
    closed: Backend,
) -> None:
    delete_until_day(closed, 11)
    assert count(closed, "cost_entries") == 0
    write(closed, total(10.5, 1_040), total(12, 1_240))
    write(closed, total(7, 650))
    assert amounts(closed) == [40, 200]


def test_the_closing_point_never_moves_back(closed: Backend) -> None:
    write(closed, total(2, 150))
    assert delete_until_day(closed, 6) == 1
    write(closed, total(4, 400), total(5.75, 575))
    assert amounts(closed) == [75, 25, 100, 100, 100, 100]
    assert delete_until_day(closed, 8) == 4
    write(closed, total(5.8, 590), total(6, 600))
    assert amounts(closed) == [100] * 3


def test_the_closing_points_outlive_a_restart(unopened: Callable[[], Backend], kind: Kind) -> None:
    if not kind.keeps:
        pytest.skip("the data ends with the backend")
    with closing(unopened()) as first:
        first.start()
        write(first, *(total(day, 100 * day) for day in DAYS))
        delete_until_day(first, 6)
    with closing(unopened()) as second:
        second.start()
        write(second, total(3, 320), total(5.75, 575), total(11, 1_130))
        assert amounts(second) == [75, 25, 100, 100, 100, 100, 130]


def test_each_stream_has_its_own_closing_point(backend: Backend) -> None:
    other = MIDNIGHT + HOUR
    write(backend, *(total(day, 100 * day) for day in DAYS))
    write(backend, *(total(day + 0.1, 10 * day, start=other) for day in DAYS))
    assert delete_until_day(backend, 6) == 10
    write(backend, total(3, 320), total(3.1, 35, start=other))
    write(backend, total(5.75, 575), total(5.75, 56, start=other))
    assert sum(amounts(backend)) == 550
    assert sum(amounts(backend)[:4]) == 110


def test_a_stream_that_is_deleted_whole_stays_closed(backend: Backend) -> None:
    restarted = MIDNIGHT + 6 * DAY
    write(backend, *(total(day, 100 * day) for day in range(1, 6)))
    write(backend, *(total(day, 10 * day, start=restarted) for day in range(6, 11)))
    assert amounts(backend) == [100] * 5 + [60, 10, 10, 10, 10]
    delete_until_day(backend, 6)
    write(backend, total(1, 100), total(4.5, 450))
    assert amounts(backend) == [60, 10, 10, 10, 10]
    write(backend, total(5.2, 530))
    assert amounts(backend) == [30, 60, 10, 10, 10, 10]


def test_an_hourly_rate_is_charged_from_the_closing_point(backend: Backend) -> None:
    write(backend, *(rate(day, 2) for day in DAYS))
    assert amounts(backend) == [48] * 9
    delete_until_day(backend, 6)
    assert amounts(backend) == [48] * 5
    write(backend, rate(3.5, 7), rate(4.9, 7))
    assert amounts(backend) == [48] * 5
    write(backend, rate(5.75, 2))
    assert amounts(backend) == [36, 12, 48, 48, 48, 48]
    write(backend, rate(11, 3))
    assert amounts(backend) == [36, 12, 48, 48, 48, 48, 72]


def test_every_point_again_changes_nothing(closed: Backend) -> None:
    for day in reversed(DAYS):
        write(closed, total(day, 100 * day))
    assert amounts(closed) == [100] * 5


def test_costs_have_a_time_of_their_own(backend: Backend) -> None:
    for day in DAYS:
        time = MIDNIGHT + day * DAY
        backend.write(batch_of_every_kind(time))
        backend.write(Batch(costs=(cost(time_unix_nano=time),)))
    bounds = {"time_unix_nano": MIDNIGHT + 8 * DAY, "costs_before_unix_nano": MIDNIGHT + 4 * DAY}
    counted = backend.count_before(**bounds)
    assert (counted["system_metrics"], counted["cost_entries"]) == (7, 3)
    assert backend.delete_before(**bounds) == sum(counted.values())
    assert (count(backend), count(backend, "cost_entries")) == (3, 7)
    assert backend.delete_before(0, costs_before_unix_nano=MIDNIGHT + 6 * DAY) == 2
    assert (count(backend), count(backend, "cost_entries")) == (3, 5)


def test_without_a_time_of_their_own_costs_have_that_of_metrics(backend: Backend) -> None:
    backend.write(batch_of(costs=(cost(),)))
    assert backend.count_before(NOW + DAY)["cost_entries"] == 1
    assert backend.delete_before(NOW + DAY) == 1


def bills(days: Iterable[int]) -> tuple[CostEntry, ...]:
    return tuple(
        cost(f"bill-{day}", "5", time_unix_nano=MIDNIGHT + day * DAY, source="focus")
        for day in days
    )


def test_bills_stay_whatever_their_age(backend: Backend) -> None:
    backend.write(Batch(costs=bills([1, 3])))
    write(backend, total(2, 200), total(4, 400), total(9, 900))
    after = MIDNIGHT + 8 * DAY
    assert backend.count_before(after)["cost_entries"] == 2
    assert backend.delete_before(after) == 2
    assert amounts(backend) == [5, 5, 500]
    assert backend.delete_before(after) == 0
    write(backend, total(3, 300), total(10, 1_000))
    assert amounts(backend) == [5, 5, 500, 100]


POINTS = st.tuples(
    st.just("point"), st.integers(1, 20), st.integers(0, 30), st.sampled_from([0, HOUR, 5 * DAY])
)
DELETIONS = st.tuples(st.just("delete"), st.integers(0, 11), st.just(0), st.just(0))


@settings(max_examples=15)
@given(st.lists(st.one_of(POINTS, DELETIONS), min_size=1, max_size=25))
def test_any_order_of_points_and_deletions_gives_the_amounts_of_the_model(
    new_store: StoreFactory, operations: list[tuple[str, int, int, int]]
) -> None:
    model = CostStore()
    with new_store() as backend:
        for what, half_days, value, start in operations:
            if what == "delete":
                delete_until_day(backend, half_days)
                model.delete_before(MIDNIGHT + half_days * DAY)
            else:
                one = total(half_days / 2, value, start=MIDNIGHT + start)
                write(backend, one)
                model.write([one])
        expected = sorted(entry.amount for entry in model.entries.values() if entry.amount)
        assert sorted(amounts(backend)) == expected
