"""Cluster health and alerts from recent measurements. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from exporter.openfinops.records import ServiceMetrics, SystemHealth, SystemMetrics

_BY_SEVERITY: Final = (
    SystemHealth.HEALTHY,
    SystemHealth.WARNING,
    SystemHealth.CRITICAL,
    SystemHealth.DOWN,
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Thresholds for one number of a node."""

    field: str
    warning_above: float
    critical_above: float


_HEALTH_RULES: Final = (
    _Rule("cpu_usage", 80.0, 90.0),
    _Rule("memory_usage", 80.0, 90.0),
    _Rule("error_rate", 1.0, 5.0),
    _Rule("temperature", 75.0, 85.0),
)
# (alert type, field, threshold, severity, description)
_SYSTEM_ALERTS: Final = (
    ("high_cpu_usage", "cpu_usage", 90.0, "warning", "the CPU is used for more than 90 %"),
    ("high_memory_usage", "memory_usage", 85.0, "critical", "more than 85 % of memory is used"),
    ("gpu_overheating", "temperature", 85.0, "critical", "it is hotter than 85 degrees Celsius"),
    ("high_error_rate", "error_rate", 5.0, "critical", "more than 5 % of operations fail"),
)
_MAX_ERROR_PERCENT: Final = 5.0


def cluster_health(measurements: Iterable[SystemMetrics]) -> dict[str, dict[str, Any]]:
    """The health of each cluster, from the newest measurement of each node.

    Args:
        measurements: in the order of arrival.
    """
    newest: dict[str, dict[str, SystemMetrics]] = {}
    for one in measurements:
        newest.setdefault(one.cluster_id, {})[one.node_id] = one
    return {cluster: _summary(nodes.values()) for cluster, nodes in newest.items()}


def _summary(nodes: Collection[SystemMetrics]) -> dict[str, Any]:
    health = [_health(node) for node in nodes]
    return {
        "status": max(health, key=_BY_SEVERITY.index).value,
        "nodes_total": len(nodes),
        "nodes_healthy": health.count(SystemHealth.HEALTHY),
        "avg_cpu_usage": fmean(node.cpu_usage for node in nodes),
        "avg_memory_usage": fmean(node.memory_usage for node in nodes),
        "avg_gpu_usage": fmean(node.gpu_usage for node in nodes),
        "total_throughput": sum(node.throughput for node in nodes),
        "avg_latency_p95": fmean(node.latency_p95 for node in nodes),
        "total_power": sum(node.power_consumption for node in nodes),
        "estimated_hourly_cost": sum(node.cost_per_hour for node in nodes),
        "active_training_jobs": sum(bool(node.training_active) for node in nodes),
    }


def _health(node: SystemMetrics) -> SystemHealth:
    """The worse of the status that the node reports and the status of its numbers."""
    found = SystemHealth(node.health_status)
    for rule in _HEALTH_RULES:
        value = getattr(node, rule.field)
        if value > rule.critical_above:
            found = max(found, SystemHealth.CRITICAL, key=_BY_SEVERITY.index)
        elif value > rule.warning_above:
            found = max(found, SystemHealth.WARNING, key=_BY_SEVERITY.index)
    return found


def system_alerts(node: SystemMetrics) -> Iterator[Mapping[str, Any]]:
    """The alerts for a measurement of a node."""
    for kind, field, limit, severity, description in _SYSTEM_ALERTS:
        value = getattr(node, field)
        if value > limit:
            yield {
                **_alert(kind, severity, description, value, limit),
                "timestamp": node.timestamp,
                "cluster_id": node.cluster_id,
                "resource_id": node.node_id,
            }


def service_alerts(service: ServiceMetrics) -> Iterator[Mapping[str, Any]]:
    """The alerts for a measurement of a service."""
    about = {
        "timestamp": service.timestamp,
        "cluster_id": "",
        "resource_id": service.service_name,
    }
    if service.status == "down":
        yield _alert("service_down", "emergency", "the service is down", 0.0, 0.0) | about
    errors = 100.0 - service.success_rate
    if errors > _MAX_ERROR_PERCENT:
        description = "more than 5 % of requests fail"
        yield (
            _alert("high_error_rate", "critical", description, errors, _MAX_ERROR_PERCENT) | about
        )


def _alert(
    kind: str, severity: str, description: str, value: float, threshold: float
) -> dict[str, Any]:
    return {
        "type": kind,
        "severity": severity,
        "value": value,
        "threshold": threshold,
        "description": description,
        "acknowledged": False,
        "resolved": False,
    }
