"""A receiver that continues at the target computes the costs that the source would have had."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.backends.kinds import KINDS, StoreFactory
from kit.backends.locations import location_factory, store_factory
from kit.backends.samples import NOW, SECOND, batch_of, point, series

from exporter.backends.base import Backend
from exporter.errors import BackendUnavailableError
from exporter.model import CostBasis, CostKind, CostSample
from exporter.query import Reader
from exporter.query.times import TimeRange
from exporter.transfer import copy, differences
from exporter.transfer.copier import ALL_TIMES

KIND_OF: dict[int, CostKind] = {1: "cumulative", 2: "hourly_rate", 3: "amount", 4: "cumulative"}


@pytest.fixture(scope="session", params=KINDS)
def new_target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> StoreFactory:
    """Makes a started, empty backend of each kind for a `with` block."""
    kind = KINDS[request.param]
    return store_factory(kind, location_factory(kind, request, tmp_path_factory))


def sample(series_id: int, at: int, value: float, start: int = 0) -> CostSample:
    """A point `at` seconds after NOW, of a total that began `start` seconds before."""
    kind = KIND_OF[series_id]
    basis = CostBasis(kind, Decimal("1.1"), 3_600.0, f"i-{series_id}", "compute", "USD")
    begin = NOW - start * SECOND if start else 0
    return CostSample(series_id, NOW + at * SECOND, begin, value, basis)


def store(backend: Backend, samples: Sequence[CostSample]) -> None:
    """Write points with their definitions and cost samples, as a receiver does."""
    ids = sorted({one.series_id for one in samples})
    backend.write(
        batch_of(
            *(point(one.series_id, one.time_unix_nano, one.value) for one in samples),
            new_series=tuple(map(series, ids)),
            cost_samples=tuple(samples),
        )
    )


def entries(backend: Backend) -> list[dict[str, object]]:
    """All entries with exact amounts, by id."""
    rows = Reader(backend).query_historical_costs(limit=10_000)
    return sorted(rows, key=lambda row: str(row["entry_id"]))


def total(backend: Backend) -> Decimal:
    return sum((row["amount"] for row in Reader(backend).cost_totals()), Decimal(0))


def samples_between(first: int, last: int) -> list[CostSample]:
    """Totals that reset, rates and amounts, one point of each a minute."""
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


def test_costs_before_and_after_a_copy_equal_those_of_one_store(
    backend: Backend, new_store: StoreFactory, new_target: StoreFactory
) -> None:
    store(backend, samples_between(0, 30))
    with new_target() as target, new_store() as not_copied:
        store(not_copied, samples_between(0, 30))
        copied = {one.table: one.rows for one in copy(backend, target)}
        assert (copied["cost_entries"], copied["cost_streams"]) == (120, 4)
        assert entries(target) == entries(backend)
        for one in (not_copied, target):
            store(one, samples_between(30, 60))
            store(one, [sample(1, 15 * 60 + 7, 13.9, start=3_600), sample(2, -60, 9.0)])  # late
        assert entries(target) == entries(not_copied)
        assert total(target) == total(not_copied)


@settings(max_examples=10)
@given(data=st.data())
def test_costs_are_equal_for_any_cut_between_source_and_target(
    new_store: StoreFactory, new_target: StoreFactory, data: st.DataObject
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
    with new_store() as source, new_store() as not_copied, new_target() as target:
        for one in (source, not_copied):
            store(one, before)
        list(copy(source, target))
        list(copy(source, target))
        for one in (not_copied, target):
            store(one, after)
        assert entries(target) == entries(not_copied)


def test_totals_are_counted_from_deleted_entries(
    backend: Backend, new_target: StoreFactory
) -> None:
    """Retention keeps streams, so that a total is not counted as a whole again."""
    store(backend, [sample(1, 0, 100.0, start=3_600)])
    backend.delete_before(NOW + 2 * 86_400 * SECOND)
    with new_target() as target:
        assert {one.table: one.rows for one in copy(backend, target)}["cost_streams"] == 1
        store(target, [sample(1, 3 * 86_400, 101.0, start=3_600)])
        assert total(target) == Decimal("1.1")


def test_a_copy_up_to_an_end_has_the_streams_of_that_time(
    backend: Backend, new_target: StoreFactory
) -> None:
    store(backend, samples_between(0, 20))
    with new_target() as target:
        end = TimeRange(None, (NOW + 10 * 60 * SECOND) // 1_000)
        list(copy(backend, target, end))
        assert target.fetch("SELECT COUNT(*) FROM cost_entries") == [(40,)]
        store(target, samples_between(10, 20))
        assert entries(target) == entries(backend)


def test_an_interrupted_copy_of_streams_is_completed(
    backend: Backend, new_target: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.transfer.copier.PAGE_ROWS", 3)
    store(backend, samples_between(0, 5))

    def interrupt(progress: object) -> None:
        if getattr(progress, "table", "") == "cost_streams":
            raise BackendUnavailableError("interrupted")

    with new_target() as target:
        with pytest.raises(BackendUnavailableError, match="interrupted"):
            list(copy(backend, target, report=interrupt))
        (found,) = differences(backend, target, ALL_TIMES)
        assert (found.table, found.source_rows, found.target_rows) == ("cost_streams", 4, 3)
        list(copy(backend, target))
        assert list(differences(backend, target, ALL_TIMES)) == []
        for one in (backend, target):
            store(one, samples_between(5, 9))
        assert entries(target) == entries(backend)


def test_entries_that_both_stores_have_are_those_of_the_source(
    backend: Backend, new_target: StoreFactory
) -> None:
    """The target started a total anew, with points that the source has too."""
    store(backend, samples_between(0, 20))
    with new_target() as target:
        store(target, samples_between(10, 20))
        list(copy(backend, target))
        assert entries(target) == entries(backend)
        assert "cost_entries" not in {one.table for one in differences(backend, target, ALL_TIMES)}
        for one in (backend, target):
            store(one, samples_between(20, 25))
        assert entries(target) == entries(backend)
