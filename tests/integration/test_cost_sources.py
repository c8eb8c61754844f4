"""Cost entries from real clients (SDK metrics, SDK logs, scrapes) are stored exactly once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from kit.backends.kinds import Kind
from kit.backends.locations import config_keys
from kit.backends.stored_rows import count, stored_points
from kit.otlp.attributes import key_values
from kit.pipelines import build_pipeline
from kit.receiver import LOGS, METRICS, Submitted, plain, refused, send, serving
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality as Wire
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from exporter.assembly import backend_for, pipeline_for, spool_for
from exporter.cli.report import cost_report
from exporter.config import load
from exporter.costs.gen_ai import TokenPrice
from exporter.costs.rules import CostRule, FieldSource
from exporter.query import Reader
from exporter.receiver import Receiver
from exporter.receiver.probe import check_health
from exporter.spool import Spool
from exporter.wire import Rejections

CUMULATIVE = AggregationTemporality.CUMULATIVE
DELTA = AggregationTemporality.DELTA
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SECOND = 1_000_000_000
NOW = time.time_ns() // SECOND * SECOND


class Store:
    """A backend, and a pipeline into it with a spool in a folder.

    The memory backend has no spool, as in a server.
    """

    def __init__(self, kind: Kind, location: str, folder: Path, **options: Any) -> None:
        self.kind, self.location, self.folder = kind, location, folder
        self.backend = kind.make(location)
        path = f"{folder}/costs.spool"
        spool = Spool(path, max_bytes=2**30, retry_window_seconds=0.0) if kind.keeps else None
        self.pipeline = build_pipeline(
            self.backend,
            spool,
            **{
                "batch_interval_seconds": 3600.0,
                "batch_size": 1_000_000,
                "retry_window_seconds": 0.0,
                **options,
            },
        )
        self.pipeline.start()
        self.reader = Reader(self.backend, flush=self.pipeline.flush)

    def after_kill(self, folder: Path) -> Store:
        """The store that a process finds after a kill: files on disk, nothing from memory."""
        _copy_files(self.folder, folder)
        if self.kind.server is not None:
            return Store(self.kind, self.location, folder)
        location = folder / "location"
        _copy_files(Path(self.location), location)
        return Store(self.kind, str(location), folder)

    def totals(self) -> dict[tuple[str, str], Decimal]:
        """The sum of the amounts by category and currency."""
        rows = self.reader.cost_totals(group_by=["category"])
        return {(row["category"], row["currency"]): row["amount"] for row in rows}

    def entries(self, *names: str) -> list[tuple[Any, ...]]:
        """These columns of all entries, by time and id."""
        rows = self.reader.query_historical_costs()
        rows.sort(key=lambda row: (row["timestamp"], row["entry_id"]))
        return [tuple(row[name] for name in names) for row in rows]

    def close(self) -> None:
        assert self.pipeline.shutdown()
        assert self.pipeline.stats().is_balanced


def _copy_files(source: Path, target: Path) -> None:
    target.mkdir()
    for file in source.iterdir():
        if file.is_file() and not file.name.endswith("-shm"):
            shutil.copy(file, target / file.name)


StoreFactory = Callable[..., Store]


@pytest.fixture
def new_store(
    store_kind: Kind, location: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreFactory]:
    """Makes stores in one location and closes them after the test."""
    made: list[Store] = []

    def make(**options: Any) -> Store:
        made.append(Store(store_kind, location, tmp_path_factory.mktemp("spool"), **options))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(new_store: StoreFactory) -> Store:
    return new_store(llm_prices=[TokenPrice("house-*", Decimal("2.50"), Decimal(10))])


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    pipeline = store.pipeline
    receiver = Receiver(pipeline.submit, pipeline.submit_logs, endpoint="127.0.0.1:0")
    yield receiver.start()
    receiver.shutdown()


def meters(address: str, temporality: AggregationTemporality) -> MeterProvider:
    exporter = OTLPMetricExporter(
        endpoint=f"http://{address}",
        insecure=True,
        preferred_temporality=dict.fromkeys((Counter, Histogram), temporality),
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    return MeterProvider([reader], Resource.create({"service.name": "shop"}))


@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_an_sdk_counter_costs_what_was_added(
    store: Store, address: str, temporality: AggregationTemporality
) -> None:
    provider = meters(address, temporality)
    counter = provider.get_meter("billing").create_counter("openfinops.cost", unit="USD")
    for amount in (0.1, 0.2, 0.7):
        counter.add(amount, {"cost.category": "compute", "resource_id": "vm-1", "team": "blue"})
        counter.add(amount, {"cost.category": "storage", "resource_id": "disk-1"})
        assert provider.force_flush()
    provider.shutdown()
    assert store.totals() == {("compute", "USD"): 1, ("storage", "USD"): 1}
    found = store.entries("resource_id", "tags", "service_name")
    assert ("disk-1", {}, "shop") in found
    assert all(one in [("disk-1", {}, "shop"), ("vm-1", {"team": "blue"}, "shop")] for one in found)
    # The points are stored as a metric too.
    assert count(store.backend) >= 6


def test_an_sdk_gauge_costs_its_rate_times_the_elapsed_time(store: Store, address: str) -> None:
    def rent(_: CallbackOptions) -> Iterator[Observation]:
        yield Observation(3600.0, {"category": "compute"})

    provider = meters(address, CUMULATIVE)
    provider.get_meter("billing").create_observable_gauge("rent", [rent], unit="EUR/h")
    for _ in range(3):
        assert provider.force_flush()
    provider.shutdown()
    (((_, currency), amount),) = store.totals().items()
    times = [time for time, _ in stored_points(store.backend)]
    first, last = min(times), max(times)
    # 3600 EUR an hour are one a second; each point is rounded to 10^-9.
    assert currency == "EUR"
    assert last > first
    assert abs(amount - Decimal(last - first) / 10**6) < Decimal("1e-7")


@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_sdk_token_usage_costs_tokens_times_price(
    store: Store, address: str, temporality: AggregationTemporality
) -> None:
    provider = meters(address, temporality)
    usage = provider.get_meter("gen_ai").create_histogram("gen_ai.client.token.usage", "{token}")
    about = {"gen_ai.provider.name": "own", "gen_ai.request.model": "house-1"}
    for _ in range(3):
        usage.record(1_000, {**about, "gen_ai.token.type": "input"})
        usage.record(200, {**about, "gen_ai.token.type": "output"})
        usage.record(7, {**about, "gen_ai.request.model": "nobody", "gen_ai.token.type": "input"})
        assert provider.force_flush()
    provider.shutdown()
    assert store.totals() == {("ai", "USD"): Decimal("0.0135")}
    assert store.pipeline.stats().points_rejected >= 3  # the model without a price


@pytest.mark.parametrize("names_model", [False, True])
def test_a_service_that_sends_costs_and_tokens(
    store: Store, address: str, caplog: pytest.LogCaptureFixture, *, names_model: bool
) -> None:
    provider = meters(address, DELTA)
    meter = provider.get_meter("chat")
    about = {"gen_ai.provider.name": "own", "gen_ai.request.model": "house-1"}
    meter.create_histogram("gen_ai.client.token.usage", "{token}").record(
        1_000, {**about, "gen_ai.token.type": "input"}
    )
    meter.create_counter("llm.cost", "USD").add(0.25, about if names_model else {})
    assert provider.force_flush()
    provider.shutdown()
    report = cost_report(
        store.reader,
        NOW / SECOND - 3_600,
        NOW / SECOND + 3_600,
        None,
        top=10,
        filters={},
    )
    (usd,) = report.currencies
    assert usd.total == Decimal("0.25" if names_model else "0.2525")
    named = [] if names_model else ["shop"]
    assert report.twice_services == named
    assert store.pipeline.stats().costs_counted_twice == len(named)
    said = [text for text in caplog.messages if "service 'shop' sends costs (llm.cost)" in text]
    assert len(said) == len(named)


def test_sdk_cost_events_are_stored_once_for_each_id(store: Store, address: str) -> None:
    provider = LoggerProvider(Resource.create({"service.name": "billing", "cloud.region": "eu-1"}))
    exporter = OTLPLogExporter(endpoint=f"http://{address}", insecure=True)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("billing")
    for entry_id, amount in (("a", "10.50"), ("b", "0.01"), ("a", "10.50")):
        logger.emit(
            LogRecord(
                timestamp=NOW,
                event_name="openfinops.cost",
                severity_number=SeverityNumber.INFO,
                attributes={
                    "entry_id": entry_id,
                    "amount": amount,
                    "currency": "USD",
                    "category": "support",
                    "resource_id": "contract-1",
                    "customer": "acme",
                },
            )
        )
    logger.emit(LogRecord(timestamp=NOW, body="an ordinary line"))
    provider.shutdown()
    assert store.totals() == {("support", "USD"): Decimal("10.51")}
    assert store.entries(
        "entry_id", "timestamp", "resource_id", "region", "service_name", "tags", "source"
    ) == [
        (name, NOW / SECOND, "contract-1", "eu-1", "billing", {"customer": "acme"}, "log")
        for name in ("a", "b")
    ]
    assert store.pipeline.stats().points_rejected == 1


def log_request(*amounts: str, event_name: str = "openfinops.cost") -> bytes:
    message = ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    for at, amount in enumerate(amounts):
        record = scope.log_records.add(time_unix_nano=NOW + at, event_name=event_name)
        record.attributes.extend(key_values({"amount": amount, "currency": "USD", "category": "c"}))
    return message.SerializeToString()


def call(address: str, method: str, data: bytes) -> bytes:
    with plain(address) as channel:
        return send(channel, data, method)


def test_the_reply_to_logs_says_what_was_refused(store: Store, address: str) -> None:
    assert call(address, LOGS, log_request("1", "2")) == b""
    answer = ExportLogsServiceResponse.FromString(call(address, LOGS, log_request("x", "4", "-8")))
    assert answer.partial_success.rejected_log_records == 2
    assert "its amount 'x' is not a number" in answer.partial_success.error_message
    again = ExportLogsServiceResponse.FromString(call(address, LOGS, log_request("x", "4", "-8")))
    assert again == answer
    other = ExportLogsServiceResponse.FromString(
        call(address, LOGS, log_request("1", event_name="login"))
    )
    assert other.partial_success.rejected_log_records == 1
    assert "only events named openfinops.cost are stored" in other.partial_success.error_message
    with plain(address) as channel:
        assert refused(channel, b"\xff\xff", LOGS).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert store.totals() == {("c", "USD"): Decimal(7)}


def test_traces_are_still_refused(address: str) -> None:
    with plain(address) as channel:
        answer = refused(channel, method=TRACES)
    assert answer.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "takes metrics and cost events" in answer.details()


@pytest.mark.parametrize(
    ("takes", "other", "said"),
    [
        ("logs", METRICS, "takes cost events; add a pipeline for metrics to its configuration"),
        ("metrics", LOGS, "takes metrics; point the exporter for logs elsewhere"),
    ],
)
def test_a_signal_without_a_pipeline_is_refused(takes: str, other: str, said: str) -> None:
    submit = Submitted()
    receiver = Receiver(
        submit if takes == "metrics" else None,
        submit if takes == "logs" else None,
        endpoint="127.0.0.1:0",
    )
    with serving(receiver) as address, plain(address) as channel:
        assert send(channel, method=LOGS if takes == "logs" else METRICS) == b""
        answer = refused(channel, method=other)
        assert check_health(address, timeout_seconds=10)
    assert answer.code() is grpc.StatusCode.UNIMPLEMENTED
    assert said in answer.details()


def scrape(corpus: Path, number: int) -> bytes:
    """A real scrape of OpenCost with times in the last minutes."""
    data = (corpus / "opencost" / f"opencost_gke_{number:03}.bin").read_bytes()
    message = ExportMetricsServiceRequest.FromString(data)
    for group in message.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                for point in getattr(metric, kind).data_points:
                    point.time_unix_nano = NOW - (5 - number) * 60 * SECOND
    return message.SerializeToString()


def opencost_totals() -> dict[tuple[str, str], Decimal]:
    hours = Decimal(240) / 3600
    return {
        ("compute", "USD"): 2 * Decimal("0.06631302438846588") * hours,
        ("storage", "USD"): Decimal("5.479452054794521E-05") * (4 * 32 + 1) * hours,
        ("network", "USD"): Decimal("0.025") * hours,
    }


def is_close(
    found: dict[tuple[str, str], Decimal], expected: dict[tuple[str, str], Decimal]
) -> bool:
    return found.keys() == expected.keys() and all(
        abs(found[key] - expected[key]) < Decimal("1e-7") for key in expected
    )


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 2, 0, 3, 1)], ids=["in order", "late"])
@pytest.mark.parametrize("flushed", [False, True])
def test_opencost_scrapes_have_the_same_totals_in_any_order_and_cut(
    store: Store, corpus: Path, order: tuple[int, ...], *, flushed: bool
) -> None:
    for number in order:
        assert store.pipeline.submit(scrape(corpus, number)) == Rejections()
        if flushed:
            assert store.pipeline.flush()
    assert is_close(store.totals(), opencost_totals())


def test_after_a_kill_the_spool_gives_the_same_costs(
    store: Store, corpus: Path, tmp_path: Path
) -> None:
    if not store.kind.keeps:
        pytest.skip("memory does not survive a process")
    for number in (0, 1):
        store.pipeline.submit(scrape(corpus, number))
    assert store.pipeline.flush()
    for number in (2, 3):
        store.pipeline.submit(scrape(corpus, number))
    store.pipeline.submit_logs(log_request("1.25", "2.50"))
    killed = store.after_kill(tmp_path / "killed")
    assert killed.pipeline.stats().points_replayed == 2 * 67 + 2
    killed.pipeline.submit(scrape(corpus, 4))
    killed.pipeline.submit_logs(log_request("1.25", "2.50"))  # sent again after a lost reply
    expected = {**opencost_totals(), ("c", "USD"): Decimal("3.75")}
    assert is_close(killed.totals(), expected)
    killed.close()


def test_requests_that_are_only_in_the_spool_cost_the_same(
    store_kind: Kind, new_store: StoreFactory, corpus: Path
) -> None:
    if not store_kind.keeps:
        pytest.skip("memory has no spool")
    store = new_store(max_queued_entries=50, batch_size=10)
    for number in range(5):
        store.pipeline.submit(scrape(corpus, number))
        store.pipeline.submit_logs(log_request(f"{number}.5"))
    expected = {**opencost_totals(), ("c", "USD"): Decimal("12.5")}
    assert is_close(store.totals(), expected)


@pytest.mark.parametrize("replicas", [(0, 1), (0,)], ids=["two replicas", "a replaced pod"])
def test_a_node_costs_once_whoever_reports_it(store: Store, replicas: tuple[int, ...]) -> None:
    for minute in range(61):
        for replica in replicas if len(replicas) > 1 else (minute // 31,):
            message = ExportMetricsServiceRequest()
            group = message.resource_metrics.add()
            group.resource.attributes.extend(
                key_values({"service.name": "opencost", "service.instance.id": f"10.0.0.{replica}"})
            )
            metric = group.scope_metrics.add().metrics.add(name="node_total_hourly_cost")
            point = metric.gauge.data_points.add(
                time_unix_nano=NOW - (60 - minute) * 60 * SECOND, as_double=0.12
            )
            point.attributes.extend(key_values({"node": "n1", "provider_id": "gce://n1"}))
            assert store.pipeline.submit(message.SerializeToString()) == Rejections()
    assert store.totals() == {("compute", "USD"): Decimal("0.12")}
    assert store.entries("resource_id", "node_id")[0] == ("gce://n1", "n1")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=["in order", "late"])
def test_gpu_scrapes_cost_by_configured_rules(
    new_store: StoreFactory, corpus: Path, order: tuple[int, ...]
) -> None:
    where = (FieldSource.parse("attribute:UUID"),)
    store = new_store(
        cost_rules=[
            CostRule(
                "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION*",
                "cumulative",
                category=(FieldSource.parse("energy"),),
                resource_id=where,
                currency=(FieldSource.parse("USD"),),
            ),
            CostRule(
                "DCGM_FI_DEV_POWER_USAGE",
                "hourly_rate",
                category=(FieldSource.parse("gpu"),),
                resource_id=where,
                currency=(FieldSource.parse("EUR"),),
            ),
        ]
    )
    for number in order:
        request = (corpus / "gpu" / f"dcgm_t4_{number:03}.bin").read_bytes()
        assert store.pipeline.submit(request) == Rejections()
    # The counter has a start time; the rate is paid for 30 s.
    assert store.totals() == {
        ("energy", "USD"): Decimal("131575933.26"),
        ("gpu", "EUR"): (Decimal("8.969") * 30 / 3600).quantize(Decimal("1e-9")),
    }
    assert {resource for (resource,) in store.entries("resource_id")} == {
        "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e"
    }


def test_configured_rules_reach_the_pipeline(
    tmp_path: Path, store_kind: Kind, location: str
) -> None:
    path = tmp_path / "config.yaml"
    keys = {
        **config_keys(store_kind, location),
        "spool_path": f"{tmp_path}/spool",
        "default_cost_rules": "off",
        "cost_rules": [{"metric": "acme.*", "kind": "amount", "currency": "CHF"}],
    }
    path.write_text(json.dumps({"exporters": {"openfinops": keys}}))
    settings = load(path, {}).exporter
    backend = backend_for(settings, serving=True)
    pipeline = pipeline_for(settings, backend, spool_for(settings, backend))
    pipeline.start()
    message = ExportMetricsServiceRequest()
    metrics = message.resource_metrics.add().scope_metrics.add().metrics
    for name, unit in (("acme.spend", "1"), ("spend", "USD")):
        metric = metrics.add(name=name, unit=unit)
        metric.sum.aggregation_temporality = Wire.AGGREGATION_TEMPORALITY_DELTA
        metric.sum.data_points.add(time_unix_nano=NOW, as_double=2.5)
    assert not pipeline.submit(message.SerializeToString()).counts
    [row] = Reader(backend, flush=pipeline.flush).query_historical_costs()
    assert (row["amount"], row["currency"]) == (2.5, "CHF")
    assert pipeline.shutdown()


def test_a_bad_cost_is_named_in_the_reply_and_its_point_is_stored(store: Store) -> None:
    message = ExportMetricsServiceRequest()
    metric = (
        message.resource_metrics.add().scope_metrics.add().metrics.add(name="spend", unit="USD")
    )
    metric.sum.aggregation_temporality = Wire.AGGREGATION_TEMPORALITY_DELTA
    metric.sum.is_monotonic = True
    for at, value in enumerate((1.0, -2.0, float("nan"))):
        metric.sum.data_points.add(time_unix_nano=NOW + at * SECOND, as_double=value)
    rejections = store.pipeline.submit(message.SerializeToString())
    assert rejections.total == 2
    assert "although the point itself is stored: it is negative" in rejections.message()
    assert store.totals() == {("other", "USD"): Decimal(1)}
    assert count(store.backend) == 3
