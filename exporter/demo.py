"""The demo's sender and reader: an OpenTelemetry SDK sends this machine's metrics.

Knows only the address of the receiver and prints nothing; `exporter.cli.demo` composes the parts
and shows the result.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, cast

from grpc import Compression
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

from exporter import hostmetrics
from exporter.query import Reader

__all__ = ["INTERVAL_SECONDS", "SERVICE_NAME", "MetricTrend", "Sender", "read_trends"]

SERVICE_NAME: Final = "openfinops-demo"
INTERVAL_SECONDS: Final = 1.0
"""Time between two exports."""

# Maximum number of values in a trend.
_MAX_VALUES: Final = 8

# The receiver is on this machine. If the environment names a proxy, gRPC would use it even for a
# loopback address, which the proxy cannot reach.
_CHANNEL_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)

# Metrics that fit on one screen, and the attribute that distinguishes their series.
_SHOWN: Final = (
    ("system.cpu.utilization", "cpu.mode"),
    ("system.cpu.load_average.1m", None),
    ("system.memory.usage", "system.memory.state"),
    ("system.filesystem.utilization", "system.filesystem.mountpoint"),
    ("system.disk.io", "disk.io.direction"),
    ("system.network.io", "network.io.direction"),
    ("system.process.count", None),
    ("process.cpu.utilization", "cpu.mode"),
    ("process.memory.usage", None),
)


class Sender:
    """An OpenTelemetry SDK, configured as in any application, that sends this machine's metrics.

    Args:
        endpoint: host:port of an OTLP/gRPC receiver.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._exporter: _CountingExporter | None = None
        self._provider: MeterProvider | None = None

    @property
    def points_sent(self) -> int:
        """Data points that the receiver has acknowledged."""
        return 0 if self._exporter is None else self._exporter.points_sent

    def start(self) -> None:
        """Start to collect and send, first after one interval."""
        self._exporter = _CountingExporter(
            endpoint=f"http://{self._endpoint}",
            insecure=True,
            compression=Compression.Gzip,
            channel_options=cast("Any", _CHANNEL_OPTIONS),
        )
        reader = PeriodicExportingMetricReader(
            self._exporter, export_interval_millis=INTERVAL_SECONDS * 1000
        )
        self._provider = MeterProvider([reader], _resource(), shutdown_on_exit=False)
        hostmetrics.register(self._provider.get_meter("exporter.hostmetrics"))

    def stop(self, timeout_seconds: float) -> None:
        """Collect and send a last time, then stop the SDK's thread and close its connection."""
        provider, self._provider = self._provider, None
        if provider is not None:
            provider.shutdown(timeout_millis=timeout_seconds * 1000)


class _CountingExporter(OTLPMetricExporter):
    """The SDK's own exporter, which also counts acknowledged data points."""

    points_sent = 0

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        result = super().export(metrics_data, timeout_millis, **kwargs)
        if result is MetricExportResult.SUCCESS:
            self.points_sent += _count_points(metrics_data)
        return result


def _count_points(metrics_data: MetricsData) -> int:
    return sum(
        len(metric.data.data_points)
        for resource in metrics_data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


def _resource() -> Resource:
    return Resource.create(
        {
            "service.name": SERVICE_NAME,
            "service.instance.id": str(uuid.uuid4()),
            "host.name": socket.gethostname(),
        }
    )


@dataclass(frozen=True, slots=True)
class MetricTrend:
    """The values of a series during the demo.

    Attributes:
        metric_name: the name of the metric.
        label: the attribute value that distinguishes the series; "" if the metric has only one.
        unit: of the values; for a counter, its unit per second.
        points: data points that were stored.
        values: the mean (for a counter: the rate) of each interval, oldest first; at least one.
    """

    metric_name: str
    label: str
    unit: str
    points: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over time."""
        return fmean(self.values)


def read_trends(reader: Reader, start_time: float, end_time: float) -> list[MetricTrend]:
    """The trends of the best known metrics that the demo stored.

    Args:
        reader: of the store.
        start_time: of this demo, in epoch seconds; the file may hold earlier demos.
        end_time: of this demo, in epoch seconds.
    """
    series = reader.list_series(service_name=SERVICE_NAME)
    counters = {row["metric_name"]: bool(row["is_monotonic"]) for row in series}
    bucket_seconds = max(INTERVAL_SECONDS, (end_time - start_time) / _MAX_VALUES)
    trends: list[MetricTrend] = []
    for name, attribute in _SHOWN:
        if name in counters:
            filters: dict[str, Any] = {
                "service_name": SERVICE_NAME,
                "start_time": start_time,
                "group_by": () if attribute is None else (attribute,),
            }
            counted = reader.aggregate(name, aggregation="count", **filters)
            change = "rate" if counters[name] else "avg"
            measured = reader.aggregate(
                name, aggregation=change, bucket_seconds=bucket_seconds, **filters
            )
            trends += _trends(counted, measured)
    return trends


def _trends(
    counted: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]]
) -> Iterator[MetricTrend]:
    """One trend per group; of more than two groups, those with only zeros are omitted."""
    for group in counted:
        rows = [row for row in reversed(measured) if row["attributes"] == group["attributes"]]
        values = tuple(row["value"] for row in rows)
        if values and (any(values) or len(counted) <= 2):
            label = " ".join(str(value) for value in group["attributes"].values())
            unit = rows[0]["unit"]
            yield MetricTrend(group["metric_name"], label, unit, int(group["value"]), values)
