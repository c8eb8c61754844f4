"""`query costs` and `report` on a real file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from kit.backends.kinds import KINDS, Kind
from kit.backends.locations import config_keys, location_factory
from typer.testing import CliRunner

from exporter.cli.app import app
from exporter.errors import QueryError
from exporter.model import Batch, CostEntry

DAY = 86_400
START = 1_793_491_200  # 2026-11-01
ALL = ("--start", "2026-11-01", "--end", "2026-11-11")


def entry(day: int, category: str, amount: str, **different: Any) -> CostEntry:
    values: dict[str, Any] = {
        "entry_id": f"{category}-{day}",
        "time_unix_nano": (START + day * DAY) * 1_000_000_000,
        "resource_id": f"{category}-1",
        "category": category,
        "amount": Decimal(amount),
        "currency": "USD",
        "tags": '{"team":"search"}' if category == "compute" else "{}",
    }
    return CostEntry(**values | different)


@pytest.fixture(scope="module", params=[name for name, one in KINDS.items() if one.keeps])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The configuration file of a filled database; one for all tests of a backend."""
    kind, folder = KINDS[request.param], tmp_path_factory.mktemp("costs")
    with location_factory(kind, request, tmp_path_factory)() as location:
        fill(kind, location)
        config = folder / "otel-config.yaml"
        config.write_text(json.dumps({"exporters": {"openfinops": config_keys(kind, location)}}))
        yield str(config)


def fill(kind: Kind, location: str) -> None:
    days = range(-10, 10)
    costs = [entry(day, "compute", "0.10" if day >= 0 else "0.08") for day in days]
    costs += [entry(day, "storage", "0.05") for day in days]
    costs.append(entry(3, "license", "7", currency="EUR"))
    with closing(kind.make(location)) as backend:
        backend.start()
        backend.write(Batch(costs=tuple(costs)))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result.stdout


def rows(store: str, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        run("query", "costs", "--config", store, "-f", "json", *arguments)
    )
    return found


def test_entries_newest_first_and_filtered(store: str) -> None:
    found = rows(store, *ALL, "--category", "compute", "--limit", "3")
    assert [row["entry_id"] for row in found] == ["compute-9", "compute-8", "compute-7"]
    assert found[0]["amount"] == 0.1
    assert found[0]["tags"] == {"team": "search"}
    assert rows(store, "--resource", "license-1")[0]["currency"] == "EUR"
    assert {row["category"] for row in rows(store, "--tag", "team=search")} == {"compute"}


def test_totals_are_exact_and_by_currency(store: str) -> None:
    found = rows(store, *ALL, "--group-by", "category")
    assert [(row["currency"], row["category"], row["amount"]) for row in found] == [
        ("EUR", "license", 7.0),
        ("USD", "compute", 1.0),
        ("USD", "storage", 0.5),
    ]
    assert [row["entries"] for row in found] == [1, 10, 10]


def test_totals_by_time_and_tag(store: str) -> None:
    text = run("query", "costs", "--config", store, *ALL, "-b", "5d", "-g", "team", "-f", "csv")
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    usd = [row for row in found if row["currency"] == "USD"]
    assert {row["team"] for row in usd} == {"search", ""}
    assert sum(Decimal(row["amount"]) for row in usd) == Decimal("1.5")


def test_a_table_shows_cents(store: str) -> None:
    table = run("query", "costs", "--config", store, *ALL, "--group-by", "billing_period")
    assert "2026-11" in table
    assert "1.50" in table


def test_a_report_compares_with_the_previous_period(store: str) -> None:
    text = run("report", "--config", store, *ALL)
    assert "EUR 7.00  (the same time before: 0.00)" in text
    assert "USD 1.50  (the same time before: 1.30, +15.4 %)" in text
    assert sum(line.startswith("2026-11-") for line in text.splitlines()) == 20


def test_a_report_adds_up_the_others(store: str) -> None:
    text = run("report", "--config", store, *ALL, "--top", "1")
    assert text.count("1 others") == 2


def test_a_report_as_html(store: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run("report", "--config", store, *ALL, "--html", str(page)) == ""
    assert "1.50 USD" in page.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_an_error(store: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="No such file"):
        run("report", "--config", store, *ALL, "--html", str(tmp_path / "no" / "report.html"))


@pytest.mark.parametrize(
    "period",
    [("--start", "2026-11-02", "--end", "2026-11-01"), (*ALL, "--bucket", "1s")],
    ids=["backwards", "too many buckets"],
)
def test_an_invalid_period(store: str, period: tuple[str, ...]) -> None:
    with pytest.raises(QueryError, match="report: "):
        run("report", "--config", store, *period)


def test_no_match_is_reported(store: str) -> None:
    result = CliRunner().invoke(app, ["query", "costs", "--config", store, "--category", "none"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No cost entry matches" in result.stderr
