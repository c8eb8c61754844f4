"""Measurements and costs in and out through OpenFinOps' interface, on every engine."""

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engines.databases import Databases
from kit.processes import environment

from exporter import (
    CostCategory,
    CostEntry,
    CostObservatory,
    ObservabilityHub,
    PersistenceConfig,
    ServiceMetrics,
    StorageBackend,
    SystemHealth,
    SystemMetrics,
)
from exporter.errors import ConfigError, RecordRefusedError, ShuttingDownError

NOW = time.time()
NewConfig = Callable[..., PersistenceConfig]


@pytest.fixture(params=StorageBackend, ids=lambda backend: backend.value)
def new_config(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> NewConfig:
    """Makes configurations for one empty store."""
    monkeypatch.chdir(tmp_path)  # where the spools of servers are
    backend: StorageBackend = request.param
    place = {
        StorageBackend.IN_MEMORY: lambda: None,
        StorageBackend.SQLITE: lambda: f"sqlite:///{tmp_path}/openfinops.db",
        StorageBackend.POSTGRESQL: lambda: request.getfixturevalue("postgresql_database"),
        StorageBackend.TIMESCALEDB: lambda: request.getfixturevalue("timescaledb_database"),
    }[backend]()
    return lambda **changes: PersistenceConfig(backend, place, **changes)


def measured(seconds_ago: float = 0.0, **changes: Any) -> SystemMetrics:
    values: dict[str, Any] = {"cpu_usage": 41.5, "memory_usage": 63.0, "disk_usage": 20.0}
    return SystemMetrics(timestamp=NOW - seconds_ago, **(values | changes))


def cost(entry_id: str = "e-1", seconds_ago: float = 0.0, **changes: Any) -> CostEntry:
    values: dict[str, Any] = {
        "resource_id": "i-1",
        "category": CostCategory.COMPUTE,
        "amount": 12.48,
    }
    return CostEntry(entry_id, NOW - seconds_ago, **(values | changes))


EVERYTHING = measured(
    cluster_id="production",
    node_id="node-1",
    gpu_usage=99.9,
    network_io={"in": 12.5, "out": {"total": 3}, "card": "eth0"},
    active_connections=2**70,
    throughput=math.inf,
    latency_p50=0.1,
    latency_p95=1 / 3,
    latency_p99=1e-9,
    training_active=True,
    health_status=SystemHealth.WARNING,
    cost_per_hour=3.06,
    metadata={"rack": "b7", "texts": ["ä", "\x00", "'"], "none": None},
)


def test_a_measurement_comes_back_with_every_field(new_config: NewConfig) -> None:
    with ObservabilityHub(new_config()) as hub:
        hub.collect_system_metrics(EVERYTHING)
        (found,) = hub.query_historical_metrics()
    assert found == asdict(EVERYTHING) | {"health_status": "warning"}


def test_service_metrics_and_alerts_come_back_too(new_config: NewConfig) -> None:
    service = ServiceMetrics("trainer", NOW, "down", dependency_health={"db": "up"}, uptime=7.0)
    other = ServiceMetrics("api", NOW - 1)
    with ObservabilityHub(new_config()) as hub:
        hub.collect_service_metrics(service)
        hub.collect_service_metrics(other)
        hub.collect_system_metrics(measured(cpu_usage=99.0))
        services = hub.query_historical_service_metrics(service_name="trainer")
        assert services == [asdict(service)]
        assert len(hub.query_historical_service_metrics()) == 2
        alerts = hub.query_historical_alerts()
        assert {alert["type"] for alert in alerts} == {"service_down", "high_cpu_usage"}
        (emergency,) = hub.query_historical_alerts(severity="emergency")
        assert emergency["resource_id"] == "trainer"


def test_queries_choose_by_time_place_and_limit_newest_first(new_config: NewConfig) -> None:
    with ObservabilityHub(new_config()) as hub:
        for minute in range(5):
            for node in ("a", "b"):
                hub.collect_system_metrics(measured(60.0 * minute, node_id=node))

        def minutes(**question: Any) -> list[int]:
            found = hub.query_historical_metrics(**question)
            return [round((NOW - record["timestamp"]) / 60) for record in found]

        assert minutes(node_id="a") == [0, 1, 2, 3, 4]
        assert minutes(limit=3) == [0, 0, 1]
        # The end belongs to the range, and 0 is a time.
        assert minutes(node_id="a", start_time=NOW - 180, end_time=NOW - 60) == [1, 2, 3]
        assert minutes(end_time=0.0) == []
        assert minutes(cluster_id="elsewhere") == []


def test_numbers_are_gauges_as_well(new_config: NewConfig) -> None:
    with ObservabilityHub(new_config()) as hub:
        hub.collect_system_metrics(EVERYTHING)
        with hub.persistence_backend.reading() as reader:
            series = reader.list_series("openfinops.system.*_usage")
    assert [(one["metric_name"], one["unit"], one["node_id"]) for one in series] == [
        (f"openfinops.system.{name}_usage", "%", "node-1")
        for name in ("cpu", "disk", "gpu", "memory")
    ]


def test_a_measurement_makes_no_cost(new_config: NewConfig) -> None:
    config = new_config()
    with ObservabilityHub(config) as hub, CostObservatory(config) as costs:
        for seconds in (7200, 3600, 0):
            hub.collect_system_metrics(measured(seconds, cost_per_hour=3.0))
        hub.persistence_backend.flush_buffer()
        assert hub.persistence_backend.query_cost_entries() == []
        assert costs.query_historical_costs() == []


def test_costs_come_back_with_their_fields_and_exact_sums(new_config: NewConfig) -> None:
    with CostObservatory(new_config()) as costs:
        costs.add_cost_entry(cost(tags={"team": "search"}, description="GPU", region="eu-1"))
        costs.add_cost_entry(cost("e-2", 60, amount=Decimal("0.10"), category="storage"))
        costs.add_cost_entry(cost("e-3", 120, amount=1234567.89, resource_id="i-2"))
        newest, *rest = costs.query_historical_costs()
        assert (newest["entry_id"], newest["amount"], newest["currency"]) == ("e-1", 12.48, "USD")
        assert (newest["category"], newest["resource_id"]) == ("compute", "i-1")
        assert (newest["tags"], newest["description"]) == ({"team": "search"}, "GPU")
        assert newest["region"] == "eu-1"
        assert newest["timestamp"] == pytest.approx(NOW, abs=1e-6)
        assert [entry["entry_id"] for entry in rest] == ["e-2", "e-3"]
        (big,) = costs.query_historical_costs(resource_id="i-2")
        assert big["amount"] == 1234567.89
        assert len(costs.query_historical_costs(category=CostCategory.COMPUTE)) == 2
        (small,) = costs.query_historical_costs(category="storage")
        assert small["amount"] == 0.1
        assert len(costs.query_historical_costs(limit=1)) == 1
        within = costs.query_historical_costs(start_time=NOW - 120, end_time=NOW - 60)
        assert [entry["entry_id"] for entry in within] == ["e-2", "e-3"]


def test_the_same_cost_twice_is_one(new_config: NewConfig) -> None:
    with CostObservatory(new_config()) as costs:
        for _ in range(2):
            costs.add_cost_entry(cost())
            costs.add_cost_entry(cost("e-2"))
        assert sum(entry["amount"] for entry in costs.query_historical_costs()) == 24.96


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (cost(amount=math.nan), "finite"),
        (cost(amount=-1.0), "negative"),
        (cost(currency="MOON"), "ISO 4217"),
        (CostEntry("e", None, "i", "compute", 1.0), "timestamp"),  # type: ignore[arg-type]  # that is it
        (cost(seconds_ago=2 * NOW), "1970"),
    ],
    ids=["nan", "negative", "currency", "no time", "before 1970"],
)
def test_a_bad_cost_is_refused_with_a_reason(entry: CostEntry, said: str) -> None:
    with CostObservatory() as costs:
        with pytest.raises(RecordRefusedError, match=said):
            costs.add_cost_entry(entry)
        costs.add_cost_entry(cost("good"))
        assert [found["entry_id"] for found in costs.query_historical_costs()] == ["good"]


def test_hub_and_observatory_share_a_store_and_outlive_a_restart(new_config: NewConfig) -> None:
    config = new_config()
    if config.backend is StorageBackend.IN_MEMORY:
        pytest.skip("what is in memory is gone with it")
    for run in range(2):
        with ObservabilityHub(config) as hub, CostObservatory(config) as costs:
            hub.collect_system_metrics(measured(node_id=f"node-{run}"))
            costs.add_cost_entry(cost(f"e-{run}"))
            assert len(hub.query_historical_metrics()) == run + 1
            assert len(costs.query_historical_costs()) == run + 1


def test_what_waits_for_one_database_is_not_taken_up_for_another(
    postgresql_server: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with postgresql_server.fresh() as one, postgresql_server.fresh() as other:
        hubs = [
            ObservabilityHub(PersistenceConfig(StorageBackend.POSTGRESQL, place))
            for place in (one, other)
        ]
        for hub in hubs:
            hub.collect_system_metrics(measured())
            hub.close()
    spools = {path.name.removesuffix(".1") for path in tmp_path.glob("openfinops-spool.db.*.1")}
    assert len(spools) == 2


def test_old_data_goes_by_itself_and_when_asked(new_config: NewConfig) -> None:
    with ObservabilityHub(new_config(retention_days=30)) as hub:
        for days in (0, 29, 35):
            hub.collect_system_metrics(measured(days * 86_400.0))
        assert len(hub.query_historical_metrics()) == 3
        hub.cleanup_old_data()
        assert len(hub.query_historical_metrics()) == 2


def test_costs_are_kept_as_long_as_metrics(
    new_config: NewConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENFINOPS_COST_RETENTION_DAYS", "400")
    with CostObservatory(new_config(retention_days=30)) as costs:
        for days in (0, 29, 35):
            costs.add_cost_entry(cost(f"e-{days}", days * 86_400.0))
        costs.cleanup_old_data()
        found = costs.query_historical_costs()
        assert sorted(row["entry_id"] for row in found) == ["e-0", "e-29"]


def test_many_threads_may_collect(new_config: NewConfig) -> None:
    with ObservabilityHub(new_config()) as hub:

        def work(node: int) -> None:
            for second in range(20):
                hub.collect_system_metrics(measured(second, node_id=f"node-{node}"))

        threads = [threading.Thread(target=work, args=(node,)) for node in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(hub.query_historical_metrics()) == 80


def test_the_summary_is_of_the_newest_measurement_of_each_node() -> None:
    with ObservabilityHub() as hub:
        assert hub.get_cluster_health_summary() == {"status": "no_data"}
        hub.collect_system_metrics(measured(cpu_usage=99.0, node_id="a"))
        hub.collect_system_metrics(measured(cpu_usage=20.0, node_id="a", throughput=5.0))
        hub.collect_system_metrics(measured(cpu_usage=85.0, node_id="b", throughput=7.0))
        hub.collect_system_metrics(measured(cluster_id="lab", health_status=SystemHealth.DOWN))
        summary = hub.get_cluster_health_summary()
    default = summary["clusters"]["default"]
    assert (default["status"], default["nodes_total"], default["nodes_healthy"]) == (
        "warning",
        2,
        1,
    )
    assert (default["avg_cpu_usage"], default["total_throughput"]) == (52.5, 12.0)
    assert summary["clusters"]["lab"]["status"] == "down"
    assert (summary["total_alerts"], summary["critical_alerts"]) == (1, 0)


def test_memory_keeps_the_newest_records() -> None:
    with ObservabilityHub(PersistenceConfig(max_memory_entries=10)) as hub:
        for second in range(30, -1, -1):
            hub.collect_system_metrics(measured(second))
        found = hub.query_historical_metrics()
    assert 10 <= len(found) < 31
    assert found[0]["timestamp"] == NOW


def test_a_mistake_in_the_configuration_says_where_it_is() -> None:
    with pytest.raises(ConfigError, match="PersistenceConfig: retention_days"):
        ObservabilityHub(PersistenceConfig(retention_days=-1))


def test_after_close_nothing_is_taken() -> None:
    hub = ObservabilityHub()
    hub.close()
    hub.close()
    with pytest.raises(ShuttingDownError):
        hub.collect_system_metrics(measured())


def test_the_public_names_load_when_they_are_used() -> None:
    program = (
        "import sys, exporter\n"
        "assert 'exporter.openfinops' not in sys.modules\n"
        "assert all(getattr(exporter, name) for name in exporter.__all__)\n"
        "assert not hasattr(exporter, 'NoSuchName')\n"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)
