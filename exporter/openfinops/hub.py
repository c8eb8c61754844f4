"""`ObservabilityHub`: stores measurements of nodes and services, keeps recent ones in memory."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from exporter.openfinops.backend import PersistedRecords
from exporter.openfinops.cluster_health import cluster_health, service_alerts, system_alerts
from exporter.openfinops.records import ServiceMetrics, SystemMetrics
from exporter.openfinops.settings import PersistenceConfig
from exporter.query.times import Time

_RECENT_SYSTEM: Final = 10_000
_RECENT_SERVICE: Final = 5_000
_RECENT_ALERTS: Final = 1_000
_SUMMARY_MEASUREMENTS: Final = 1_000


class ObservabilityHub(PersistedRecords):
    """Stores measurements and queries them; use it in a `with` statement, or `close` it.

    The health summary is computed from memory, historical queries read the store. The first call
    that needs the store opens it.

    Args:
        persistence_config: where data is kept; None for the memory of this process.

    Raises:
        ConfigError: a value of the configuration is invalid.
    """

    def __init__(self, persistence_config: PersistenceConfig | None = None) -> None:
        super().__init__(persistence_config)
        self.system_metrics: deque[SystemMetrics] = deque(maxlen=_RECENT_SYSTEM)
        self.service_metrics: defaultdict[str, deque[ServiceMetrics]] = defaultdict(
            lambda: deque(maxlen=_RECENT_SERVICE)
        )
        self.alerts: deque[dict[str, Any]] = deque(maxlen=_RECENT_ALERTS)

    def collect_system_metrics(self, metrics: SystemMetrics) -> None:
        """Store a measurement of a node and the alerts it raises.

        Raises:
            RecordRefusedError: the measurement is invalid.
            ExporterError: the store cannot accept it now.
        """
        self.persistence_backend.store_system_metric(asdict(metrics))
        self.system_metrics.append(metrics)
        self._raise_alerts(system_alerts(metrics))

    def collect_service_metrics(self, metrics: ServiceMetrics) -> None:
        """Store a measurement of a service and the alerts it raises; raises as for a node."""
        self.persistence_backend.store_service_metric(asdict(metrics))
        self.service_metrics[metrics.service_name].append(metrics)
        self._raise_alerts(service_alerts(metrics))

    def get_cluster_health_summary(self) -> dict[str, Any]:
        """The health of every cluster, from the last 1,000 measurements in memory.

        Returns:
            `{"status": "no_data"}`, or a dict with clusters (by cluster_id: status, nodes_total,
            nodes_healthy, averages and totals over the newest measurement of each node),
            total_alerts, critical_alerts (not resolved) and summary_timestamp.
        """
        recent = list(self.system_metrics)[-_SUMMARY_MEASUREMENTS:]
        if not recent:
            return {"status": "no_data"}
        unresolved = [alert for alert in list(self.alerts) if not alert["resolved"]]
        return {
            "clusters": cluster_health(recent),
            "total_alerts": len(unresolved),
            "critical_alerts": sum(alert["severity"] == "critical" for alert in unresolved),
            "summary_timestamp": time.time(),
        }

    def query_historical_metrics(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        cluster_id: str | None = None,
        node_id: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Measurements of nodes, newest first, with the fields of `SystemMetrics`."""
        return self.persistence_backend.query_system_metrics(
            start_time, end_time, cluster_id, node_id, limit
        )

    def query_historical_service_metrics(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        service_name: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Measurements of services, newest first, with the fields of `ServiceMetrics`."""
        return self.persistence_backend.query_service_metrics(
            start_time, end_time, service_name, limit
        )

    def query_historical_alerts(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        severity: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Alerts, newest first."""
        return self.persistence_backend.query_alerts(start_time, end_time, severity, limit)

    def _raise_alerts(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        for alert in alerts:
            self.alerts.append(dict(alert))
            self.persistence_backend.store_alert(alert)
