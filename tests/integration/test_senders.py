"""The examples of docs/senders.md against a real receiver.

Go and Java are left out: building the Go example takes minutes with a cold cache.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from engines.node import Node, install_packages
from kit.pipelines import query_file
from kit.processes import Program, environment, run_command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "senders.md").read_text(encoding="utf-8")
PACKAGES = ROOT / "tests" / "senders"
APP = """
from opentelemetry import metrics
metrics.get_meter("shop").create_counter("orders").add(1)
"""


def example(heading: str, language: str) -> str:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(block)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Program]:
    database = f"sqlite:///{tmp_path}/store.db"
    env = environment(OPENFINOPS_DB_URL=database, OPENFINOPS_BATCH_SIZE="1")
    with Program("serve", "--endpoint", "localhost:0", cwd=tmp_path, env=env) as program:
        yield program


def at_receiver(text: str, receiver: Program) -> str:
    return text.replace("localhost:4317", receiver.wait_until_listening())


def run(command: list[str], folder: Path, **variables: str) -> None:
    env = environment(OTEL_SERVICE_NAME="shop", PYTHONWARNINGS="default", **variables)
    done = run_command(*command, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr


def assert_orders_are_stored(receiver: Program, folder: Path) -> None:
    assert receiver.stop() == 0, receiver.log
    rows = query_file(
        folder / "store.db",
        "SELECT s.service_name, m.value FROM metric_samples AS m "
        "JOIN metric_series AS s USING (series_id) WHERE s.metric_name = 'orders'",
    )
    assert rows == [("shop", 1.0)]


def test_python(receiver: Program, tmp_path: Path) -> None:
    *_, command = re.split(
        r"^(?=OTEL_METRICS_EXPORTER)", example("Python", "bash"), flags=re.MULTILINE
    )
    (tmp_path / "app.py").write_text(APP)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = at_receiver(command, receiver)
    run(["bash", "-c", script], tmp_path, PATH=path)
    assert_orders_are_stored(receiver, tmp_path)


def test_javascript(receiver: Program, tmp_path: Path) -> None:
    node = Node.find()
    modules = install_packages(node, PACKAGES)
    (tmp_path / "app.js").write_text(at_receiver(example("JavaScript", "js"), receiver))
    command = [str(node.program), "app.js"]
    run(command, tmp_path, NODE_PATH=str(modules))
    assert_orders_are_stored(receiver, tmp_path)


def test_the_collector_sends_every_received_metric_to_the_receiver() -> None:
    config = yaml.safe_load(example("OpenTelemetry Collector", "yaml"))
    pipeline = config["service"]["pipelines"]["metrics"]
    assert set(pipeline["receivers"]) <= set(config["receivers"])
    (exporter,) = pipeline["exporters"]
    assert config["exporters"][exporter]["endpoint"] == "localhost:4317"
