"""Real OpenTelemetry SDKs in front, a real backend behind, read back row by row."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import pytest
from kit.pipelines import build_pipeline
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from exporter.backends import open_backend
from exporter.backends.base import Backend
from exporter.receiver import Receiver

CUMULATIVE = AggregationTemporality.CUMULATIVE
DELTA = AggregationTemporality.DELTA


class Running:
    """A receiver in front of a started backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.pipeline = build_pipeline(backend, batch_size=100, batch_interval_seconds=60.0)
        self.receiver = Receiver(self.pipeline.submit, endpoint="127.0.0.1:0")
        self.pipeline.start()
        self.address = self.receiver.start()

    def stop(self) -> None:
        self.receiver.shutdown()
        assert self.pipeline.shutdown()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        assert self.pipeline.flush()
        return self.backend.fetch(statement)

    def provider(self, *, temporality: AggregationTemporality, **options: Any) -> MeterProvider:
        exporter = OTLPMetricExporter(
            endpoint=f"http://{self.address}",
            insecure=True,
            compression=options.pop("compression", None),
            preferred_temporality=dict.fromkeys(
                (Counter, Histogram, ObservableCounter), temporality
            ),
        )
        resource = Resource.create(
            {"service.name": "shop", "host.name": "node-7", "ports": [80, 443]}
        )
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        return MeterProvider(metric_readers=[reader], resource=resource, **options)


@pytest.fixture(params=["memory", "sqlite"])
def running(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Running]:
    started = Running(
        open_backend(request.param, f"sqlite:///{tmp_path}/shop.db", max_memory_entries=10_000)
    )
    yield started
    started.stop()


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_a_counter_arrives_with_everything_around_it(running: Running, compression: str) -> None:
    named = {"none": None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
    provider = running.provider(temporality=CUMULATIVE, compression=named[compression])
    meter = provider.get_meter("shop.cart", "1.2", attributes={"team": "checkout"})
    meter.create_counter("orders", unit="{order}", description="Orders placed").add(
        3, {"region": "eu", "express": True, "items": 2, "weight": 1.5}
    )
    assert provider.force_flush()
    provider.shutdown()
    (row,) = running.rows(
        "SELECT metric_name, metric_type, unit, description, temporality, is_monotonic, node_id,"
        " service_name, resource, scope, attributes FROM metric_series"
    )
    assert row[:8] == (
        "orders", "sum", "{order}", "Orders placed", "cumulative", 1, "node-7", "shop",
    )  # fmt: skip
    assert json.loads(row[8])["ports"] == [80, 443]
    assert json.loads(row[9]) == {
        "name": "shop.cart", "version": "1.2", "attributes": {"team": "checkout"},
    }  # fmt: skip
    assert row[10] == '{"express":true,"items":2,"region":"eu","weight":1.5}'
    # force_flush and shutdown each export once: a cumulative counter is the same in both.
    values = running.rows("SELECT value, start_timestamp <= timestamp FROM system_metrics")
    assert values == [(3.0, 1), (3.0, 1)]


def test_delta_counters_hold_what_was_added_between_exports(running: Running) -> None:
    provider = running.provider(temporality=DELTA)
    counter = provider.get_meter("m").create_counter("jobs")
    for amount in (1, 2.5, 4):
        counter.add(amount)
        assert provider.force_flush()
    provider.shutdown()
    rows = running.rows(
        "SELECT value, temporality FROM system_metrics JOIN metric_series USING (series_id)"
        " ORDER BY timestamp"
    )
    assert rows == [(1.0, "delta"), (2.5, "delta"), (4.0, "delta")]
    assert len(running.rows("SELECT * FROM metric_series")) == 1


@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_explicit_histograms(running: Running, temporality: AggregationTemporality) -> None:
    provider = running.provider(temporality=temporality)
    histogram = provider.get_meter("m").create_histogram(
        "latency", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0]
    )
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.record(seconds)
    assert provider.force_flush()
    ((count, total, low, high, bounds, buckets),) = running.rows(
        "SELECT count, sum, min, max, bounds, bucket_counts FROM metric_histograms"
    )
    provider.shutdown()
    assert (count, low, high) == (4, 0.05, 7.0)
    assert total == pytest.approx(7.65)
    assert json.loads(bounds) == [0.1, 1.0]
    assert json.loads(buckets) == [2, 1, 1]


def test_exponential_histograms(running: Running) -> None:
    view = View(
        instrument_name="size", aggregation=ExponentialBucketHistogramAggregation(max_size=20)
    )
    provider = running.provider(temporality=DELTA, views=[view])
    histogram = provider.get_meter("m").create_histogram("size", unit="By")
    for value in (0, 1, 2, 4, 4):
        histogram.record(value)
    provider.shutdown()
    ((count, zero_count, scale, offset, positive, negative),) = running.rows(
        "SELECT count, zero_count, scale, positive_offset, positive_counts, negative_counts"
        " FROM metric_histograms"
    )
    base = 2 ** (2**-scale)
    held = {
        round(base ** (offset + at + 1), 6): n for at, n in enumerate(json.loads(positive)) if n
    }
    assert (count, zero_count, sum(json.loads(negative))) == (5, 1, 0)
    assert held == {1.0: 1, 2.0: 1, 4.0: 2}  # upper bounds are inclusive


def test_exemplars_lead_to_their_trace(running: Running) -> None:
    tracing = TracerProvider()
    provider = running.provider(temporality=DELTA, exemplar_filter=TraceBasedExemplarFilter())
    histogram = provider.get_meter("m").create_histogram("latency")
    with tracing.get_tracer("t").start_as_current_span("checkout") as span:
        histogram.record(0.25)
        context = span.get_span_context()
    provider.shutdown()
    tracing.shutdown()
    rows = running.rows("SELECT value, trace_id, span_id FROM metric_exemplars")
    expected = (
        0.25,
        trace.format_trace_id(context.trace_id),
        trace.format_span_id(context.span_id),
    )
    assert rows == [expected]


def test_asynchronous_instruments(running: Running) -> None:
    def gauges(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(20.5, {"room": "küche"})
        yield Observation(-3, {"room": "冷蔵庫"})

    def counters(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(12, {"core": 0})

    provider = running.provider(temporality=CUMULATIVE)
    meter = provider.get_meter("m")
    meter.create_observable_gauge("temperature", [gauges], unit="Cel")
    meter.create_observable_counter("ticks", [counters])
    meter.create_observable_up_down_counter("connections", [counters])
    provider.shutdown()
    rows = running.rows(
        "SELECT metric_name, metric_type, is_monotonic, attributes, value FROM system_metrics"
        " JOIN metric_series USING (series_id) ORDER BY metric_name, value"
    )
    assert rows == [
        ("connections", "sum", 0, '{"core":0}', 12.0),
        ("temperature", "gauge", None, '{"room":"冷蔵庫"}', -3.0),
        ("temperature", "gauge", None, '{"room":"küche"}', 20.5),
        ("ticks", "sum", 1, '{"core":0}', 12.0),
    ]
    assert running.pipeline.stats().points_accepted == 4
