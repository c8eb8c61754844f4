"""openfinops 0.3.0 itself, with `exporter.openfinops` in the place of its persistence."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kit.processes import DEADLINE_SECONDS, environment

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "openfinops.md").read_text(encoding="utf-8")

PROGRAM = """
import json
{two_lines}
sys.path.append({folder!r})
from openfinops.observability.cost_observatory import CostCategory, CostEntry, CostObservatory
from openfinops.observability.observability_hub import (
    ObservabilityHub, ServiceMetrics, SystemHealth, SystemMetrics)
from openfinops.observability.persistence import PersistenceConfig, StorageBackend

config = PersistenceConfig(StorageBackend({backend!r}), connection_string={place!r})
hub, costs = ObservabilityHub(persistence_config=config), CostObservatory(persistence_config=config)
hub.collect_system_metrics(SystemMetrics(
    timestamp=1795000000.25, cpu_usage=41.5, memory_usage=63.0, disk_usage=20.0,
    cluster_id="production", node_id="node-1", network_io={{"in": 12.5, "out": 3.0}},
    latency_p50=1.5, latency_p95=9.25, latency_p99=20.125, health_status=SystemHealth.WARNING))
hub.collect_service_metrics(ServiceMetrics(
    service_name="trainer", timestamp=1795000000.5, status="up", uptime=5.0, restart_count=1,
    request_rate=10.0, response_time=3.0, success_rate=99.0, cpu_limit=4.0, memory_limit=8.0,
    cpu_request=1.0, memory_request=2.0, dependency_health={{"db": "up"}}, training_jobs_active=1,
    training_jobs_queued=2, training_jobs_failed=3))
hub.persistence_backend.store_system_metric(
    {{"timestamp": 1795000001.0, "cluster_id": "lab", "metadata": {{"rack": "b7"}}}})
hub.persistence_backend.store_alert(
    {{"timestamp": 1795000002.0, "type": "hot", "severity": "critical", "cluster_id": "lab",
      "resource_id": "n", "value": 91.5, "threshold": 85.0, "description": "it is hot",
      "acknowledged": False, "resolved": False}})
for at, amount in enumerate((1234567.89, 0.1, 0.2)):
    costs.add_cost_entry(CostEntry(
        entry_id=f"e-{{at}}", timestamp=1795000000.0 - at, resource_id="i-1",
        category=CostCategory.GPU, amount=amount, tags={{"team": "search"}},
        description="a card", billing_period="daily"))
answers = {{
    "system": hub.query_historical_metrics(cluster_id="production"),
    "metadata": hub.query_historical_metrics(cluster_id="lab"),
    "service": hub.persistence_backend.query_service_metrics(),
    "alerts": hub.persistence_backend.query_alerts(),
    "costs": costs.query_historical_costs(category="gpu"),
    "kind": type(hub.persistence_backend).__module__,
}}
hub.cleanup_old_data()
hub.close()
costs.close()
print(json.dumps(answers))
"""


def two_documented_lines() -> str:
    (found,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
        if "sys.modules" in block
    )
    assert len(found.split("\n\n")) == 2  # an import and an assignment
    return str(found)


@pytest.fixture(params=["in_memory", "sqlite", "postgresql", "timescaledb"])
def answers(request: pytest.FixtureRequest, tmp_path: Path, openfinops: Path) -> dict[str, Any]:
    """What its own hub and observatory answer after they were given one of everything."""
    place = {
        "in_memory": lambda: None,
        "sqlite": lambda: "sqlite:///openfinops.db",
        "postgresql": lambda: request.getfixturevalue("postgresql_database"),
        "timescaledb": lambda: request.getfixturevalue("timescaledb_database"),
    }[request.param]()
    program = PROGRAM.format(
        two_lines=two_documented_lines(),
        folder=str(openfinops),
        backend=request.param,
        place=place,
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(PYTHONWARNINGS="default"),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    given: dict[str, Any] = json.loads(done.stdout)
    return given


def test_its_hub_and_observatory_lose_nothing_here(answers: dict[str, Any]) -> None:
    assert answers["kind"] == "exporter.openfinops.backend"
    (system,) = answers["system"]
    assert (system["timestamp"], system["node_id"]) == (1795000000.25, "node-1")
    assert system["network_io"] == {"in": 12.5, "out": 3.0}
    assert [system[f"latency_p{share}"] for share in (50, 95, 99)] == [1.5, 9.25, 20.125]
    assert system["health_status"] == "warning"
    assert [record["metadata"] for record in answers["metadata"]] == [{"rack": "b7"}]
    (service,) = answers["service"]
    assert (service["service_name"], service["training_jobs_failed"]) == ("trainer", 3)
    assert service["dependency_health"] == {"db": "up"}
    (alert,) = answers["alerts"]
    assert (alert["type"], alert["value"], alert["resolved"]) == ("hot", 91.5, False)
    assert [cost["amount"] for cost in answers["costs"]] == [1234567.89, 0.1, 0.2]
    assert answers["costs"][0]["tags"] == {"team": "search"}
    assert answers["costs"][0]["description"] == "a card"
    assert answers["costs"][0]["billing_period"] == "daily"
