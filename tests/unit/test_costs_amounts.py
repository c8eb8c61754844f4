"""What points of a series come to, in any order and cut anywhere: as all of them at once say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.costs.amounts import (
    AMOUNT_QUANTUM,
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
    """Times in seconds after `BASE`; None: unknown."""
    started = 0 if start is None else BASE + round(start * SECOND)
    return CostSample(series_id, BASE + round(at * SECOND), started, value, of)


def series_of(entry: CostEntry) -> int:
    assert entry.derived_from is not None
    return entry.derived_from.series_id


def point_of(entry: CostEntry) -> CostPoint:
    """The point that an entry was made of."""
    derived_from = entry.derived_from
    assert derived_from is not None
    return CostPoint(entry.time_unix_nano, derived_from.start_time_unix_nano, derived_from.value)


@dataclass
class Kept:
    """What a store keeps: entries by id, and cursors."""

    entries: dict[str, CostEntry] = field(default_factory=dict)
    cursors: dict[int, CostCursor] = field(default_factory=dict)
    looked_up: int = 0

    def write(self, samples: Iterable[CostSample]) -> list[CostEntry]:
        made, moved = compute_entries(samples, self.cursors, self.between)
        self.entries |= {one.entry_id: one for one in made}
        self.cursors |= {one.series_id: one for one in moved}
        return made

    def between(self, series_id: int, first: int, last: int) -> Sequence[CostPoint]:
        self.looked_up += 1
        points = sorted(
            point_of(one) for one in self.entries.values() if series_of(one) == series_id
        )
        before = [point for point in points if point.time_unix_nano < first][-1:]
        within = [point for point in points if first <= point.time_unix_nano <= last]
        after = [point for point in points if point.time_unix_nano > last][:1]
        return before + within + after

    def amounts(self) -> list[Decimal]:
        """In order of time."""
        entries = sorted(self.entries.values(), key=lambda one: one.time_unix_nano)
        return [one.amount for one in entries]


def expected(kind: CostKind, samples: Sequence[CostSample]) -> list[Decimal]:
    """From all points at once: sorted by time, of equal times the one that came last."""
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
    """Whether the total began after the one before was read, or at once, as another one."""
    start = point.start_time_unix_nano
    is_another = 0 < before.start_time_unix_nano < start
    return start > before.time_unix_nano or (start == before.time_unix_nano and is_another)


def _time(one: CostSample) -> int:
    return one.time_unix_nano


@st.composite
def histories(draw: st.DrawFn) -> tuple[CostKind, list[list[CostSample]]]:
    """Points of one series in the order of arrival, cut into batches, some sent again."""
    kind: CostKind = draw(st.sampled_from(["amount", "cumulative", "hourly_rate"]))
    factor = draw(st.sampled_from([Decimal(1), Decimal("0.25"), Decimal(-3)]))
    about = basis(kind, factor=factor, staleness_seconds=draw(st.sampled_from([1.5, 20.0, 1e9])))
    times = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12, unique=True))
    points = []
    for time in times:
        value = draw(st.integers(0, 50)) / 4
        start = draw(st.sampled_from([None, 0, time // 10 * 10 - 0.5, (time - 1) // 5 * 5]))
        points.append(sample(time, value, start=start, of=about))
    arriving = draw(st.permutations(points))
    again = draw(st.lists(st.sampled_from(points), max_size=4))
    corrected = [replace(one, value=one.value + draw(st.sampled_from([0, 1.5]))) for one in again]
    arriving = [*arriving, *corrected]
    cuts = sorted(draw(st.sets(st.integers(0, len(arriving)), max_size=5)))
    bounds = [0, *cuts, len(arriving)]
    return kind, [arriving[a:b] for a, b in pairwise(bounds)]


@given(histories(), st.data())
def test_what_is_stored_depends_on_the_points_alone(
    history: tuple[CostKind, list[list[CostSample]]], data: st.DataObject
) -> None:
    kind, batches = history
    kept = Kept()
    for batch in batches:
        kept.write(batch)
    arrived = [one for batch in batches for one in batch]
    assert kept.amounts() == expected(kind, arrived)
    # All of a batch that holds the last word on its points may come again.
    last_word = {one.time_unix_nano: one for one in arrived}
    replay = data.draw(st.lists(st.sampled_from(sorted(last_word.values(), key=_time))))
    assert kept.write(replay) == []
    assert kept.amounts() == expected(kind, arrived)


@given(st.lists(st.floats(0, 1e9, allow_nan=False), min_size=2, max_size=30).map(sorted))
def test_increases_add_up_to_the_total_exactly(values: list[float]) -> None:
    kept = Kept()
    about = basis(factor=Decimal("0.000123"))
    kept.write(sample(at, value, start=-1, of=about) for at, value in enumerate(values))
    total = quantize_amount(Decimal(repr(values[-1])) * about.factor)
    assert sum(kept.amounts()) == total


def test_a_day_of_a_rate_is_the_rate_times_the_day() -> None:
    kept = Kept()
    for minute in range(24 * 60 + 1):
        kept.write([sample(minute * 60, 0.1, of=basis("hourly_rate"))])
    assert abs(sum(kept.amounts()) - Decimal("2.4")) <= 24 * 60 * AMOUNT_QUANTUM / 2
    assert kept.looked_up == 0


def test_a_late_point_makes_its_entry_and_changes_the_next_one() -> None:
    kept = Kept()
    kept.write([sample(at, value, start=0, of=basis()) for at, value in ((10, 4), (30, 9))])
    changed = kept.write([sample(20, 6, start=0, of=basis())])
    assert [one.amount for one in changed] == [2, 3]
    assert kept.amounts() == [4, 2, 3]


def test_a_value_that_is_corrected_changes_two_entries() -> None:
    kept = Kept()
    kept.write([sample(at, at, start=0, of=basis()) for at in (10, 20, 30, 40)])
    assert len(kept.write([sample(20, 25, start=0, of=basis())])) == 2
    assert kept.amounts() == [10, 15, 5, 10]


def test_a_total_of_unknown_start_is_counted_from_its_first_point() -> None:
    for start in (None, 10):
        kept = Kept()
        kept.write([sample(10, 500, start=start, of=basis())])
        kept.write([sample(20, 503, start=start, of=basis())])
        assert kept.amounts() == [0, 3]


def test_a_total_that_begins_again_at_once_counts_as_a_whole() -> None:
    kept = Kept()
    kept.write([sample(10, 4, start=0, of=basis()), sample(20, 7, start=10, of=basis())])
    assert kept.amounts() == [4, 7]


def test_a_total_that_may_fall_makes_credits() -> None:
    kept = Kept()
    about = basis(is_monotonic=False)
    kept.write([sample(at, value, start=0, of=about) for at, value in ((1, 5), (2, 3), (3, 4))])
    assert kept.amounts() == [5, -2, 1]


def test_what_a_rate_pays_for_is_bounded() -> None:
    kept = Kept()
    about = basis("hourly_rate", staleness_seconds=600)
    kept.write([sample(at, 6, of=about) for at in (0, 300, 90_000)])
    assert kept.amounts() == [0, Decimal("0.5"), 1]


def test_after_its_entries_are_deleted_a_series_goes_on() -> None:
    kept = Kept()
    kept.write([sample(at, at, start=0, of=basis()) for at in (10, 20)])
    kept.entries.clear()
    kept.write([sample(30, 31, start=0, of=basis())])
    assert kept.amounts() == [11]


def test_a_late_point_whose_neighbours_are_deleted_counts_nothing_twice() -> None:
    kept = Kept()
    kept.write([sample(at, 1_000 + at, start=0, of=basis()) for at in (10, 20)])
    kept.entries.clear()
    changed = kept.write([sample(15, 1_015, start=0, of=basis())])
    assert [one.amount for one in changed] == [0]


def test_an_amount_needs_no_neighbour_also_after_deletion() -> None:
    kept = Kept()
    kept.write([sample(at, 2, of=basis("amount")) for at in (10, 20)])
    kept.entries.clear()
    kept.write([sample(15, 3, of=basis("amount"))])
    assert kept.amounts() == [3]


def test_series_are_apart() -> None:
    kept = Kept()
    kept.write(
        sample(at, at * abs(series_id), start=0, series_id=series_id, of=basis())
        for at in (1, 2)
        for series_id in (-5, 3)
    )
    ids = [one.entry_id for one in kept.entries.values()]
    assert len(set(ids)) == 4
    assert sorted(kept.amounts()) == [3, 3, 5, 5]


def test_times_have_the_resolution_of_a_store() -> None:
    kept = Kept()
    one = sample(1, 5, start=0, of=basis())
    kept.write([replace(one, time_unix_nano=one.time_unix_nano + 999)])
    assert kept.write([one]) == []


def test_an_entry_says_what_its_basis_says() -> None:
    about = basis("amount", region="eu-1", tags='{"team":"a"}', description="d", source="gen_ai")
    [made], cursor = compute_series_entries([sample(1, 0.1, of=about)], None, ())
    assert made.amount == Decimal("0.1")
    assert (made.region, made.tags) == ("eu-1", '{"team":"a"}')
    assert (made.source, made.billing_period) == ("gen_ai", "2023-11")
    assert cursor == CostCursor(7, made.time_unix_nano, point_of(made))


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1e18", "-1e18", "1e999999"])
def test_an_amount_that_cannot_be_kept_is_refused(amount: str) -> None:
    with pytest.raises(RowRefusedError, match="amount of a cost"):
        quantize_amount(Decimal(amount))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308])
def test_a_value_that_is_no_cost_is_refused(value: float) -> None:
    with pytest.raises(RowRefusedError):
        compute_series_entries([sample(1, value, of=basis("amount"))], None, ())


def test_amounts_have_nine_places() -> None:
    assert quantize_amount(Decimal("0.0000000015")) == Decimal("0.000000002")
    assert quantize_amount(Decimal("-999999999999999999.999999999")) == Decimal(
        "-999999999999999999.999999999"
    )


def test_a_billing_period_is_a_month_in_utc() -> None:
    assert billing_period(1_793_491_199 * SECOND) == "2026-10"
    assert billing_period(1_793_491_200 * SECOND) == "2026-11"


def test_each_point_counts_by_its_own_basis() -> None:
    kept = Kept()
    doubled = basis("hourly_rate", factor=Decimal(2))
    points = [sample(0, 3, of=doubled), sample(3_600, 3, of=doubled)]
    kept.write([*points, sample(7_200, 3, of=basis("hourly_rate"))])
    assert kept.amounts() == [0, 6, 3]
