"""Cost entries in every backend: stored once, exact, and independent of the order of points."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.backends.kinds import Kind, StoreFactory
from kit.backends.samples import NOW, SECOND, batch_of, cost, point
from kit.backends.stored_rows import count

from exporter.backends.base import Backend
from exporter.backends.refused_rows import isolate_refused_rows
from exporter.errors import RowRefusedError
from exporter.model import (
    Batch,
    CostBasis,
    CostCounts,
    CostPoint,
    CostSample,
    SeriesPoint,
    Watermark,
    WriteResult,
)
from exporter.query import Reader

DAY = 86_400 * SECOND
BASIS = CostBasis("cumulative", Decimal(1), 3_600.0, "i-1", "compute", "USD", tags='{"team":"a"}')
RATE = replace(BASIS, kind="hourly_rate")


def sample(at: int, value: float, *, series_id: int = 7, of: CostBasis = BASIS) -> CostSample:
    """A point `at` seconds after NOW of a total that started at NOW."""
    return CostSample(series_id, NOW + at * SECOND, NOW, value, of)


def batch(samples: Iterable[CostSample], **parts: Any) -> Batch:
    """A batch of samples with their points."""
    samples = tuple(samples)
    rows = (point(one.series_id, one.time_unix_nano, one.value, start=NOW) for one in samples)
    return batch_of(*rows, cost_samples=samples, **parts)


def amounts(backend: Backend) -> list[Decimal]:
    """The amounts in order of time."""
    rows = Reader(backend).query_historical_costs(limit=1_000)
    return [Decimal(str(row["amount"])) for row in reversed(rows)]


def total(backend: Backend, currency: str = "USD") -> Decimal:
    rows = Reader(backend).cost_totals()
    return sum((row["amount"] for row in rows if row["currency"] == currency), Decimal(0))


def test_an_entry_reads_back_unchanged(backend: Backend) -> None:
    full = cost(
        region="eu-1",
        cluster_id="c",
        node_id="n",
        service_name="s",
        tags='{"a":1,"team":"größe"}',
        description="two words",
        billing_period="2023-10",
        source="log",
        source_name="acme.bill",
    )
    assert backend.write(Batch(costs=(full,))) == WriteResult(stored=1)
    [row] = Reader(backend).query_historical_costs()
    assert row == {
        "entry_id": "e-1",
        "timestamp": NOW / SECOND,
        "resource_id": "vm-1",
        "category": "compute",
        "amount": 1.25,
        "amount_exact": "1.25",
        "currency": "USD",
        "region": "eu-1",
        "cluster_id": "c",
        "node_id": "n",
        "service_name": "s",
        "tags": {"a": 1, "team": "größe"},
        "description": "two words",
        "billing_period": "2023-10",
        "source": "log",
        "source_name": "acme.bill",
        "period_start": None,
        "period_end": NOW / SECOND,
    }


def test_the_first_entry_of_an_id_and_time_stays(backend: Backend) -> None:
    first, second = cost(amount="1"), cost(amount="2")
    backend.write(Batch(costs=(first, second)))
    backend.write(Batch(costs=(second, cost("e-2", "3"))))
    assert count(backend, "cost_entries") == 2
    assert total(backend) == 4


def test_the_billing_period_defaults_to_the_month_of_the_time(backend: Backend) -> None:
    backend.write(Batch(costs=(cost(),)))
    [row] = Reader(backend).query_historical_costs()
    assert row["billing_period"] == "2023-11"
    assert (row["region"], row["service_name"], row["tags"]) == (None, None, {})


@pytest.mark.parametrize(
    "amount",
    [
        "0.000000000000000001",
        "-0.0000000001",
        "-1.25",
        "999999999999999999.999999999999999999",
        "-999999999999999999.999999999999999999",
        "0.1",
    ],
)
def test_amounts_are_exact(backend: Backend, amount: str) -> None:
    backend.write(Batch(costs=(cost(amount=amount), cost("e-2", amount))))
    for row in Reader(backend).query_historical_costs():
        assert row["amount_exact"] == amount
        assert row["amount"] == float(amount)
    with localcontext(prec=60):
        assert total(backend) == 2 * Decimal(amount)


def test_sums_of_the_largest_amounts(backend: Backend) -> None:
    largest = Decimal("999999999999999999.999999999999999999")
    backend.write(Batch(costs=tuple(cost(f"e-{place}", str(largest)) for place in range(1_000))))
    with localcontext(prec=60):
        assert total(backend) == 1_000 * largest


def test_the_smallest_amount_is_not_hidden(backend: Backend) -> None:
    tiny = replace(BASIS, kind="amount", factor=Decimal("1e-18"))
    backend.write(batch([sample(0, 1, of=tiny), sample(1, 0, of=tiny)]))
    [row] = Reader(backend).query_historical_costs()
    assert row["amount_exact"] == "0.000000000000000001"
    assert total(backend) == Decimal("1e-18")


def test_sums_by_the_name_of_the_source(backend: Backend) -> None:
    names = ("metric.a", "metric.b", "metric.a", "")
    entries = (
        replace(cost(f"e-{place}", str(place)), source_name=name)
        for place, name in enumerate(names, 1)
    )
    backend.write(Batch(costs=tuple(entries)))
    rows = Reader(backend).cost_totals(group_by=["source_name"])
    found = {row["source_name"]: row["amount"] for row in rows}
    assert found == {"metric.a": 4, "metric.b": 2, "": 4}
    [row] = Reader(backend).cost_totals(source_name="metric.b")
    assert row["amount"] == 2


def test_the_sum_of_many_amounts_is_exact(backend: Backend) -> None:
    entries = tuple(cost(f"e-{place}", "0.1") for place in range(5_000))
    backend.write(Batch(costs=entries))
    assert total(backend) == Decimal(500)


def test_samples_in_order_late_and_repeated(backend: Backend) -> None:
    backend.write(batch([sample(10, 4), sample(30, 9)]))
    backend.write(batch([sample(40, 12)]))
    backend.write(batch([sample(20, 6)]))
    assert amounts(backend) == [4, 2, 3, 3]
    backend.write(Batch(cost_samples=(sample(30, 9), sample(10, 4))))
    assert amounts(backend) == [4, 2, 3, 3]
    backend.write(Batch(cost_samples=(sample(30, 10),)))
    assert amounts(backend) == [4, 2, 4, 2]


def test_a_late_point_between_days_that_are_far_apart(backend: Backend) -> None:
    """PostgreSQL looks for neighbours within some days first."""
    day = 86_400
    backend.write(batch([sample(0, 1), sample(30 * day, 100)]))
    backend.write(batch([sample(day, 10)]))  # the point after it is far
    assert amounts(backend) == [1, 9, 90]
    backend.write(batch([sample(29 * day, 60)]))  # the point before it is far
    assert amounts(backend) == [1, 9, 50, 40]


def test_a_rate_is_charged_from_the_previous_point(backend: Backend) -> None:
    for at in (0, 1_800, 36_000):
        backend.write(batch([sample(at, 0.5, of=RATE)]))
    assert total(backend) == Decimal("0.75")


def test_a_sample_without_a_change_adds_no_entry(backend: Backend) -> None:
    backend.write(batch([sample(0, 5, of=RATE), sample(3_600, 5, of=RATE)]))
    assert count(backend, "cost_entries") == 2
    assert amounts(backend) == [5]


def test_a_batch_with_a_watermark_is_charged_once(backend: Backend) -> None:
    watermarked = batch([sample(10, 4)], costs=(cost(),), watermark=Watermark("r", 1))
    assert backend.write(watermarked) == WriteResult(stored=2)
    again = replace(watermarked, cost_samples=(sample(11, 9),))
    assert backend.write(again) == WriteResult(stored=2, already_stored=True)
    assert total(backend) == Decimal("5.25")


def test_a_dry_run_stores_no_costs(backend: Backend) -> None:
    backend.write(batch([sample(10, 4)]))
    backend.dry_run(batch([sample(20, 6)], costs=(cost(),)))
    assert total(backend) == 4
    backend.write(batch([sample(20, 6)]))
    assert total(backend) == 6


def test_an_amount_out_of_range_becomes_a_dead_letter(backend: Backend) -> None:
    bad = cost("bad", "NaN")
    worse = sample(20, float("inf"))
    whole = Batch(costs=(cost(), bad), cost_samples=(sample(10, 4), worse))
    for call in (backend.dry_run, backend.write):
        with pytest.raises(RowRefusedError):
            call(whole)
    good, dead = isolate_refused_rows(whole, backend.dry_run)
    assert [one.kind for one in dead] == ["cost", "cost"]
    assert [one.series_id for one in dead] == [0, 7]
    assert '"amount": "NaN"' in dead[0].content
    assert backend.write(replace(good, dead_letters=tuple(dead))) == WriteResult(stored=1)
    assert total(backend) == Decimal("5.25")
    assert backend.fetch("SELECT kind FROM dead_letters") == [("cost",), ("cost",)]


def test_a_lone_surrogate_is_refused(backend: Backend) -> None:
    with pytest.raises(RowRefusedError):
        backend.dry_run(Batch(costs=(cost(description="\ud800"),)))


def test_nul_in_text_is_stored_or_replaced(backend: Backend, kind: Kind) -> None:
    backend.write(Batch(costs=(cost(resource_id="a\0b", tags='{"k":"\\u0000"}'),)))
    [row] = Reader(backend).query_historical_costs()
    nul = "\0" if kind.keeps_nul else "\ufffd"
    assert row["resource_id"] == f"a{nul}b"
    assert row["tags"] == {"k": nul}


def test_costs_are_deleted_with_points_and_the_next_point_continues(backend: Backend) -> None:
    backend.write(batch([sample(0, 4), sample(10, 5)], costs=(cost(),)))
    later = NOW + 3 * DAY
    assert dict(backend.count_before(later))["cost_entries"] == 3
    assert backend.delete_before(later) == 5
    backend.write(Batch(cost_samples=(sample(5 * 86_400, 8),)))
    assert amounts(backend) == [3]
    backend.write(Batch(cost_samples=(sample(4 * 86_400, 6),)))
    assert sum(amounts(backend)) <= 3


def test_sizes_include_costs(backend: Backend) -> None:
    backend.write(Batch(costs=(cost(), cost("e-2"))))
    [size] = [one for one in backend.sizes().tables if one.table == "cost_entries"]
    assert size.rows == 2


def test_costs_survive_a_restart(unopened: Callable[[], Backend], kind: Kind) -> None:
    with closing(unopened()) as first:
        first.start()
        first.write(batch([sample(10, 4)]))
    if not kind.keeps:
        return
    with closing(unopened()) as second:
        second.start()
        second.write(batch([sample(20, 6)]))
        assert amounts(second) == [4, 2]


def test_two_receivers_write_the_same_series(unopened: Callable[[], Backend], kind: Kind) -> None:
    if not kind.keeps or not kind.interrupts:
        pytest.skip("one program at a time can write there")
    times = list(range(1, 41))
    stores = [unopened(), unopened()]
    failures: list[BaseException] = []

    def send(store: Backend, own: list[int]) -> None:
        try:
            for begin in range(0, len(own), 5):
                chosen = own[begin : begin + 5]
                ids = (3, 7) if chosen[0] % 2 else (7, 3)
                store.write(
                    Batch(
                        costs=tuple(cost(f"e-{at}") for at in chosen),
                        cost_samples=tuple(
                            sample(at, at, series_id=series_id)
                            for series_id in ids
                            for at in chosen
                        ),
                    )
                )
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    for store in stores:
        store.start()
    # Overlapping points, each receiver in another order.
    parts = [times[::2] + times[10:20], times[1::2][::-1] + times[10:20]]
    threads = [
        threading.Thread(target=send, args=(store, part))
        for store, part in zip(stores, parts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert total(stores[0]) == 2 * 40 + 40 * Decimal("1.25")


_POINTS = st.tuples(st.integers(1, 20), st.integers(0, 8), st.sampled_from([3, 7]))


@settings(max_examples=15)
@given(st.lists(st.lists(_POINTS, max_size=4), max_size=6))
def test_batches_in_any_order_equal_one_batch(
    new_store: StoreFactory, batches: list[list[tuple[int, int, int]]]
) -> None:
    largest: dict[tuple[int, int], CostSample] = {}
    with new_store() as backend, new_store() as at_once:
        for rows in batches:
            samples = [sample(at, value, series_id=series_id) for at, value, series_id in rows]
            for one in samples:
                key = (one.series_id, one.time_unix_nano)
                largest[key] = max(largest.get(key, one), one, key=lambda known: known.value)
            backend.write(Batch(cost_samples=tuple(samples)))
        at_once.write(Batch(cost_samples=tuple(largest[key] for key in sorted(largest))))
        of_series = "SELECT entry_id, value FROM cost_entries ORDER BY entry_id"
        assert backend.fetch(of_series) == at_once.fetch(of_series)
        assert total(backend) == total(at_once)


def test_conflicts_and_points_at_their_start_are_counted(backend: Backend) -> None:
    at_start = replace(sample(10, 5), start_time_unix_nano=sample(10, 5).time_unix_nano)
    assert backend.write(Batch(cost_samples=(at_start,))).cost_counts == CostCounts(0, 1)
    larger = replace(at_start, value=6.0)
    assert backend.write(Batch(cost_samples=(larger, at_start))).cost_counts.conflicting == 2
    assert amounts(backend) == [6]


def test_a_start_that_drifts_far_is_one_stream(backend: Backend) -> None:
    for number in range(1, 31):
        at = sample(60 * number, 10.0 * number)
        start = NOW + number * SECOND * 9 // 10
        backend.write(Batch(cost_samples=(replace(at, start_time_unix_nano=start),)))
    assert total(backend) == 300


def test_a_restored_amount_has_the_same_bounds(backend: Backend) -> None:
    source = SeriesPoint(7, 0, CostPoint(NOW, 0, 1.0), None, replaces=False)
    with pytest.raises(RowRefusedError):
        backend.write(Batch(costs=(replace(cost(amount="1e18"), derived_from=source),)))
