"""`serve` with a pipeline for logs and none for metrics: real SDKs send both."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import pytest
from kit.pipelines import stored
from kit.processes import Program, run
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

FILE = "openfinops_telemetry.db"
PIPELINE = "{receivers: [otlp], exporters: [openfinops]}"


def write_configuration(folder: Path, *signals: str) -> str:
    lines = [
        "receivers: {otlp: {protocols: {grpc: {endpoint: 'localhost:0'}}}}",
        "exporters: {openfinops: }",
        "service:",
        "  pipelines:",
        *(f"    {signal}: {PIPELINE}" for signal in signals),
    ]
    (folder / "otel.yaml").write_text("\n".join(lines))
    return "otel.yaml"


def send_costs(address: str, *amounts: str) -> None:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(
        SimpleLogRecordProcessor(OTLPLogExporter(endpoint=address, insecure=True))
    )
    for amount in amounts:
        provider.get_logger("bills").emit(
            timestamp=time.time_ns(),
            event_name="openfinops.cost",
            attributes={"amount": amount, "currency": "EUR", "resource_id": f"vm-{amount}"},
        )
    provider.shutdown()


def send_metrics(address: str) -> None:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=address, insecure=True))
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("shop").create_counter("orders").add(12)
    provider.shutdown()


@pytest.mark.parametrize(
    ("signals", "points"), [(("logs",), 0), (("metrics",), 1), (("metrics", "logs"), 1)]
)
def test_metrics_are_refused_where_the_one_pipeline_is_for_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, signals: tuple[str, ...], points: int
) -> None:
    config = write_configuration(tmp_path, *signals)
    with Program("serve", "--config", config, cwd=tmp_path) as program:
        address = program.wait_until_listening()
        if not points:
            program.wait_for_line("cost events are accepted, metrics are refused")
        send_costs(address, "12.48", "0.02")
        with caplog.at_level(logging.ERROR, "opentelemetry"):
            send_metrics(address)
        assert program.stop() == 0, program.log
    assert (stored(tmp_path / FILE, "cost_entries"), stored(tmp_path / FILE)) == (2, points)
    assert ("UNIMPLEMENTED" in caplog.text) == (not points)


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        (("logs",), "cost events in logs; no pipeline takes metrics, so metrics are refused"),
        (("metrics",), "metrics, and cost events in logs"),
    ],
)
def test_check_says_which_signals_are_taken(
    tmp_path: Path, signals: tuple[str, ...], said: str
) -> None:
    result = run("check", "--config", write_configuration(tmp_path, *signals), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(rf"^signals +{said}$", result.stdout, re.MULTILINE), result.stdout
