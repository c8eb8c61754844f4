"""`import focus` and `export` on files, and on a real bill if it is present."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kit.backends.kinds import KINDS, Kind
from kit.backends.locations import config_keys
from kit.batch_builder import BatchBuilder
from typer.testing import CliRunner

from exporter.backends.base import Backend
from exporter.cli.app import app
from exporter.column_files import ColumnFileError, read_rows
from exporter.errors import ConfigError
from exporter.focus import Issuer, entry_to_row, row_ids, row_to_entry
from exporter.model import Batch, CostEntry
from exporter.query.pages import cost_pages
from exporter.query.times import TimeRange

SAMPLE = Path(__file__).parents[3] / "shared" / "corpus" / "focus" / "focus_1.0_sample.csv"
HEADER = (
    "BilledCost,EffectiveCost,BillingCurrency,BillingPeriodStart,ChargePeriodStart,"
    "ServiceCategory,ServiceName,Tags\n"
)
TIMES = "2026-10-01T00:00:00Z,2026-10-01T00:00:00Z"
GOOD = f'1.5,1,USD,{TIMES},Compute,EC2,"{{""team"":""a""}}"\n'


def invoke(*arguments: object) -> tuple[int, str]:
    """The exit code and stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stderr


def run(*arguments: object) -> str:
    exit_code, said = invoke(*arguments)
    assert exit_code == 0, said
    return said


@dataclass(frozen=True)
class Db:
    """A database, with the options that name it on the command line."""

    kind: Kind
    location: str
    options: tuple[str, ...]

    @contextmanager
    def opened(self) -> Iterator[Backend]:
        with closing(self.kind.make(self.location)) as backend:
            backend.start()
            yield backend

    def entries(self) -> list[CostEntry]:
        with self.opened() as backend:
            pages = cost_pages(backend, TimeRange(None, None))
            # Each database has its own spelling of JSON.
            return [
                replace(one, tags=json.dumps(json.loads(one.tags), sort_keys=True))
                for page in pages
                for one in page
            ]


def exported(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


@pytest.fixture(params=[name for name, one in KINDS.items() if one.keeps])
def store_kind(request: pytest.FixtureRequest) -> Kind:
    """Every backend but memory, whose data ends with a command; it has a test of its own."""
    return KINDS[request.param]


@pytest.fixture
def db(store_kind: Kind, location: str, tmp_path: Path) -> Db:
    return database(store_kind, location, tmp_path)


def database(kind: Kind, location: str, folder: Path) -> Db:
    config = folder / "otel-config.yaml"
    config.write_text(json.dumps({"exporters": {"openfinops": config_keys(kind, location)}}))
    return Db(kind, location, ("--config", str(config)))


def test_what_nobody_is_billed_for_is_not_exported(db: Db, tmp_path: Path) -> None:
    time = 1_790_000_000_000_000_000
    billed, notional = (
        CostEntry(currency, time, "m-1", "ai", Decimal(2), currency)
        for currency in ("USD", "USD notional")
    )
    with db.opened() as backend:
        backend.write(Batch(costs=(billed, notional)))
    run("export", "costs", *db.options, "--output", tmp_path / "costs.csv")
    assert [row["BillingCurrency"] for row in exported(tmp_path / "costs.csv")] == ["USD"]


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} does not exist")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_real_bill_is_imported_and_exported_unchanged(tmp_path: Path, db: Db, kind: str) -> None:
    pytest.importorskip("pyarrow")
    assert "1,000 rows read: 1,000 are stored, 0 were refused" in run(
        "import", "focus", SAMPLE, *db.options
    )
    first = db.entries()
    run("import", "focus", SAMPLE, *db.options)
    assert db.entries() == first
    assert len(first) == 1_000
    out = tmp_path / f"out.{kind}"
    run("export", "costs", *db.options, "-o", out, "-f", f"focus-{kind}", "--focus-version", "1.0")
    rows = exported(out)
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("20.52022672899")
    assert sum(Decimal(row["EffectiveCost"]) for row in rows) == Decimal("14.97651418586")
    # Every cell of these columns of the bill is unchanged.
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        originals = list(csv.DictReader(file))
    for column in ("ProviderName", "ServiceCategory", "SkuId", "ChargeCategory", "ResourceId"):
        expected = sorted(row[column].replace("NULL", "") for row in originals)
        assert sorted(row[column] or "" for row in rows) == expected
    (tmp_path / "again").mkdir()
    again = database(KINDS["sqlite"], str(tmp_path / "again"), tmp_path / "again")
    run("import", "focus", out, *again.options)
    assert again.entries() == first


def test_rows_that_do_not_conform_are_named_with_their_line(tmp_path: Path, db: Db) -> None:
    bill = tmp_path / "bill.csv"
    lines = [
        GOOD,
        f",1,USD,{TIMES},Compute,EC2,\n",
        f"1,1,XYZ,{TIMES},Compute,EC2,\n",
        f'2,1,USD,{TIMES},,"two\nlines",not json\n',
        f"-0.5,1,EUR,{TIMES},,S3,\n",
        "1,1\n",
    ]
    bill.write_text(HEADER + "".join(lines), encoding="utf-8")
    exit_code, said = invoke("import", "focus", bill, *db.options)
    assert exit_code == 1
    assert said.splitlines() == [
        f"warning: {bill}:3: BilledCost is missing",
        f"warning: {bill}:4: BillingCurrency 'XYZ' is not an ISO 4217 currency",
        f"warning: {bill}:8: ChargePeriodStart is missing",
        "6 rows read: 3 are stored, 3 were refused",
        "EUR -0.5",
        "USD 3.5",
        (
            "warning: some cells are empty or could not be read: "
            f"ServiceCategory: 2, stored as other, the first in {bill}:6; "
            f"Tags: 1, stored as a tag with its text, the first in {bill}:6"
        ),
    ]
    assert len(db.entries()) == 3


def test_a_bill_of_ten_years_ago_is_stored_and_stays(tmp_path: Path, db: Db) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text(HEADER + GOOD.replace("2026-10", "2016-10"), encoding="utf-8")
    assert run("import", "focus", bill, *db.options).splitlines() == [
        "1 rows read: 1 are stored, 0 were refused",
        "USD 1.5",
    ]
    run("cleanup", *db.options)
    run("cleanup", "--costs-older-than", "30d", *db.options)
    assert len(db.entries()) == 1


def test_old_entries_of_an_export_are_named_because_they_expire(tmp_path: Path, db: Db) -> None:
    bill = tmp_path / "bill.csv"
    own = "x_EntryId,x_Source," + HEADER + "e-1,log," + GOOD.replace("2026-10", "2016-10")
    bill.write_text(own, encoding="utf-8")
    warning = run("import", "focus", bill, *db.options).splitlines()[-1]
    assert warning.startswith(
        "warning: some are not from a bill and older than cost_retention_days (1095)"
    )
    run("cleanup", *db.options)
    assert db.entries() == []


def test_equal_rows_are_separate_entries_and_a_repeated_import_adds_none(
    tmp_path: Path, db: Db
) -> None:
    bill, part = tmp_path / "bill.csv", tmp_path / "part.csv"
    bill.write_text(HEADER + GOOD * 3, encoding="utf-8")
    part.write_text(HEADER + GOOD, encoding="utf-8")
    for _ in range(2):
        assert "USD 6" in run("import", "focus", bill, part, *db.options)
        assert len(db.entries()) == 4


def test_a_bill_longer_than_a_batch(tmp_path: Path, db: Db) -> None:
    bill = tmp_path / "bill.csv"
    rows = "".join(f"0.{number:09},0,USD,{TIMES},Compute,EC2,\n" for number in range(12_000))
    bill.write_text(HEADER + rows, encoding="utf-8")
    assert "12,000 rows read: 12,000 are stored" in run("import", "focus", bill, *db.options)
    out = tmp_path / "out.csv"
    assert "12,000 cost entries" in run("export", "costs", *db.options, "--output", out)
    costs = [Decimal(row["BilledCost"]) for row in exported(out)]
    assert sorted(costs) == [Decimal(number).scaleb(-9) for number in range(12_000)]


def test_the_effective_cost_can_be_the_amount(tmp_path: Path, db: Db) -> None:
    bill, out = tmp_path / "bill.csv", tmp_path / "out.csv"
    bill.write_text(HEADER + GOOD, encoding="utf-8")
    assert "USD 1\n" in run("import", "focus", bill, "--cost", "EffectiveCost", *db.options)
    run("export", "costs", *db.options, "-o", out)
    (row,) = exported(out)
    assert [row[name] for name in ("BilledCost", "EffectiveCost", "x_Amount")] == ["1.5", "1", "1"]


def test_own_entries_are_exported_with_the_given_provider(tmp_path: Path, db: Db) -> None:
    entries = [
        CostEntry(f"e-{day}", day * 86_400 * 10**9, "vm", "gpu", Decimal(day), "USD")
        for day in range(20_000, 20_004)
    ]
    with db.opened() as backend:
        backend.write(Batch(costs=tuple(entries)))
    out = tmp_path / "out.csv"
    limits = ("--since", str(20_001 * 86_400), "--until", str(20_003 * 86_400))
    run("export", "costs", *db.options, "-o", out, "--provider", "Acme", *limits)
    rows = exported(out)
    assert [row["x_EntryId"] for row in rows] == ["e-20001", "e-20002"]
    assert {row["ProviderName"] for row in rows} == {"Acme"}
    assert {row["ServiceCategory"] for row in rows} == {"AI and Machine Learning"}


def test_a_file_without_focus_columns_is_refused(tmp_path: Path, db: Db) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ColumnFileError, match=r"no column BilledCost, BillingCurrency, .*FOCUS"):
        invoke("import", "focus", path, *db.options)


def test_memory_and_unknown_versions_are_refused(tmp_path: Path) -> None:
    db = tmp_path / "costs.db"
    with pytest.raises(ConfigError, match="memory ends with this command"):
        invoke("import", "focus", tmp_path / "x.csv", "--backend", "memory")
    exit_code, said = invoke("export", "costs", "--db", db, "-o", "x.csv", "--focus-version", "2.0")
    assert exit_code == 2
    assert "'2.0' is not one of" in said
    assert not db.exists()


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} does not exist")
def test_a_real_bill_in_the_memory_backend() -> None:
    """With the Python API, because the data in memory ends with a command."""
    with closing(KINDS["memory"].make("")) as backend, row_ids() as next_id:
        backend.start()
        entries = [
            row_to_entry(row, partial(next_id, row), "BilledCost") for _, row in read_rows(SAMPLE)
        ]
        for _ in range(2):
            backend.write(Batch(costs=tuple(entries)))
        found = [one for page in cost_pages(backend, TimeRange(None, None)) for one in page]
    rows = [entry_to_row(one, Issuer("OpenFinOps", None)) for one in found]
    assert len(rows) == 1_000
    assert sum(row["BilledCost"] for row in rows) == Decimal("20.52022672899")
    assert sum(row["EffectiveCost"] for row in rows) == Decimal("14.97651418586")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_points_of_every_type_are_exported(tmp_path: Path, db: Db, kind: str) -> None:
    pytest.importorskip("pyarrow")
    store = BatchBuilder().gauge("level", [(1.5, 0.1), (2.5, None)], attributes={"color": "grün"})
    store.counter("total", [(3, 7.0)], start=1, service="shop")
    store.histogram("size", [{"time": 4, "counts": (1, 2), "sum": 9.0}], bounds=(5.0,))
    store.summary("old", [{"time": 5, "count": 3, "sum": 6.0, "quantiles": {0.5: 2.0}}])
    with db.opened() as backend:
        store.write(backend)
    out = tmp_path / f"points.{kind}"
    assert "5 points written" in run("export", "metrics", *db.options, "-o", out, "-f", kind)
    rows = exported(out)
    level = next(row for row in rows if row["metric_name"] == "level" and row["value"])
    assert json.loads(level["attributes"]) == {"color": "grün"}
    assert float(level["value"]) == 0.1
    assert str(level["time"]).replace("T", " ").startswith("1970-01-01 00:00:01.5")
    size = next(row for row in rows if row["metric_name"] == "size")
    assert (json.loads(size["bounds"]), json.loads(size["bucket_counts"])) == ([5.0], [1, 2])
    old = next(row for row in rows if row["metric_name"] == "old")
    assert json.loads(old["quantiles"]) == [{"quantile": 0.5, "value": 2.0}]
    run("export", "metrics", *db.options, "-o", out, "-f", kind, "--metric", "total")
    (total,) = exported(out)
    assert (total["service_name"], str(total["start_time"])[:19].replace("T", " ")) == (
        "shop",
        "1970-01-01 00:00:01",
    )
