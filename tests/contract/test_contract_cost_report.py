"""The sums of a report in every backend: the same as those of its entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from kit.backends.samples import NOW, SECOND, cost

from exporter.backends.base import Backend
from exporter.cli.report import cost_report
from exporter.model import Batch, CostBasis, CostEntry, CostSample
from exporter.query import Reader

HOUR = 3_600
ENTRIES = tuple(
    replace(
        cost(f"e-{at}", f"{at % 13}.000000000000000001"),
        time_unix_nano=NOW + at * 900 * SECOND,
        resource_id=f"vm-{at % 7}",
        category=("compute", "storage", "")[at % 3],
        currency=("USD", "JPY")[at % 2],
    )
    for at in range(60)
)
START = NOW / SECOND - HOUR
END = NOW / SECOND + 10 * HOUR


def sums(entries: Iterable[CostEntry]) -> dict[tuple[Any, ...], Decimal]:
    found: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for one in entries:
        time = one.time_unix_nano / SECOND
        if START <= time < END:
            found["bucket", one.currency, time // HOUR * HOUR] += one.amount
            found["category", one.currency, one.category] += one.amount
            found["resource_id", one.currency, one.resource_id] += one.amount
    return found


def test_each_part_has_the_sums_of_its_entries(backend: Backend) -> None:
    basis = CostBasis("hourly_rate", Decimal(0), 600.0, "free", "compute", "EUR")
    points = tuple(CostSample(1, NOW + at * SECOND, 0, 5.0, basis) for at in range(3))
    backend.write(Batch(costs=ENTRIES, cost_samples=points))
    rows = Reader(backend).cost_report(START, END, bucket_seconds=HOUR, top=100)
    assert {
        (row["part"], row["currency"], row["timestamp"] or row["name"]): row["amount"]
        for row in rows
    } == sums(ENTRIES)
    assert {row["groups"] for row in rows} == {1}


def test_the_smallest_resources_are_one_row(backend: Backend) -> None:
    backend.write(Batch(costs=ENTRIES))
    rows = Reader(backend).cost_report(START, END, bucket_seconds=HOUR, top=2, category="compute")
    found = [row for row in rows if row["part"] == "resource_id" and row["currency"] == "USD"]
    expected = sums(one for one in ENTRIES if one.category == "compute")
    by_amount = sorted(
        (
            (amount, name)
            for (part, code, name), amount in expected.items()
            if (part, code) == ("resource_id", "USD")
        ),
        reverse=True,
    )
    assert [(row["amount"], row["name"]) for row in found[:2]] == by_amount[:2]
    assert found[2]["groups"] == len(by_amount) - 2
    assert found[2]["amount"] == sum(amount for amount, _ in by_amount[2:])


def test_a_report_shows_them_with_the_period_before(backend: Backend) -> None:
    early = replace(ENTRIES[0], entry_id="early", time_unix_nano=NOW - 5 * HOUR * SECOND)
    backend.write(Batch(costs=(*ENTRIES, replace(early, amount=Decimal(7)))))
    report = cost_report(Reader(backend), START, END, HOUR, top=2, filters={})
    jpy, usd = report.currencies
    expected = sums(ENTRIES)
    assert (jpy.currency, usd.currency, usd.previous_total) == ("JPY", "USD", 7)
    assert usd.total == sum(
        amount for (part, code, _), amount in expected.items() if (part, code) == ("bucket", "USD")
    )
    assert [share.name for share in usd.resources][2:] == ["5 others"]
    assert sum(share.amount for share in usd.resources) == usd.total
    assert sum(share.amount for share in usd.categories) == usd.total
    assert len(usd.buckets) == 12
