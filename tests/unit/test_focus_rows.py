"""Cost entries as rows of FOCUS, and rows as cost entries."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.column_files import Column, Row
from exporter.costs.entry_calculation import billing_period, quantize_amount
from exporter.focus import (
    FocusRowError,
    FocusVersion,
    Issuer,
    OddCell,
    columns_of,
    entry_to_row,
    row_ids,
    row_to_entry,
)
from exporter.focus.specification import entry_category, service_category
from exporter.model import CostBasis, CostEntry, CostPoint, CostSource, SeriesPoint

NOW = 1_795_453_445_678_901_000  # 2026-11-23T17:04:05.678901Z
ENTRY = CostEntry(
    entry_id="e-1",
    time_unix_nano=NOW,
    resource_id="vm-1",
    category="compute",
    amount=Decimal("1.250000000"),
    currency="EUR",
    region="eu-west-1",
    cluster_id="production",
    node_id="node-7",
    service_name="shop",
    tags='{"cores":4,"spot":true,"team":"a"}',
    description="a machine",
    billing_period="2026-11",
    source="metric",
)
AS_TEXT = "a tag with its text"
BILL: dict[str, Any] = {
    "BilledCost": "0.0000001201123456789",
    "BillingAccountId": "1234",
    "BillingCurrency": "USD",
    "BillingPeriodEnd": "2026-11-01T00:00:00Z",
    "BillingPeriodStart": "2026-10-01T00:00:00Z",
    "ChargeCategory": "Usage",
    "ChargeDescription": "NULL",
    "ChargePeriodEnd": "2026-10-02T00:00:00Z",
    "ChargePeriodStart": "2026-10-01T00:00:00Z",
    "EffectiveCost": "0.5",
    "ListCost": "0.000000120112345679",
    "ProviderName": "AWS",
    "RegionId": "",
    "ResourceId": "arn:x",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceName": "Inference",
    "Tags": '{"team": "a", "env": "dev"}',
}
# Columns that the specification does not allow to be null, and columns that it requires.
NEVER_NULL = """
    BilledCost BillingAccountId BillingCurrency BillingPeriodStart BillingPeriodEnd ChargeCategory
    ChargePeriodStart ChargePeriodEnd ContractedCost EffectiveCost InvoiceIssuerName ListCost
    ProviderName PublisherName ServiceCategory ServiceName
""".split()  # noqa: SIM905 - a list of sixteen names reads best like this
MANDATORY = {
    *NEVER_NULL,
    *("BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"),
}
_SERVICE_CATEGORIES = """
    AI and Machine Learning|Analytics|Business Applications|Compute|Databases|Developer Tools|
    Multicloud|Identity|Integration|Internet of Things|Management and Governance|Media|Migration|
    Mobile|Networking|Security|Storage|Web|Other
"""
SERVICE_CATEGORIES = [name.strip() for name in _SERVICE_CATEGORIES.split("|")]
TYPES = {"text": str, "decimal": Decimal, "time": datetime, "float": float, "integer": int}

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
ids = texts.filter(lambda text: text.strip() not in {"", "NULL", "null"})
maybe = ids | st.none()
scalars = texts | st.booleans() | st.integers(-(2**53), 2**53) | st.none()
MICROS = st.integers(10**14, 9 * 10**15).map(lambda micros: micros * 1_000)


def with_period(
    entry: CostEntry, length_micros: int, point: tuple[int, int, float, int | None] | None
) -> CostEntry:
    """The entry as a store has it: its period ends at its time, and it may have a point."""
    end = entry.time_unix_nano
    entry = replace(entry, period_end_unix_nano=end)
    if length_micros:
        entry = replace(entry, period_start_unix_nano=end - length_micros * 1_000)
    if point is None or entry.source == "focus":
        return entry
    series_id, start, value, count = point
    basis = CostBasis("cumulative", Decimal("0.1"), 0.0, "", "", "", quantity_id=5)
    source = SeriesPoint(
        series_id, start, CostPoint(end, start, value, count), basis, replaces=False
    )
    return replace(entry, derived_from=source)


plain_entries = st.builds(
    CostEntry,
    entry_id=ids,
    time_unix_nano=MICROS,
    resource_id=ids | st.just(""),
    category=ids | st.sampled_from(["compute", "gpu", "credit", "tax", "llm_api"]),
    amount=st.decimals(-(10**14), 10**14, places=9),
    currency=st.sampled_from(["USD", "EUR", "JPY"]),
    region=maybe,
    cluster_id=ids,
    node_id=ids,
    service_name=maybe,
    tags=st.dictionaries(texts, scalars, max_size=4).map(
        lambda tags: json.dumps(tags, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    ),
    description=ids | st.just(""),
    billing_period=st.sampled_from(["2026-10", "2026-11", "FY27-Q1"]),
    source=st.sampled_from(get_args(CostSource)),
    source_name=ids | st.just(""),
)
points = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    MICROS | st.just(0),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.integers(0, 2**60),
)
entries = st.builds(with_period, plain_entries, st.integers(0, 10**12), st.none() | points)


def no_id() -> str:
    raise AssertionError


def as_csv(row: Row, columns: tuple[Column, ...]) -> dict[str, str]:
    """The cells as texts, as in a CSV file."""

    def cell(value: Any) -> str:
        if isinstance(value, datetime):
            return value.isoformat().replace("+00:00", "Z")
        return "" if value is None else format(value, "f" if isinstance(value, Decimal) else "")

    return {column.name: cell(row.get(column.name)) for column in columns}


def bill(**different: Any) -> CostEntry:
    return row_to_entry(BILL | different, lambda: "id", "BilledCost")


@pytest.mark.parametrize(("version", "columns"), [("1.0", 43), ("1.1", 50), ("1.2", 57)])
def test_each_version_has_its_columns_in_order_and_custom_columns_last(
    version: FocusVersion, columns: int
) -> None:
    names = [column.name for column in columns_of(version)]
    own = [name for name in names if name.startswith("x_")]
    assert names == sorted(names[:columns]) + own
    assert set(names) >= MANDATORY
    assert "x_EntryId" in own


@given(entries)
def test_a_row_conforms_to_the_specification(entry: CostEntry) -> None:
    row = entry_to_row(entry, Issuer())
    assert [name for name in NEVER_NULL if row[name] in {None, ""}] == []
    assert row.keys() <= {column.name for column in columns_of("1.2")}
    for column in columns_of("1.2"):
        value = row.get(column.name)
        assert value is None or isinstance(value, TYPES[column.kind]), column.name
    assert row["BillingPeriodStart"] < row["BillingPeriodEnd"]
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=entry.time_unix_nano // 1000)
    assert row["ChargePeriodStart"] <= moment <= row["ChargePeriodEnd"]
    assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
    assert row["ServiceCategory"] in SERVICE_CATEGORIES
    assert row["ServiceSubcategory"] == f"Other ({row['ServiceCategory']})"
    assert row["ChargeCategory"] in {"Usage", "Tax", "Credit", "Adjustment"}
    assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"] == entry.amount
    if row.get("PricingQuantity") is not None:
        assert row["PricingQuantity"] * row["ListUnitPrice"] == row["ListCost"]
    tags = json.loads(row["Tags"] or "{}")
    assert not any(isinstance(value, dict | list) for value in tags.values())


@pytest.mark.parametrize("version", get_args(FocusVersion))
@given(entries)
def test_an_exported_entry_is_imported_unchanged(version: FocusVersion, entry: CostEntry) -> None:
    row = entry_to_row(entry, Issuer())
    columns = columns_of(version)
    from_csv = row_to_entry(as_csv(row, columns), no_id, "BilledCost")
    typed = {column.name: row.get(column.name) for column in columns}
    assert row_to_entry(typed, no_id, "BilledCost") == from_csv
    # An entry from a bill gets the columns of the first export as tags, and keeps them.
    if entry.source == "focus":
        again = entry_to_row(from_csv, Issuer("other", "other"))
        assert row_to_entry(as_csv(again, columns), no_id, "BilledCost") == from_csv
        assert {column.name: again.get(column.name) for column in columns} == typed
    else:
        assert from_csv == entry


def test_an_entry_has_these_focus_columns() -> None:
    row = entry_to_row(ENTRY, Issuer("Acme Cloud", "account-1"))
    assert as_csv(row, tuple(column for column in columns_of("1.2") if column.name in row)) == {
        "BilledCost": "1.25",
        "BillingAccountId": "account-1",
        "BillingCurrency": "EUR",
        "BillingPeriodEnd": "2026-12-01T00:00:00Z",
        "BillingPeriodStart": "2026-11-01T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeDescription": "a machine",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": "2026-11-23T18:00:00Z",
        "ChargePeriodStart": "2026-11-23T17:00:00Z",
        "ContractedCost": "1.25",
        "ContractedUnitPrice": "1.25",
        "EffectiveCost": "1.25",
        "InvoiceIssuerName": "Acme Cloud",
        "ListCost": "1.25",
        "ListUnitPrice": "1.25",
        "PricingCategory": "Standard",
        "PricingQuantity": "1.0",
        "PricingUnit": "Unit",
        "ProviderName": "Acme Cloud",
        "PublisherName": "Acme Cloud",
        "RegionId": "eu-west-1",
        "ResourceId": "vm-1",
        "ServiceCategory": "Compute",
        "ServiceName": "shop",
        "ServiceSubcategory": "Other (Compute)",
        "Tags": '{"cores":4,"spot":true,"team":"a"}',
        "x_Amount": "1.25",
        "x_BillingPeriod": "2026-11",
        "x_Category": "compute",
        "x_ClusterId": "production",
        "x_EntryId": "e-1",
        "x_NodeId": "node-7",
        "x_PeriodEnd": "2026-11-23T17:04:05.678901Z",
        "x_PeriodStart": "",
        "x_ServiceName": "shop",
        "x_SourceName": "",
        "x_Source": "metric",
        "x_Time": "2026-11-23T17:04:05.678901Z",
    }


@pytest.mark.parametrize(
    ("category", "amount", "charge"),
    [
        ("compute", "1", "Usage"),
        ("compute", "-1", "Credit"),
        ("refund", "1", "Credit"),
        ("Adjustment", "-1", "Adjustment"),
        ("tax", "1", "Tax"),
    ],
)
def test_charge_category(category: str, amount: str, charge: str) -> None:
    row = entry_to_row(replace(ENTRY, category=category, amount=Decimal(amount)), Issuer())
    assert row["ChargeCategory"] == charge
    assert ("PricingUnit" in row) == (charge == "Usage")


@pytest.mark.parametrize("name", SERVICE_CATEGORIES)
def test_categories_map_in_both_directions(name: str) -> None:
    assert entry_category(name) != name
    assert service_category(entry_category(name)) == name


def test_nested_tags_are_exported_as_text() -> None:
    row = entry_to_row(replace(ENTRY, tags='{"a":{"b":[1]}}'), Issuer())
    assert json.loads(row["Tags"]) == {"a": '{"b":[1]}'}


def test_columns_without_a_field_become_tags() -> None:
    assert bill() == CostEntry(
        entry_id="id",
        time_unix_nano=1_790_812_800_000_000_000,
        resource_id="arn:x",
        category="ai",
        amount=Decimal("0.000000120112345679"),
        currency="USD",
        service_name="Inference",
        tags=(
            '{"env":"dev","focus.BilledCost":"0.0000001201123456789","focus.BillingAccountId":"1234",'
            '"focus.ChargeCategory":"Usage","focus.ChargePeriodEnd":"2026-10-02T00:00:00+00:00",'
            '"focus.EffectiveCost":"0.5","focus.ProviderName":"AWS","team":"a"}'
        ),
        billing_period="2026-10",
        source="focus",
        period_start_unix_nano=1_790_812_800_000_000_000,
        period_end_unix_nano=1_790_899_200_000_000_000,
    )


@pytest.mark.parametrize(
    ("seconds", "charge"),
    [
        ((0, 0), ("17:00:00", "18:00:00")),
        ((90.5, 0), ("17:02:35", "17:04:06")),
        ((0.25, 0), ("17:04:05", "17:04:06")),
        ((5.678901, 0.678901), ("17:04:00", "17:04:05")),
    ],
    ids=str,
)
def test_the_charge_period_is_that_of_the_entry_in_whole_seconds(
    seconds: tuple[float, float], charge: tuple[str, str]
) -> None:
    length, back = (round(one * 1_000_000) * 1_000 for one in seconds)
    entry = replace(ENTRY, period_end_unix_nano=NOW - back)
    if length:
        entry = replace(entry, period_start_unix_nano=NOW - length)
    row = entry_to_row(entry, Issuer())
    found = (row["ChargePeriodStart"], row["ChargePeriodEnd"])
    assert tuple(f"{moment:%H:%M:%S}" for moment in found) == charge


def test_an_export_repeats_the_columns_of_the_bill() -> None:
    row = as_csv(entry_to_row(bill(), Issuer()), columns_of("1.2"))
    same = {name: text for name, text in BILL.items() if name not in {"ChargeDescription", "Tags"}}
    assert {name: row[name] for name in same} == same
    assert json.loads(row["Tags"]) == json.loads(BILL["Tags"])
    assert (row["PublisherName"], row["PricingQuantity"]) == ("OpenFinOps", "")


def test_the_amount_can_be_the_effective_cost() -> None:
    entry = row_to_entry(BILL, lambda: "id", "EffectiveCost")
    assert entry.amount == Decimal("0.5")
    assert entry_to_row(entry, Issuer())["BilledCost"] == Decimal("0.0000001201123456789")


def test_typed_cells_of_parquet_give_the_same_entry() -> None:
    typed = {
        "Tags": [("env", "dev"), ("team", "a")],
        "BilledCost": Decimal("0.0000001201123456789"),
        "ChargePeriodStart": datetime(2026, 10, 1, tzinfo=UTC),
        "BillingPeriodStart": datetime(2026, 10, 1),  # noqa: DTZ001 - some writers leave out the zone
    }
    assert bill(**typed) == bill()


@pytest.mark.parametrize(
    ("different", "reason"),
    [
        ({"BilledCost": ""}, "BilledCost is missing"),
        ({"BilledCost": "1,25"}, "BilledCost '1,25' is not a number"),
        ({"BilledCost": "NaN"}, "BilledCost 'NaN' is not a number"),
        ({"BilledCost": "1e17"}, r"BilledCost is 1E\+17, which is not below"),
        ({"BillingCurrency": "XYZ"}, "BillingCurrency 'XYZ' is not an ISO 4217 currency"),
        ({"BillingCurrency": None}, "BillingCurrency is missing"),
        ({"ChargePeriodStart": "yesterday"}, "ChargePeriodStart 'yesterday' is not a time"),
        ({"ChargePeriodStart": "0001-01-01T00:00:00Z"}, "ChargePeriodStart is .*before 1970"),
        ({"BilledCost": math.nan}, "BilledCost is missing"),
        (
            {"ChargePeriodStart": "", "BillingPeriodStart": "soon"},
            "ChargePeriodStart is missing",
        ),
        ({None: ["more"]}, "more cells than the header"),
    ],
    ids=str,
)
def test_a_row_that_does_not_conform_is_refused_with_its_column(
    different: dict[Any, Any], reason: str
) -> None:
    with pytest.raises(FocusRowError, match=reason):
        row_to_entry(BILL | different, lambda: "id", "BilledCost")


@pytest.mark.parametrize(
    ("different", "odd_cells", "same"),
    [
        ({"ServiceCategory": ""}, [("ServiceCategory", "other")], {"category": "other"}),
        ({"ServiceCategory": math.nan}, [("ServiceCategory", "other")], {"category": "other"}),
        ({"ServiceName": ""}, [], {"service_name": None}),
        ({"ResourceId": math.nan}, [], {"resource_id": ""}),
        (
            {"Tags": '"env": "prod","team": "ops"'},
            [],
            {"tags": {"env": "prod", "team": "ops"}},
        ),
        ({"Tags": "team=a"}, [("Tags", AS_TEXT)], {"tags": {"focus.Tags": "team=a"}}),
        ({"Tags": '{"x": NaN}'}, [("Tags", AS_TEXT)], {"tags": {"focus.Tags": '{"x": NaN}'}}),
        ({"Tags": ["a"]}, [("Tags", AS_TEXT)], {"tags": {"focus.Tags": '["a"]'}}),
        ({"Tags": {"a": math.nan}}, [], {"tags": {"a": "NaN"}}),
        ({"Tags": '{"a": "\\ud800"}'}, [], {"tags": {"a": "\ufffd"}}),
        (
            {"Tags": '{"focus.ProviderName": "x"}'},
            [("Tags", "focus.Tags.focus.ProviderName")],
            {"tags": {"focus.Tags.focus.ProviderName": "x"}},
        ),
        ({"PricingQuantity": math.nan}, [], {}),
        ({"PricingQuantity": "NaN"}, [("PricingQuantity", "nothing")], {}),
        (
            {"PricingQuantity": "many"},
            [("PricingQuantity", AS_TEXT)],
            {"tags": {"focus.PricingQuantity": "many"}},
        ),
        (
            {"ListUnitPrice": "1e999999999"},
            [("ListUnitPrice", AS_TEXT)],
            {"tags": {"focus.ListUnitPrice": "1e999999999"}},
        ),
        (
            {"ChargePeriodEnd": "later"},
            [("ChargePeriodEnd", AS_TEXT)],
            {"tags": {"focus.ChargePeriodEnd": "later"}},
        ),
        (
            {"BillingPeriodStart": "NULL"},
            [("BillingPeriodStart", "the month of ChargePeriodStart")],
            {"billing_period": "2026-10"},
        ),
        (
            {"ChargePeriodStart": ""},
            [("ChargePeriodStart", "BillingPeriodStart")],
            {"time_unix_nano": 1_790_812_800_000_000_000},
        ),
        ({"x_EntryId": "e", "x_Time": "noon"}, [], {"time_unix_nano": 1_790_812_800_000_000_000}),
    ],
    ids=str,
)
def test_a_cell_that_only_describes_a_cost_loses_no_money(
    different: dict[str, Any], odd_cells: list[tuple[str, str]], same: dict[str, Any]
) -> None:
    found: list[OddCell] = []
    entry = row_to_entry(BILL | different, lambda: "id", "BilledCost", found.append)
    assert (entry.amount, entry.currency) == (bill().amount, "USD")
    assert found == odd_cells
    values = dict(same)
    tags = json.loads(entry.tags)
    assert {name: tags.get(name) for name in values.get("tags", ())} == values.pop("tags", {})
    assert {name: getattr(entry, name) for name in values} == values


@given(st.dictionaries(st.sampled_from(sorted(BILL)), st.text(max_size=12) | st.none()))
def test_any_cells_give_an_entry_or_a_refusal(different: dict[str, Any]) -> None:
    try:
        entry = bill(**different)
    except FocusRowError:
        return
    assert entry.amount == quantize_amount(entry.amount)
    entry.tags.encode()
    assert entry_to_row(entry, Issuer())["ChargePeriodStart"].tzinfo is UTC


def test_equal_rows_have_numbered_ids_that_every_import_repeats() -> None:
    other = BILL | {"BilledCost": "1"}
    without = {name: cell for name, cell in BILL.items() if cell not in {"", "NULL"}}

    def given_ids() -> list[str]:
        with row_ids() as next_id:
            return [next_id(row) for row in (BILL, other, dict(reversed(BILL.items())), without)]

    first, different, second, third = given_ids()
    assert len({first, different, second, third}) == 4
    assert (second, third) == (f"{first}-2", f"{first}-3")
    assert given_ids() == [first, different, second, third]


def test_without_a_month_as_billing_period_the_month_is_that_of_the_time() -> None:
    row = entry_to_row(replace(ENTRY, billing_period="FY27"), Issuer())
    assert f"{row['BillingPeriodStart']:%Y-%m}" == billing_period(NOW)
    assert row["x_BillingPeriod"] == "FY27"
