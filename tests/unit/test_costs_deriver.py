"""Which points carry cost, which fields their entries have, and what is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from kit.cost_sender import CUMULATIVE, DELTA, MINUTE, START, Sender, dotted, histogram
from kit.otlp.attributes import key_values
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.default_rules import unit_currency
from exporter.costs.entry_fields import CURRENCIES, parse_currency
from exporter.costs.rules import CostRule, FieldSource
from exporter.model import Batch, CostKind
from exporter.series_cache import SeriesCache
from exporter.wire import decode

HOUR = 60 * MINUTE


def gauge(name: str, value: float, unit: str = "", at: int = START, **attributes: Any) -> Metric:
    metric = Metric(name=name, unit=unit)
    point = metric.gauge.data_points.add(time_unix_nano=at, as_double=value)
    point.attributes.extend(key_values(dotted(attributes)))
    return metric


def total(
    name: str,
    value: float,
    unit: str = "",
    at: int = START,
    *,
    temporality: Any = DELTA,
    monotonic: bool = True,
    **attributes: Any,
) -> Metric:
    metric = Metric(name=name, unit=unit)
    metric.sum.aggregation_temporality = temporality
    metric.sum.is_monotonic = monotonic
    metric.sum.data_points.add(
        time_unix_nano=at, start_time_unix_nano=START - HOUR, as_double=value
    ).attributes.extend(key_values(dotted(attributes)))
    return metric


def summary(name: str, value: float, at: int = START) -> Metric:
    metric = Metric(name=name)
    metric.summary.data_points.add(
        time_unix_nano=at, start_time_unix_nano=START - HOUR, count=2, sum=value
    )
    return metric


@pytest.mark.parametrize("unit", ["USD", "{USD}", "usd", "{usd}", "$", "Usd"])
def test_delta_sums_in_a_currency_are_amounts(unit: str) -> None:
    sender = Sender()
    for minute, value in enumerate((0.1, 0.2, 0.3)):
        sender.send(total("spend", value, unit, START + minute * MINUTE))
    assert sender.total() == Decimal("0.6")
    assert {entry.currency for entry in sender.entries()} == {"USD"}


def test_cumulative_sums_in_a_currency_count_their_increase() -> None:
    sender = Sender()
    for minute, value in enumerate((5.0, 7.5, 1.0)):  # the last after a restart
        sender.send(total("spend", value, "EUR", START + minute * MINUTE, temporality=CUMULATIVE))
    assert sender.total() == Decimal("8.5")


def test_a_decrease_of_a_total_that_may_fall_is_a_credit() -> None:
    sender = Sender()
    for minute, value in enumerate((5.0, 7.5, 1.0, -1.0)):
        metric = total(
            "spend", value, "EUR", START + minute * MINUTE, temporality=CUMULATIVE, monotonic=False
        )
        sender.send(metric)
    assert sender.total() == Decimal(-1)
    assert not sender.refused


@pytest.mark.parametrize("unit", ["USD/h", "{USD}/h", "USD/hour", "{USD}/hr"])
def test_gauges_per_hour_are_rates(unit: str) -> None:
    sender = Sender()
    for minute in range(61):
        sender.send(gauge("rent", 3.0, unit, START + minute * MINUTE))
    assert sender.total() == Decimal(3)


def test_other_units_and_gauges_of_money_are_no_cost() -> None:
    sender = Sender()
    sender.send(
        gauge("balance", 100.0, "USD"),
        gauge("cpu", 1.0, "1"),
        total("requests", 4.0, "{request}"),
        total("bonds", 4.0, "XAU"),
        total("retries", 4.0, "{try}"),
        total("rate", 4.0, "USD/h"),
    )
    assert sender.samples == []
    assert sender.refused == {}


def test_openfinops_cost_takes_its_currency_from_an_attribute() -> None:
    sender = Sender()
    sender.send(total("openfinops.cost", 2.0, "1", currency="eur"))
    (entry,) = sender.entries()
    assert (entry.amount, entry.currency) == (Decimal(2), "EUR")


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        (total("openfinops.cost", 1.0), "no currency is given"),
        (total("openfinops.cost", 1.0, "XYZ"), "unit 'XYZ' names no ISO 4217 currency"),
        (total("openfinops.cost", 1.0, "", currency="gold"), "'gold' is not an ISO 4217 currency"),
        (total("openfinops.cost", 1.0, "USD", currency="EUR"), "unit is in USD"),
        (gauge("openfinops.cost", 1.0, "USD"), "neither an amount nor a rate"),
        (total("spend", float("nan"), "USD"), "not a finite number"),
        (total("spend", float("inf"), "USD"), "not a finite number"),
        (total("spend", 1e300, "USD"), "larger than"),
        (total("spend", -1.0, "USD"), "negative, and its category is not one of"),
        (gauge("rent", -1.0, "USD/h"), "negative"),
    ],
)
def test_a_bad_cost_is_refused_with_its_name_and_stays_a_point(metric: Metric, reason: str) -> None:
    sender = Sender()
    assert sender.send(metric) == ()
    assert reason in sender.reasons
    assert "the point itself is stored" in sender.reasons
    assert list(sender.refused.values()) == [1]
    sender.send(metric)  # a known series is refused again
    assert list(sender.refused.values()) == [1]


def test_a_credit_may_be_negative() -> None:
    sender = Sender()
    sender.send(total("spend", -1.5, "USD", category="Credit"))
    assert sender.total() == Decimal("-1.5")


def test_fields_come_from_point_and_resource_and_other_attributes_are_tags() -> None:
    sender = Sender(
        service__name="billing", k8s__cluster__name="prod", host__name="n1", cloud__region="eu-1"
    )
    sender.send(
        total(
            "spend",
            1.0,
            "USD",
            cost__category="compute",
            category="kept",
            resource_id="vm-1",
            team="blue",
            spot=True,
            cores=4,
        )
    )
    (entry,) = sender.entries()
    assert (entry.category, entry.resource_id, entry.region) == ("compute", "vm-1", "eu-1")
    assert (entry.cluster_id, entry.node_id, entry.service_name) == ("prod", "n1", "billing")
    assert json.loads(entry.tags) == {"category": "kept", "team": "blue", "spot": True, "cores": 4}
    assert entry.billing_period == "2023-11"
    assert entry.source == "metric"


def test_missing_fields_have_defaults() -> None:
    sender = Sender(host__name="n1")
    sender.send(total("spend", 1.0, "USD"))
    (entry,) = sender.entries()
    assert (entry.category, entry.resource_id, entry.region) == ("other", "n1", None)


def test_points_without_a_recorded_value_cost_nothing() -> None:
    metric = total("spend", 1.0, "USD")
    metric.sum.data_points[0].flags = 1
    sender = Sender()
    assert sender.send(metric) == ()
    assert sender.refused == {}


def test_a_rule_matches_series_and_sets_fields() -> None:
    rule = CostRule(
        metric="acme.*.spend",
        kind="amount",
        attributes={"env": "pro*", "cloud.provider": "acme"},
        category=(FieldSource.parse("attribute:sku"), FieldSource.parse("misc")),
        resource_id=(FieldSource.parse("attribute:nothing"), FieldSource.parse("attribute:vm")),
        currency=(FieldSource.parse("CHF"),),
        region=(FieldSource.parse("attribute:zone"),),
        tags={"team": FieldSource.parse("attribute:team"), "from": FieldSource.parse("acme")},
    )
    sender = Sender(rule, cloud__provider="acme")
    sender.send(
        total("acme.disk.spend", 1.0, env="prod", sku="disk", vm="v", zone="z", team="t", junk="j"),
        total("acme.disk.spend", 2.0, env="test"),
        total("acme.spend", 4.0, env="prod"),
        total("acme.misc.spend", 8.0, env="prod"),
    )
    disk, misc = sorted(sender.entries(), key=lambda entry: entry.amount)
    assert (disk.amount, disk.category, disk.resource_id) == (Decimal(1), "disk", "v")
    assert (disk.currency, disk.region) == ("CHF", "z")
    assert json.loads(disk.tags) == {"team": "t", "from": "acme"}
    assert (misc.amount, misc.category) == (Decimal(8), "misc")


@pytest.mark.parametrize("kind", ["amount", "cumulative"])
@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_one_rule_does_for_both_temporalities(kind: CostKind, temporality: Any) -> None:
    sums, histograms = Sender(in_usd(kind)), Sender(in_usd(kind))
    for minute, value in enumerate((0.5, 0.25, 2.0)):
        sent = (0.5, 0.75, 2.75)[minute] if temporality == CUMULATIVE else value
        at = START + minute * MINUTE
        sums.send(total("job.cost", sent, at=at, temporality=temporality))
        histograms.send(histogram("job.cost", sent, at, temporality=temporality))
    assert sums.total() == histograms.total() == Decimal("2.75")


def test_the_next_rule_is_asked_if_the_first_cannot_apply() -> None:
    rate = CostRule("job.*", "hourly_rate", currency=(FieldSource(constant="USD"),))
    sender = Sender(rate, in_usd("amount"))
    sender.send(total("job.cost", 1.5))
    assert (sender.total(), sender.refused) == (Decimal("1.5"), {})
    never = Sender(rate, in_usd(None), in_usd("amount"))
    never.send(total("job.cost", 1.5))
    assert (never.samples, never.refused) == ([], {})


def test_a_gauge_of_a_total_may_be_below_zero() -> None:
    sender = Sender(in_usd("cumulative"))
    sender.send(gauge("job.cost", -2.0))
    assert (len(sender.samples), sender.refused) == (1, {})


def test_a_rule_multiplies_by_its_factor() -> None:
    cents = CostRule(
        "cents", "amount", currency=(FieldSource(constant="EUR"),), factor=Decimal("0.01")
    )
    sender = Sender(cents)
    sender.send(total("cents", 250.0))
    assert sender.total() == Decimal("2.5")


@pytest.mark.parametrize("exponential", [False, True])
@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_histograms_in_a_currency_are_costs(temporality: Any, *, exponential: bool) -> None:
    sender = Sender()
    for minute, value in enumerate((0.5, 0.25, 2.0)):
        sent = (0.5, 0.75, 2.75)[minute] if temporality == CUMULATIVE else value
        metric = histogram(
            "price",
            sent,
            START + minute * MINUTE,
            temporality=temporality,
            exponential=exponential,
        )
        metric.unit = "eur"
        sender.send(metric)
    assert sender.total() == Decimal("2.75")
    assert {sample.basis.kind for sample in sender.samples} == {
        "cumulative" if temporality == CUMULATIVE else "amount"
    }


def in_usd(kind: CostKind | None) -> CostRule:
    return CostRule("job.cost", kind, currency=(FieldSource.parse("USD"),))


@pytest.mark.parametrize("exponential", [False, True])
def test_the_sum_of_a_delta_histogram_is_an_amount(*, exponential: bool) -> None:
    sender = Sender(in_usd("amount"))
    for minute, value in enumerate((0.1, 0.2, 0.3)):
        at = START + minute * MINUTE
        sender.send(histogram("job.cost", value, at, exponential=exponential, team="a"))
    assert sender.total() == Decimal("0.6")
    assert {entry.tags for entry in sender.entries()} == {'{"team":"a"}'}
    assert sender.refused == {}


def test_the_sum_of_a_cumulative_histogram_or_summary_counts_its_increase() -> None:
    values = (5.0, 7.5, 1.0)  # the last after a restart
    histograms, summaries = Sender(in_usd("cumulative")), Sender(in_usd("cumulative"))
    for minute, value in enumerate(values):
        at = START + minute * MINUTE
        histograms.send(histogram("job.cost", value, at, temporality=CUMULATIVE))
        summaries.send(summary("job.cost", value, at))
    assert histograms.total() == summaries.total() == Decimal("8.5")


@pytest.mark.parametrize(
    ("kind", "metric", "reason"),
    [
        ("hourly_rate", histogram("job.cost", 1.0), "sum of a histogram is not a rate"),
        ("hourly_rate", histogram("job.cost", 1.0, exponential=True), "sum of a histogram"),
        ("hourly_rate", summary("job.cost", 1.0), "sum of a summary is not a rate"),
        ("amount", summary("job.cost", 1.0), "write kind: cumulative"),
        ("hourly_rate", total("job.cost", 1.0), "a sum that only grows is not a rate"),
        ("hourly_rate", total("job.cost", 1.0, temporality=CUMULATIVE), "only grows is not a rate"),
        ("amount", histogram("job.cost", None), "it has no sum"),
        ("amount", histogram("job.cost", -1.0), "negative"),
    ],
)
def test_a_kind_that_does_not_fit_the_type_is_refused_with_a_reason(
    kind: CostKind, metric: Metric, reason: str
) -> None:
    sender = Sender(in_usd(kind))
    assert sender.send(metric) == ()
    assert reason in sender.reasons
    assert list(sender.refused.values()) == [1]


def test_a_sum_that_may_fall_can_be_an_hourly_rate() -> None:
    sender = Sender(in_usd("hourly_rate"))
    for minute in range(61):
        sender.send(
            total(
                "job.cost",
                3.0,
                at=START + minute * MINUTE,
                temporality=CUMULATIVE,
                monotonic=False,
            )
        )
    assert sender.total() == Decimal(3)


def test_an_empty_histogram_costs_nothing_and_a_rule_can_exclude_a_histogram() -> None:
    sender = Sender(in_usd("amount"))
    sender.send(histogram("job.cost", None, count=0))
    assert (sender.total(), sender.refused) == (0, {})
    never = Sender(in_usd(None))
    never.send(histogram("job.cost", 1.0), summary("job.cost", 1.0))
    assert (never.samples, never.refused) == ([], {})


def test_histograms_and_summaries_named_openfinops_cost_need_a_currency() -> None:
    sender = Sender()
    sender.send(histogram("openfinops.cost", 1.0, currency="EUR"))
    sender.send(summary("openfinops.cost", 1.0))
    assert sender.total() == 1
    assert list(sender.refused.values()) == [1]
    assert "no currency is given" in sender.reasons


def test_a_rule_can_exclude_a_metric_and_the_defaults_can_be_off() -> None:
    never = Sender(CostRule("budget", None))
    never.send(total("budget", 1.0, "USD"), total("spend", 2.0, "USD"))
    assert never.total() == Decimal(2)
    without = Sender(use_defaults=False)
    without.send(total("spend", 1.0, "USD"), gauge("node_total_hourly_cost", 1.0))
    assert (without.samples, without.refused) == ([], {})


def test_an_evicted_series_is_matched_again() -> None:
    sender = Sender()
    (first,) = sender.send(total("spend", 1.0, "USD"))
    sender.series.invalidate([first.series_id])
    (second,) = sender.send(total("spend", 1.0, "USD"))
    assert second == first


def test_series_evicted_from_the_series_cache_are_pruned() -> None:
    cache = SeriesCache(max_entries=300)
    cost_deriver = CostDeriver(is_cached=cache.has_series)
    for at in range(30):
        message = ExportMetricsServiceRequest()
        group = message.resource_metrics.add()
        group.resource.attributes.extend(key_values({"host.name": f"n{at}"}))
        metric = group.scope_metrics.add().metrics.add(name="spend", unit="USD")
        metric.sum.aggregation_temporality = DELTA
        for vm in range(1_000):
            point = metric.sum.data_points.add(time_unix_nano=START, as_double=1.0)
            point.attributes.extend(key_values({"vm": vm}))
        batch, _ = cost_deriver.derive(decode(message.SerializeToString(), cache).batch)
        assert len(batch.cost_samples) == 1_000
    assert cost_deriver.series_count <= 11_000


def test_the_same_requests_give_the_same_samples_to_a_fresh_cache() -> None:
    one, other = Sender(), Sender()
    for sender in (one, other):
        for minute in range(3):
            sender.send(
                total("spend", 1.0 + minute, "USD", START + minute * MINUTE, team="a"),
                gauge("rent", 2.0, "EUR/h", START + minute * MINUTE),
            )
    assert one.samples == other.samples


def test_a_batch_without_cost_series_is_returned_unchanged() -> None:
    cache = SeriesCache()
    batch = decode(b"", cache).batch
    derived, refused = CostDeriver(is_cached=cache.has_series).derive(batch)
    assert derived is batch
    assert refused == {}
    assert Batch().cost_samples == ()


# OpenCost


def test_real_opencost_scrapes_cost_their_rates(corpus: Path) -> None:
    sender = Sender()
    for at in range(5):
        sender.take((corpus / "opencost" / f"opencost_gke_{at:03}.bin").read_bytes())
    by_category: dict[str, Decimal] = {}
    for entry in sender.entries():
        by_category[entry.category] = by_category.get(entry.category, Decimal(0)) + entry.amount
    hours = Decimal(4 * 60) / 3600
    nodes = 2 * Decimal("0.06631302438846588") * hours
    volumes = Decimal("5.479452054794521E-05") * (4 * 32 + 1) * hours
    assert abs(by_category.pop("compute") - nodes) < Decimal("1e-7")
    assert abs(by_category.pop("storage") - volumes) < Decimal("1e-7")
    assert abs(by_category.pop("network") - Decimal("0.025") * hours) < Decimal("1e-7")
    assert by_category == {}
    assert {entry.currency for entry in sender.entries()} == {"USD"}
    assert sender.refused == {}


def test_real_opencost_entries_have_resource_and_region(corpus: Path) -> None:
    sender = Sender()
    sender.take((corpus / "opencost" / "opencost_gke_000.bin").read_bytes())
    found = {(entry.category, entry.resource_id, entry.region) for entry in sender.entries()}
    node = "gce://guestbook-227502/us-central1-c/gke-kc-demo-stage-pool-2-70aa2479-4ric"
    assert ("compute", node, "us-central1") in found
    assert ("network", "35.202.61.109", None) in found
    assert ("storage", "pvc-ec6df12e-b0ec-4748-bbb4-fcea57c4f669", None) in found
    assert len(found) == 2 + 1 + 8


def test_prices_of_node_parts_and_traffic_are_no_cost() -> None:
    sender = Sender()
    sender.send(
        gauge("node_cpu_hourly_cost", 1.0, "USD/h"),
        gauge("node_ram_hourly_cost", 1.0, "{USD}/h"),
        gauge("node_gpu_hourly_cost", 1.0),
        gauge("kubecost_network_zone_egress_cost", 1.0),
    )
    assert sender.samples == []


def test_a_price_of_a_volume_names_the_chain_of_its_sizes() -> None:
    sender = Sender(k8s__cluster__name="a")
    volume = {"persistentvolume": "pv-1"}
    sender.send(
        gauge("pv_hourly_cost", 0.5, **volume),
        gauge("pod_pvc_allocation", 2.0, pod="p", **volume),
        gauge("pod_pvc_allocation", 2.0, pod="q", **volume),
        gauge("pod_pvc_allocation", 9.0, pod="p", persistentvolume="pv-2"),
        gauge("pod_pvc_allocation", 9.0, pod="p"),
    )
    price, *sizes = sender.samples
    assert price.basis.quantity_id is not None
    assert price.basis.factor == Decimal(1) / 2**30
    assert (price.basis.resource_id, price.basis.source_name) == ("pv-1", "pv_hourly_cost")
    assert [size.value for size in sizes if size.series_id == price.basis.quantity_id] == [2, 2]
    assert len(sizes) == 3
    assert {size.basis.kind for size in sizes} == {"quantity"}
    assert sender.refused == {}
    other_cluster = Sender(k8s__cluster__name="b")
    (size,) = other_cluster.send(gauge("pod_pvc_allocation", 2.0, **volume))
    assert size.series_id != price.basis.quantity_id


def test_a_size_may_exceed_what_an_amount_may_and_is_not_negative() -> None:
    sender = Sender()
    sender.send(gauge("pod_pvc_allocation", 2.0**53, persistentvolume="pv-1"))
    assert len(sender.samples) == 1
    sender.send(gauge("pod_pvc_allocation", -1.0, persistentvolume="pv-1"))
    assert "a size cannot be negative" in sender.reasons


# What is paid for


def test_replicas_of_opencost_have_one_chain_and_equal_entries() -> None:
    chains = {}
    for replica in ("10.0.0.1:9003", "10.0.0.2:9003"):
        sender = Sender(
            k8s__cluster__name="c",
            k8s__node__name=f"node-of-{replica}",
            service__name="opencost",
            service__instance__id=replica,
        )
        (sample,) = sender.send(
            gauge(
                "node_total_hourly_cost",
                0.12,
                node="n1",
                provider_id="gce://n1",
                region="eu",
                pod=f"opencost-{replica}",
                instance=replica,
                exported_instance="n1",
            )
        )
        chains[sample.series_id] = sample.basis
        assert (sample.basis.node_id, sample.basis.region) == ("n1", "eu")
        assert sample.basis.tags == '{"exported_instance":"n1","node":"n1"}'
    assert len(chains) == 1
    other_node = Sender(k8s__cluster__name="c")
    (sample,) = other_node.send(gauge("node_total_hourly_cost", 0.12, provider_id="gce://n2"))
    assert sample.series_id not in chains


def test_a_rule_says_which_attributes_identify_what_is_paid_for() -> None:
    rule = CostRule("rent", "hourly_rate", identity=("flat", "cloud.*"), tags={})
    one, other = (
        Sender(rule, cloud__region="eu", host__name="a"),
        Sender(rule, cloud__region="eu", host__name="b"),
    )
    (first,) = one.send(gauge("rent", 1.0, "EUR/h", flat="1", seen="x"))
    (same,) = other.send(gauge("rent", 1.0, "EUR/h", flat="1", seen="y"))
    (differs,) = other.send(gauge("rent", 1.0, "EUR/h", flat="2", seen="y"))
    assert first == same
    assert first.basis.region == "eu"
    assert differs.series_id != first.series_id
    # Without any of the attributes, each series is paid for by itself.
    lonely = [Sender(rule, host__name=name).send(gauge("rent", 1.0, "EUR/h"))[0] for name in "ab"]
    assert lonely[0].series_id != lonely[1].series_id


def test_a_sample_says_its_source_its_starts_and_its_falls() -> None:
    sender = Sender(
        CostRule("month", "cumulative", currency=(FieldSource(constant="EUR"),), falls="correct"),
        CostRule("job.cost", "amount", currency=(FieldSource(constant="USD"),)),
    )
    sender.send(gauge("month", 3.0), total("spend", 1.0, "USD"))
    sender.send(histogram("job.cost", 2.0, count=7))
    month, spend, job = sender.samples
    assert (month.basis.source_name, month.basis.falls) == ("month", "correct")
    assert (month.basis.has_known_starts, month.count) == (False, None)
    assert (job.basis.source_name, job.count, job.basis.has_known_starts) == ("job.cost", 7, True)
    assert (spend.basis.source_name, spend.count) == ("spend", None)
    assert spend.basis.falls == "auto"


@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_a_sum_that_may_fall_costs_the_same_by_either_temporality(temporality: Any) -> None:
    sender = Sender()
    values = (5.0, 2.5, -6.5, -2.0)
    running = 0.0
    for minute, value in enumerate(values):
        running += value
        sent = running if temporality == CUMULATIVE else value
        at = START + minute * MINUTE
        metric = total("spend", sent, "EUR", at, temporality=temporality, monotonic=False)
        sender.send(metric)
    assert sender.total() == Decimal(-1)
    assert not sender.refused


def test_gpu_metrics_are_a_cost_only_with_a_rule(corpus: Path) -> None:
    files = sorted((corpus / "gpu").glob("*.bin"))
    plain = Sender()
    priced = Sender(
        CostRule(
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION*",
            "cumulative",
            category=(FieldSource.parse("energy"),),
            resource_id=(FieldSource.parse("attribute:UUID"),),
            currency=(FieldSource.parse("USD"),),
        )
    )
    for file in files:
        plain.take(file.read_bytes())
        priced.take(file.read_bytes())
    assert (plain.samples, plain.refused) == ([], {})
    values = [sample.value for sample in priced.samples]
    assert len(values) == len(files)
    assert {entry.resource_id for entry in priced.entries()} == {
        "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e"
    }


# Currencies


def test_currencies() -> None:
    assert len(CURRENCIES) > 150
    assert all(len(code) == 3 and code.isalpha() and code.isupper() for code in CURRENCIES)
    assert {"USD", "EUR", "JPY", "XOF"} <= CURRENCIES
    assert CURRENCIES.isdisjoint({"XAU", "XXX", "XTS", "XDR", "DEM"})
    assert parse_currency(" usd ") == "USD"
    assert parse_currency("dollars") is None
    assert unit_currency("{EUR}/h") == "EUR"
    assert [unit_currency(unit) for unit in ("usd", "{usd}", "$", "{$}", "$/h", "usd/h")] == (
        ["USD"] * 6
    )
    assert [unit_currency(unit) for unit in ("€", "{£}", "Eur")] == ["EUR", "GBP", "EUR"]
    others = ("", "1", "{USD", "USD}", "USD/s", "{try}", "all", "usdc")
    assert [unit_currency(unit) for unit in others] == [""] * len(others)
    assert unit_currency("TRY") == "TRY"
