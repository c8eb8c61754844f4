"""A PostgreSQL URL that leads to TimescaleDB: commands that read find out by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from engines.databases import Databases
from kit.backends.kinds import KINDS
from kit.backends.samples import batch_of, flood, series
from typer.testing import CliRunner

from exporter.cli.app import app
from exporter.model import Batch

POINTS = 50


@pytest.fixture(scope="module")
def database(timescaledb_server: Databases) -> Iterator[str]:
    """The URL of a database that the backend timescaledb has filled."""
    kind = KINDS["timescaledb"]
    with timescaledb_server.fresh() as dsn:
        with closing(kind.make(dsn)) as backend:
            backend.start()
            backend.write(batch_of(new_series=(series(0),)))
            backend.write(Batch(points=flood(POINTS, ids=1)))
        yield dsn


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENFINOPS_BACKEND", "OPENFINOPS_DB_URL"):
        monkeypatch.delenv(name, raising=False)


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize(
    "command",
    [
        ("export", "metrics", "--output", "points.csv"),
        ("export", "costs", "--output", "costs.csv"),
        ("query", "list"),
        ("query", "series"),
        ("query", "metrics"),
        ("query", "costs"),
        ("report",),
        ("stats",),
        ("cleanup", "--dry-run"),
        ("cleanup", "--older-than", "36500d"),
    ],
    ids=" ".join,
)
def test_the_backend_is_detected(database: str, command: tuple[str, ...]) -> None:
    said = invoke(*command, "--db", database)
    if command[0] in {"stats", "cleanup"}:
        assert said.startswith("timescaledb ")


def test_an_export_is_complete(database: str, tmp_path: Path) -> None:
    assert f"{POINTS} points written" in invoke(
        "export", "metrics", "--output", "points.csv", "--db", database
    )
    assert len((tmp_path / "points.csv").read_text().splitlines()) == POINTS + 1


def test_import_and_migrate(database: str, tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_text(
        "BillingCurrency,BillingPeriodStart,ChargePeriodStart,ServiceCategory,BilledCost\n"
        "USD,2026-11-01T00:00:00Z,2026-11-02T00:00:00Z,Compute,1.5\n"
    )
    assert "1 are stored" in invoke("import", "focus", "bill.csv", "--db", database)
    invoke("migrate", "--from", database, "--to", "copy.db")
    assert f"{POINTS} points written" in invoke(
        "export", "metrics", "--output", "copy.csv", "--db", "copy.db"
    )


def test_check_uses_the_backend_of_the_settings(database: str) -> None:
    result = CliRunner().invoke(app, ["check", "--db", database])
    assert result.exit_code != 0
    assert "set backend: timescaledb" in str(result.exception)
