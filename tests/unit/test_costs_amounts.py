"""The amounts of a series are the same for any order of its points and any cut into batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.costs.entry_calculation import (
    RATE_QUANTUM,
    billing_period,
    compute_entries,
    compute_series_entries,
    quantize_amount,
)
from exporter.errors import RowRefusedError
from exporter.model import CostBasis, CostCursor, CostEntry, CostKind, CostPoint, CostSample

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
BASE = 1_700_000_000 * SECOND


def basis(kind: CostKind = "cumulative", **different: Any) -> CostBasis:
    values: dict[str, Any] = {
        "factor": Decimal(1),
        "staleness_seconds": 7_200.0,
        "resource_id": "i-1",
        "category": "compute",
        "currency": "USD",
    }
    return CostBasis(kind=kind, **values | different)


def sample(
    at: float, value: float, *, start: float | None = None, series_id: int = 7, of: CostBasis
) -> CostSample:
    """A sample; times are seconds after `BASE`, a start of None is unknown."""
    started = 0 if start is None else BASE + round(start * SECOND)
    return CostSample(series_id, BASE + round(at * SECOND), started, value, of)


def series_of(entry: CostEntry) -> int:
    assert entry.derived_from is not None
    return entry.derived_from.series_id


def point_of(entry: CostEntry) -> CostPoint:
    """The point that an entry was derived from."""
    derived_from = entry.derived_from
    assert derived_from is not None
    return CostPoint(entry.time_unix_nano, derived_from.start_time_unix_nano, derived_from.value)


@dataclass
class CostStore:
    """A store in memory: entries by id, and cursors by series id."""

    entries: dict[str, CostEntry] = field(default_factory=dict)
    cursors: dict[int, CostCursor] = field(default_factory=dict)
    fetches: int = 0

    def write(self, samples: Iterable[CostSample]) -> list[CostEntry]:
        entries, cursors = compute_entries(samples, self.cursors, self.fetch_stored_points)
        self.entries |= {entry.entry_id: entry for entry in entries}
        self.cursors |= {cursor.series_id: cursor for cursor in cursors}
        return entries

    def fetch_stored_points(self, series_id: int, first: int, last: int) -> Sequence[CostPoint]:
        self.fetches += 1
        points = sorted(
            point_of(one) for one in self.entries.values() if series_of(one) == series_id
        )
        before = [point for point in points if point.time_unix_nano < first][-1:]
        within = [point for point in points if first <= point.time_unix_nano <= last]
        after = [point for point in points if point.time_unix_nano > last][:1]
        return before + within + after

    def amounts(self) -> list[Decimal]:
        """The amounts in order of time."""
        entries = sorted(self.entries.values(), key=lambda one: one.time_unix_nano)
        return [one.amount for one in entries]


def expected(kind: CostKind, samples: Sequence[CostSample]) -> list[Decimal]:
    """The amounts computed from all points at once; of equal times the last to arrive counts."""
    points = sorted({one.time_unix_nano: one for one in samples}.values(), key=_time)
    amounts = []
    for place, point in enumerate(points):
        value = Decimal(str(point.value)) * point.basis.factor
        before = points[place - 1] if place else None
        if kind == "amount":
            amounts.append(value)
        elif kind == "hourly_rate":
            gap = 0 if before is None else point.time_unix_nano - before.time_unix_nano
            paid = min(gap, round(point.basis.staleness_seconds * SECOND))
            amounts.append(round(value * paid / HOUR, 9))
        elif before is None:
            known = 0 < point.start_time_unix_nano < point.time_unix_nano
            amounts.append(value if known else Decimal(0))
        elif point.value < before.value or _began_after(point, before):
            amounts.append(value)
        else:
            amounts.append(value - Decimal(str(before.value)) * point.basis.factor)
    return amounts


def _began_after(point: CostSample, before: CostSample) -> bool:
    """Whether a new total began after the point before, or at its time with another start."""
    start = point.start_time_unix_nano
    is_another = 0 < before.start_time_unix_nano < start
    return start > before.time_unix_nano or (start == before.time_unix_nano and is_another)


def _time(one: CostSample) -> int:
    return one.time_unix_nano


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[CostKind, list[list[CostSample]]]:
    """Points of one series in the order of arrival, cut into batches, some of them repeated."""
    kind: CostKind = draw(st.sampled_from(["amount", "cumulative", "hourly_rate"]))
    factor = draw(st.sampled_from([Decimal(1), Decimal("0.25"), Decimal(-3)]))
    shared_basis = basis(
        kind, factor=factor, staleness_seconds=draw(st.sampled_from([1.5, 20.0, 1e9]))
    )
    times = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12, unique=True))
    points = []
    for time in times:
        value = draw(st.integers(0, 50)) / 4
        start = draw(st.sampled_from([None, 0, time // 10 * 10 - 0.5, (time - 1) // 5 * 5]))
        points.append(sample(time, value, start=start, of=shared_basis))
    arriving = draw(st.permutations(points))
    again = draw(st.lists(st.sampled_from(points), max_size=4))
    corrected = [replace(one, value=one.value + draw(st.sampled_from([0, 1.5]))) for one in again]
    arriving = [*arriving, *corrected]
    cuts = sorted(draw(st.sets(st.integers(0, len(arriving)), max_size=5)))
    bounds = [0, *cuts, len(arriving)]
    return kind, [arriving[a:b] for a, b in pairwise(bounds)]


@given(arrivals(), st.data())
def test_stored_entries_depend_on_the_points_alone(
    arrival: tuple[CostKind, list[list[CostSample]]], data: st.DataObject
) -> None:
    kind, batches = arrival
    store = CostStore()
    for batch in batches:
        store.write(batch)
    arrived = [one for batch in batches for one in batch]
    assert store.amounts() == expected(kind, arrived)
    # A repetition of the last value of each time changes nothing.
    last_values = {one.time_unix_nano: one for one in arrived}
    replay = data.draw(st.lists(st.sampled_from(sorted(last_values.values(), key=_time))))
    assert store.write(replay) == []
    assert store.amounts() == expected(kind, arrived)


@given(st.lists(st.floats(0, 1e9, allow_nan=False), min_size=2, max_size=30).map(sorted))
def test_increases_add_up_exactly_to_the_total(values: list[float]) -> None:
    store = CostStore()
    shared_basis = basis(factor=Decimal("0.000123"))
    store.write(sample(at, value, start=-1, of=shared_basis) for at, value in enumerate(values))
    total = quantize_amount(Decimal(repr(values[-1])) * shared_basis.factor)
    assert sum(store.amounts()) == total


def test_an_hourly_rate_over_a_day_is_24_times_the_rate() -> None:
    store = CostStore()
    for minute in range(24 * 60 + 1):
        store.write([sample(minute * 60, 0.1, of=basis("hourly_rate"))])
    assert abs(sum(store.amounts()) - Decimal("2.4")) <= 24 * 60 * RATE_QUANTUM / 2
    assert store.fetches == 0


def test_a_late_point_creates_its_entry_and_changes_the_next() -> None:
    store = CostStore()
    store.write([sample(at, value, start=0, of=basis()) for at, value in ((10, 4), (30, 9))])
    changed = store.write([sample(20, 6, start=0, of=basis())])
    assert [one.amount for one in changed] == [2, 3]
    assert store.amounts() == [4, 2, 3]


def test_a_corrected_value_changes_two_entries() -> None:
    store = CostStore()
    store.write([sample(at, at, start=0, of=basis()) for at in (10, 20, 30, 40)])
    assert len(store.write([sample(20, 25, start=0, of=basis())])) == 2
    assert store.amounts() == [10, 15, 5, 10]


RATE = basis("hourly_rate", staleness_seconds=600)


@pytest.mark.parametrize(
    ("of", "points", "amounts"),
    [
        pytest.param(basis(), [(10, 500, None), (20, 503, None)], [0, 3], id="unknown start"),
        pytest.param(basis(), [(10, 500, 10), (20, 503, 10)], [0, 3], id="start at first point"),
        pytest.param(basis(), [(10, 4, 0), (20, 7, 10)], [4, 7], id="restart at previous point"),
        pytest.param(
            basis(is_monotonic=False), [(1, 5, 0), (2, 3, 0), (3, 4, 0)], [5, -2, 1], id="credit"
        ),
        pytest.param(
            RATE, [(0, 6, None), (300, 6, None), (90_000, 6, None)], [0, 0.5, 1], id="staleness"
        ),
    ],
)
def test_amounts_calculated_by_hand(
    of: CostBasis, points: list[tuple[float, float, float | None]], amounts: list[float]
) -> None:
    store = CostStore()
    for at, value, start in points:
        store.write([sample(at, value, start=start, of=of)])
    assert store.amounts() == amounts


def test_a_series_continues_after_its_entries_are_deleted() -> None:
    store = CostStore()
    store.write([sample(at, at, start=0, of=basis()) for at in (10, 20)])
    store.entries.clear()
    store.write([sample(30, 31, start=0, of=basis())])
    assert store.amounts() == [11]


def test_a_late_point_with_deleted_neighbours_counts_zero() -> None:
    store = CostStore()
    store.write([sample(at, 1_000 + at, start=0, of=basis()) for at in (10, 20)])
    store.entries.clear()
    changed = store.write([sample(15, 1_015, start=0, of=basis())])
    assert [one.amount for one in changed] == [0]


def test_an_amount_counts_without_neighbours_after_deletion() -> None:
    store = CostStore()
    store.write([sample(at, 2, of=basis("amount")) for at in (10, 20)])
    store.entries.clear()
    store.write([sample(15, 3, of=basis("amount"))])
    assert store.amounts() == [3]


def test_series_do_not_affect_each_other() -> None:
    store = CostStore()
    store.write(
        sample(at, at * abs(series_id), start=0, series_id=series_id, of=basis())
        for at in (1, 2)
        for series_id in (-5, 3)
    )
    ids = [one.entry_id for one in store.entries.values()]
    assert len(set(ids)) == 4
    assert sorted(store.amounts()) == [3, 3, 5, 5]


def test_times_are_rounded_down_to_microseconds() -> None:
    store = CostStore()
    one = sample(1, 5, start=0, of=basis())
    store.write([replace(one, time_unix_nano=one.time_unix_nano + 999)])
    assert store.write([one]) == []


def test_an_entry_has_the_fields_of_its_basis() -> None:
    shared_basis = basis(
        "amount", region="eu-1", tags='{"team":"a"}', description="d", source="gen_ai"
    )
    [entry], cursor = compute_series_entries([sample(1, 0.1, of=shared_basis)], None, ())
    assert entry.amount == Decimal("0.1")
    assert (entry.region, entry.tags) == ("eu-1", '{"team":"a"}')
    assert (entry.source, entry.billing_period) == ("gen_ai", "2023-11")
    assert cursor == CostCursor(7, entry.time_unix_nano, point_of(entry))


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1e18", "-1e18", "1e999999"])
def test_an_amount_that_a_store_cannot_hold_is_refused(amount: str) -> None:
    with pytest.raises(RowRefusedError, match="amount of a cost"):
        quantize_amount(Decimal(amount))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308])
def test_a_value_that_cannot_be_a_cost_is_refused(value: float) -> None:
    with pytest.raises(RowRefusedError):
        compute_series_entries([sample(1, value, of=basis("amount"))], None, ())


def test_amounts_are_rounded_to_18_places() -> None:
    assert quantize_amount(Decimal("15E-19")) == Decimal("2E-18")
    largest = Decimal("-999999999999999999.999999999999999999")
    assert quantize_amount(largest) == largest


def test_a_billing_period_is_a_month_in_utc() -> None:
    assert billing_period(1_793_491_199 * SECOND) == "2026-10"
    assert billing_period(1_793_491_200 * SECOND) == "2026-11"


def test_each_point_uses_its_own_basis() -> None:
    store = CostStore()
    doubled = basis("hourly_rate", factor=Decimal(2))
    points = [sample(0, 3, of=doubled), sample(3_600, 3, of=doubled)]
    store.write([*points, sample(7_200, 3, of=basis("hourly_rate"))])
    assert store.amounts() == [0, 6, 3]
