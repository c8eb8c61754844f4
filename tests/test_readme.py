"""The examples of the README work as printed."""

import re
import sqlite3
import time
from pathlib import Path

import pytest
from kit.pipelines import build_pipeline
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from exporter.backends import open_backend

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    now = time.time_ns()
    memory = scope.metrics.add(name="system.memory.usage", unit="By")
    network = scope.metrics.add(name="system.network.io", unit="By")
    network.sum.aggregation_temporality = 2  # type: ignore[assignment]
    network.sum.is_monotonic = True
    cpu = scope.metrics.add(name="system.cpu.utilization", unit="1")
    for at in range(3):
        moment = now - (180 - 60 * at) * 10**9
        point = memory.gauge.data_points.add(time_unix_nano=moment, as_int=1000 + at)
        point.attributes.add(key="system.memory.state").value.string_value = "used"
        sent = network.sum.data_points.add(time_unix_nano=moment, as_int=600 * at)
        sent.attributes.add(key="network.io.direction").value.string_value = "receive"
        cpu.gauge.data_points.add(time_unix_nano=moment, as_double=0.25)
    pipeline = build_pipeline(
        open_backend("sqlite", "sqlite:///openfinops_telemetry.db", max_memory_entries=0)
    )
    pipeline.start()
    assert pipeline.submit(request.SerializeToString()).total == 0
    assert pipeline.shutdown()


@pytest.mark.usefixtures("stored")
def test_the_python_example_reads_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block for block in blocks("python") if "open_reader" in block]
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own README
    printed = capsys.readouterr().out
    assert "system.cpu.utilization 0.25" in printed
    assert "'value': 10.0" in printed  # 600 bytes in 60 seconds
    assert "'network.io.direction': 'receive'" in printed


@pytest.mark.usefixtures("stored")
def test_the_sql_example_reads_the_data() -> None:
    (block,) = [block for block in blocks("bash") if "sqlite3 openfinops" in block]
    (statement,) = re.findall(r"openfinops_telemetry.db <<'SQL'\n(.*?)SQL\n", block, re.DOTALL)
    connection = sqlite3.connect("openfinops_telemetry.db")
    rows = connection.execute(statement).fetchall()
    connection.close()
    assert [row[1:] for row in rows] == [
        ("system.memory.usage", float(value), "By", "used") for value in (1002, 1001, 1000)
    ]


def test_every_document_that_the_readme_links_exists() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert targets
    missing = [target for target in targets if not (Path(__file__).parents[1] / target).exists()]
    assert missing == []
