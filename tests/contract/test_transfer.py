"""All rows are copied from any backend into any other, once, also after an interruption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise

import pytest
from kit.backends.kinds import KINDS
from kit.backends.locations import location_factory, store_factory
from kit.backends.samples import (
    NOW,
    SECOND,
    batch_of,
    cost,
    exemplar,
    exponential,
    histogram,
    point,
    series,
    summary,
)

from exporter.backends.base import Backend
from exporter.errors import BackendUnavailableError
from exporter.model import CostEntry
from exporter.query.times import TimeRange
from exporter.transfer import copy, differences
from exporter.transfer.copier import ALL_TIMES
from exporter.transfer.pages import read_series, table_pages
from exporter.transfer.row_decoders import COPIED_TABLES, CopiedTable, Row

DAY = 86_400 * SECOND


@pytest.fixture(params=["sqlite", "postgresql", "timescaledb"])
def every_target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    with opened(request, request.param, tmp_path_factory) as backend:
        yield backend


@pytest.fixture
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    with opened(request, "postgresql", tmp_path_factory) as backend:
        yield backend


@contextmanager
def opened(
    request: pytest.FixtureRequest, name: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    kind = KINDS[name]
    with store_factory(kind, location_factory(kind, request, tmp_path_factory))() as backend:
        yield backend


def fill(backend: Backend, first: int = 0, times: int = 30) -> None:
    for at in range(first, first + times):
        moment = NOW + at * DAY // 10
        backend.write(
            batch_of(
                point(1, moment, value=at + 0.5),
                point(2, moment, value=(math.nan, math.inf, -1e300)[at % 3], start=NOW - SECOND),
                point(3, moment, value=7.0, recorded=bool(at % 2)),
                new_series=tuple(series(one) for one in (1, 2, 3, 4, 5, 6)),
                histograms=(histogram(4, moment), exponential(5, moment)),
                summaries=(summary(6, moment),),
                exemplars=(exemplar(4, moment),),
                costs=(numbered_cost(at, moment),),
            )
        )


def numbered_cost(number: int, moment: int) -> CostEntry:
    return cost(
        f"entry-{number}",
        time_unix_nano=moment,
        amount=Decimal("0.123456789") * (number - 5),
        currency="EUR" if number % 2 else "USD",
        region="eu-west-1",
        tags='{"env":"prod","team":"b"}',
        description="an hour",
    )


def contents(backend: Backend) -> dict[str, Sequence[object]]:
    """All rows as values of the model, sorted."""
    found: dict[str, Sequence[object]] = {}
    for table in COPIED_TABLES:
        found[table.name] = sorted(
            tuple(map(repr, row))
            for page in table_pages(backend, table, ALL_TIMES, rows=1000)
            for row in as_model(table, page.rows)
        )
    ids = {
        row[1]
        for page in table_pages(backend, COPIED_TABLES[0], ALL_TIMES, rows=1000)
        for row in page.rows
    }
    found["series"] = sorted(map(repr, read_series(backend, ids)))
    return found


def as_model(table: CopiedTable, rows: list[Row]) -> list[tuple[object, ...]]:
    batch = table.to_batch(rows)
    points = batch.points
    numbers = zip(
        points.series_id.tolist(),
        points.time_unix_nano.tolist(),
        points.start_time_unix_nano.tolist(),
        points.value.tolist(),
        points.recorded.tolist(),
        strict=True,
    )
    others = (*batch.histograms, *batch.summaries, *batch.exemplars, *batch.costs)
    return [*numbers, *((one,) for one in others)]


def test_every_row_is_copied_unchanged(backend: Backend, every_target: Backend) -> None:
    target = every_target
    fill(backend)
    copied = {one.table: one.rows for one in copy(backend, target)}
    assert copied == {
        "system_metrics": 90,
        "metric_histograms": 60,
        "metric_summaries": 30,
        "metric_exemplars": 30,
        "cost_entries": 30,
        "cost_streams": 0,
    }
    assert contents(target) == contents(backend)
    assert list(differences(backend, target, ALL_TIMES)) == []


def test_a_second_copy_copies_only_new_rows(backend: Backend, target: Backend) -> None:
    fill(backend)
    list(copy(backend, target))
    assert sum(one.rows for one in copy(backend, target)) == 0
    fill(backend, first=30, times=3)
    assert sum(one.rows for one in copy(backend, target)) == 3 * 8
    assert contents(target) == contents(backend)


def test_a_copy_of_a_period(backend: Backend, target: Backend) -> None:
    fill(backend)
    first = (NOW + DAY) // 1_000
    time_range = TimeRange(first, first + DAY // 1_000)
    assert {one.table: one.rows for one in copy(backend, target, time_range)}[
        "system_metrics"
    ] == 30
    assert list(differences(backend, target, time_range)) == []
    assert len(list(differences(backend, target, ALL_TIMES))) > 0


def test_an_interrupted_copy_continues_where_it_stopped(
    backend: Backend, target: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.transfer.copier.PAGE_ROWS", 10)
    fill(backend)
    seen = 0

    def interrupt(_: object) -> None:
        nonlocal seen
        seen += 1
        if seen in {3, 9}:
            raise BackendUnavailableError("interrupted")

    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match="interrupted"):
            list(copy(backend, target, report=interrupt))
    list(copy(backend, target, report=interrupt))
    assert contents(target) == contents(backend)


def test_a_missing_row_is_found(backend: Backend, target: Backend) -> None:
    fill(backend)
    list(copy(backend, target))
    backend.write(batch_of(point(1, NOW + DAY // 20, value=1.0)))
    [difference] = differences(backend, target, ALL_TIMES)
    assert (difference.table, difference.source_rows - difference.target_rows) == (
        "system_metrics",
        1,
    )


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(point(2, NOW, value=1.0), id="of another series"),
        pytest.param(point(1, NOW + SECOND, value=1.0), id="of another time"),
    ],
)
def test_a_row_of_another_series_or_time_is_found(
    backend: Backend, target: Backend, other: tuple[int, int, int, float, bool]
) -> None:
    """The number of rows and the sum are equal: the target has one row twice and lacks one."""
    one = point(1, NOW, value=1.0)
    definitions = (series(1), series(2))
    backend.write(batch_of(one, other, new_series=definitions))
    target.write(batch_of(one, one, new_series=definitions))
    [difference] = differences(backend, target, ALL_TIMES)
    assert (difference.source_rows, difference.target_rows) == (2, 1)


def test_a_repeated_row_counts_once(backend: Backend, target: Backend) -> None:
    one = point(1, NOW, value=1.0)
    backend.write(batch_of(one, new_series=(series(1),)))
    target.write(batch_of(one, one, new_series=(series(1),)))
    assert list(differences(backend, target, ALL_TIMES)) == []


def test_infinities_of_both_signs_on_one_day_are_equal(backend: Backend, target: Backend) -> None:
    """Their sum is NaN, which SQLite returns as NULL."""
    rows = (point(1, NOW, value=math.inf), point(1, NOW + SECOND, value=-math.inf))
    backend.write(batch_of(*rows, new_series=(series(1),)))
    list(copy(backend, target))
    assert list(differences(backend, target, ALL_TIMES)) == []


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_pages_end_between_two_times_and_have_every_row(backend: Backend, rows: int) -> None:
    fill(backend, times=12)
    found = list(table_pages(backend, COPIED_TABLES[0], ALL_TIMES, rows=rows))
    times = [{row[0] for row in page.rows} for page in found]
    assert all(max(one) < min(other) for one, other in pairwise(times))
    assert sum(len(page.rows) for page in found) == 36
