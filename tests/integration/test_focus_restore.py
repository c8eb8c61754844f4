"""An export of costs is imported into a new store, and the counters go on there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engines.databases import Databases
from kit.backends.kinds import KINDS
from typer.testing import CliRunner

from exporter.backends.base import Backend
from exporter.cli.app import app
from exporter.model import Batch, CostBasis, CostSample
from exporter.query import Reader

SECOND = 1_000_000_000
NOW = 1_795_453_200 * SECOND + 123_456_000
START = NOW - 3_600 * SECOND
TOTAL = CostBasis(
    "cumulative", Decimal(1), 600.0, "vm-1", "compute", "USD", source_name="acme.spend"
)
RATE = replace(TOTAL, kind="hourly_rate", has_known_starts=False)
AMOUNT = replace(TOTAL, kind="amount")

Points = Sequence[tuple[int, int, float]]


def samples(points: Points, basis: CostBasis = TOTAL, series_id: int = 7) -> Batch:
    """Points as (seconds after NOW, start in nanoseconds, value)."""
    return Batch(
        cost_samples=tuple(
            CostSample(series_id, NOW + at * SECOND, start, value, basis)
            for at, start, value in points
        )
    )


def own_times(*values: float) -> Points:
    """Points whose start is their own time, one a minute."""
    return [(60 * at, NOW + 60 * at * SECOND, value) for at, value in enumerate(values)]


def total(backend: Backend) -> Decimal:
    rows = Reader(backend).cost_totals()
    return sum((row["amount"] for row in rows), Decimal(0))


def run(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@pytest.fixture
def old(tmp_path: Path) -> Any:
    (tmp_path / "old").mkdir()
    return tmp_path / "old"


def sqlite(folder: Path) -> Backend:
    backend = KINDS["sqlite"].make(str(folder))
    backend.start()
    return backend


CASES: dict[str, tuple[Points, CostBasis, Points, str]] = {
    "a known start": ([(0, START, 40), (60, START, 100)], TOTAL, [(120, START, 110)], "110"),
    "an unknown start": ([(0, 0, 40), (60, 0, 100)], TOTAL, [(120, 0, 110)], "70"),
    "one point without a start": ([(0, 0, 40)], TOTAL, [(60, 0, 50)], "10"),
    "a total that rests": (
        [(0, START, 40), (60, START, 40)],
        TOTAL,
        [(120, START, 50)],
        "50",
    ),
    "two processes": (
        [(0, START, 5), (1, START + 5 * SECOND, 2), (60, START, 6)],
        TOTAL,
        [(61, START + 5 * SECOND, 3), (120, START, 7)],
        "10",
    ),
    "starts that are times": (own_times(10, 20), TOTAL, own_times(0, 0, 30)[2:], "20"),
    "one start that is a time": (own_times(10), TOTAL, own_times(0, 25)[1:], "15"),
    "a restart": ([(0, START, 40), (60, NOW, 5)], TOTAL, [(120, NOW, 8)], "48"),
    "a rate": ([(0, 0, 36), (100, 0, 36)], RATE, [(200, 0, 36)], "2"),
    "amounts": ([(0, START, 4)], AMOUNT, [(-60, START, 2), (60, NOW, 3)], "9"),
    "a late point": (
        [(60, START, 40), (120, START, 100)],
        TOTAL,
        [(0, START, 10), (90, START, 60), (180, START, 110)],
        "110",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_counter_goes_on_after_a_restore(old: Path, tmp_path: Path, case: str, kind: str) -> None:
    before, basis, after, expected = CASES[case]
    with closing(sqlite(old)) as store:
        store.write(samples(before, basis))
    bill = tmp_path / f"costs.{kind}"
    run("export", "costs", "--format", f"focus-{kind}", "-o", bill, "--db", old / "store.db")
    run("import", "focus", bill, "--db", tmp_path / "store.db")
    with closing(sqlite(tmp_path)) as store:
        store.write(samples(after, basis))
        assert total(store) == Decimal(expected)
    # As if nothing had happened in between.
    with closing(sqlite(old)) as store:
        store.write(samples(after, basis))
        assert total(store) == Decimal(expected)


def test_an_export_of_a_part_is_counted_from_its_first_point(old: Path, tmp_path: Path) -> None:
    with closing(sqlite(old)) as store:
        store.write(samples([(0, START, 70), (60, START, 80), (120, START, 100)]))
    bill, since = tmp_path / "costs.csv", "2026-11-23T17:00:30Z"
    run("export", "costs", "--since", since, "-o", bill, "--db", old / "store.db")
    run("import", "focus", bill, "--db", tmp_path / "store.db")
    with closing(sqlite(tmp_path)) as store:
        assert total(store) == 30
        store.write(samples([(0, START, 70), (30, START, 75), (180, START, 110)]))
        assert total(store) == 40


def test_an_entry_that_has_changed_since_the_export_stays(tmp_path: Path) -> None:
    bill, db = tmp_path / "costs.csv", tmp_path / "store.db"
    with closing(sqlite(tmp_path)) as store:
        store.write(samples([(0, START, 40), (60, START, 100)]))
    run("export", "costs", "-o", bill, "--db", db)
    with closing(sqlite(tmp_path)) as store:
        store.write(samples([(30, START, 70), (120, START, 110)]))
    run("import", "focus", bill, "--db", db)
    with closing(sqlite(tmp_path)) as store:
        assert total(store) == 110
        store.write(samples([(45, START, 80), (-30, START, 20), (180, START, 120)]))
        assert total(store) == 120


def test_a_counter_goes_on_in_another_database(
    old: Path, tmp_path: Path, postgresql_server: Databases
) -> None:
    bill = tmp_path / "costs.csv"
    with closing(sqlite(old)) as store:
        store.write(samples([(0, START, 40), (60, START, 100)]))
        store.write(samples([(0, 0, 1), (60, 0, 1)], series_id=8))
    run("export", "costs", "-o", bill, "--db", old / "store.db")
    with postgresql_server.fresh() as dsn:
        run("import", "focus", bill, "--backend", "postgresql", "--db", dsn)
        run("import", "focus", bill, "--backend", "postgresql", "--db", dsn)
        with closing(KINDS["postgresql"].make(dsn)) as store:
            store.start()
            store.write(samples([(120, START, 110)]))
            store.write(samples([(120, 0, 4)], series_id=8))
            assert total(store) == 113
