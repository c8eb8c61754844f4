"""A receiver that goes on at the target computes the costs that it would have at the source."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.backends.kinds import KINDS, NewStore
from kit.backends.places import new_place_of, new_store_of
from kit.backends.samples import NOW, SECOND, batch_of, point, series

from exporter.backends.base import Backend
from exporter.errors import BackendUnavailableError
from exporter.model import CostBasis, CostKind, CostSample
from exporter.query import Reader
from exporter.query.filters import TimeRange
from exporter.transfer import copy, differences
from exporter.transfer.copier import ALL_TIMES

EVERYTHING = TimeRange(None, None)
KIND_OF: dict[int, CostKind] = {1: "cumulative", 2: "hourly_rate", 3: "amount", 4: "cumulative"}


@pytest.fixture(scope="session", params=KINDS)
def new_target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> NewStore:
    """Makes a started, empty backend of every kind, for the length of a `with` block."""
    kind = KINDS[request.param]
    return new_store_of(kind, new_place_of(kind, request, tmp_path_factory))


def sample(series_id: int, at: int, value: float, start: int = 0) -> CostSample:
    """A point `at` seconds after NOW, of a total that began `start` seconds before."""
    kind = KIND_OF[series_id]
    basis = CostBasis(kind, Decimal("1.1"), 3_600.0, f"i-{series_id}", "compute", "USD")
    begin = NOW - start * SECOND if start else 0
    return CostSample(series_id, NOW + at * SECOND, begin, value, basis)


def store(backend: Backend, samples: Sequence[CostSample]) -> None:
    """As a receiver does: points with their definitions, and what they cost."""
    ids = sorted({one.series_id for one in samples})
    backend.write(
        batch_of(
            *(point(one.series_id, one.time_unix_nano, one.value) for one in samples),
            new_series=tuple(map(series, ids)),
            cost_samples=tuple(samples),
        )
    )


def entries(backend: Backend) -> list[dict[str, object]]:
    """All of them, exactly, in one order."""
    rows = Reader(backend).query_historical_costs(limit=10_000)
    return sorted(rows, key=lambda row: str(row["entry_id"]))


def total(backend: Backend) -> Decimal:
    return sum((row["amount"] for row in Reader(backend).cost_totals()), Decimal(0))


def day_of(first: int, last: int) -> list[CostSample]:
    """Totals that reset, rates and amounts, a point of each a minute."""
    return [
        one
        for at in range(first, last)
        for one in (
            sample(1, at * 60, 10.0 + at * 0.25, start=3_600),
            sample(2, at * 60, 1.5 + at % 3),
            sample(3, at * 60, 0.125),
            sample(4, at * 60, float(at % 7)),
        )
    ]


def test_half_before_and_half_after_come_to_what_all_at_one_place_do(
    backend: Backend, new_store: NewStore, new_target: NewStore
) -> None:
    store(backend, day_of(0, 30))
    with new_target() as target, new_store() as stayed:
        store(stayed, day_of(0, 30))
        copied = {one.table: one.rows for one in copy(backend, target)}
        assert (copied["cost_entries"], copied["cost_cursors"]) == (120, 4)
        assert entries(target) == entries(backend)
        for one in (stayed, target):
            store(one, day_of(30, 60))
            store(one, [sample(1, 15 * 60 + 7, 13.9, start=3_600), sample(2, -60, 9.0)])  # late
        assert entries(target) == entries(stayed)
        assert total(target) == total(stayed)


@settings(max_examples=10)
@given(data=st.data())
def test_wherever_the_points_are_cut(
    new_store: NewStore, new_target: NewStore, data: st.DataObject
) -> None:
    points = st.builds(
        sample,
        st.sampled_from(list(KIND_OF)),
        st.integers(1, 40),
        st.integers(0, 9),
        st.sampled_from([0, 60]),
    )
    runs = st.lists(points, max_size=12, unique_by=lambda one: (one.series_id, one.time_unix_nano))
    before, after = data.draw(runs), data.draw(runs)
    with new_store() as source, new_store() as stayed, new_target() as target:
        for one in (source, stayed):
            store(one, before)
        list(copy(source, target))
        list(copy(source, target))
        for one in (stayed, target):
            store(one, after)
        assert entries(target) == entries(stayed)


def test_deleted_entries_are_counted_from_all_the_same(
    backend: Backend, new_target: NewStore
) -> None:
    """Retention leaves cursors, and a total must not be counted whole once more."""
    store(backend, [sample(1, 0, 100.0, start=3_600)])
    backend.delete_before(NOW + 2 * 86_400 * SECOND)
    with new_target() as target:
        assert {one.table: one.rows for one in copy(backend, target)}["cost_cursors"] == 1
        store(target, [sample(1, 3 * 86_400, 101.0, start=3_600)])
        assert total(target) == Decimal("1.1")


def test_an_end_leaves_cursors_as_they_were_then(backend: Backend, new_target: NewStore) -> None:
    store(backend, day_of(0, 20))
    with new_target() as target:
        end = TimeRange(None, (NOW + 10 * 60 * SECOND) // 1_000)
        list(copy(backend, target, end))
        assert target.fetch("SELECT COUNT(*) FROM cost_entries") == [(40,)]
        store(target, day_of(10, 20))
        assert entries(target) == entries(backend)


def test_an_interruption_among_cursors_is_made_up_for(
    backend: Backend, new_target: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.transfer.copier.PAGE_ROWS", 3)
    store(backend, day_of(0, 5))

    def interrupt(progress: object) -> None:
        if getattr(progress, "table", "") == "cost_cursors":
            raise BackendUnavailableError("interrupted")

    with new_target() as target:
        with pytest.raises(BackendUnavailableError, match="interrupted"):
            list(copy(backend, target, report=interrupt))
        (found,) = differences(backend, target, ALL_TIMES)
        assert (found.table, found.source_rows, found.target_rows) == ("cost_cursors", 4, 3)
        list(copy(backend, target))
        assert list(differences(backend, target, ALL_TIMES)) == []
        for one in (backend, target):
            store(one, day_of(5, 9))
        assert entries(target) == entries(backend)


def test_what_two_receivers_had_at_once_is_the_sources(
    backend: Backend, new_target: NewStore
) -> None:
    """A target that began with a total anew, with points that the source had as well."""
    store(backend, day_of(0, 20))
    with new_target() as target:
        store(target, day_of(10, 20))
        list(copy(backend, target))
        assert entries(target) == entries(backend)
        assert "cost_entries" not in {one.table for one in differences(backend, target, EVERYTHING)}
        for one in (backend, target):
            store(one, day_of(20, 25))
        assert entries(target) == entries(backend)
