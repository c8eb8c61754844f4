"""What the demo does: a real OpenTelemetry SDK sends this machine's metrics; reads them back.

Knows nothing of the receiver but its address, and shows nothing: `exporter.cli.demo` puts the
parts together and displays.
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

__all__ = ["INTERVAL_SECONDS", "SERVICE_NAME", "Line", "Sender", "read_back"]

SERVICE_NAME: Final = "openfinops-demo"
INTERVAL_SECONDS: Final = 1.0
"""Time between two exports."""

# The most stretches of time that a line is cut into.
_STRETCHES: Final = 8

# The receiver is on this machine. gRPC would ask a proxy that the environment names even for a
# loopback address, and the proxy cannot reach it.
_CHANNEL_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)

# What fits on a screen: metrics, and the attribute that tells their series apart.
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
    """An OpenTelemetry SDK, set up as in any application, that sends this machine's metrics.

    Args:
        endpoint: host:port of an OTLP/gRPC receiver.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._exporter: _CountingExporter | None = None
        self._provider: MeterProvider | None = None

    @property
    def points_sent(self) -> int:
        """Data points of the exports that the receiver has acknowledged."""
        return 0 if self._exporter is None else self._exporter.points_sent

    def start(self) -> None:
        """Begin to collect and send, the first time after one interval."""
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
        """Collect and send a last time, then end the SDK's thread and connection."""
        provider, self._provider = self._provider, None
        if provider is not None:
            provider.shutdown(timeout_millis=timeout_seconds * 1000)


class _CountingExporter(OTLPMetricExporter):
    """The SDK's own exporter, and a count of what it delivered."""

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
class Line:
    """What a metric was like during the demo.

    Attributes:
        metric_name: its name.
        label: which of its series, by the attribute that tells them apart; "" if it has one.
        unit: of the values; a rate of the metric's own unit where that is a running total.
        points: data points that were stored.
        values: the mean (or rate) of each stretch of time, oldest first; at least one.
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


def read_back(reader: Reader, start_time: float, end_time: float) -> list[Line]:
    """What the demo stored, of the metrics that people know best.

    Args:
        reader: of the store.
        start_time: of this demo, epoch seconds; the file may hold earlier ones.
        end_time: likewise.
    """
    series = reader.list_series(service_name=SERVICE_NAME)
    counters = {row["metric_name"]: bool(row["is_monotonic"]) for row in series}
    bucket_seconds = max(INTERVAL_SECONDS, (end_time - start_time) / _STRETCHES)
    lines: list[Line] = []
    for name, attribute in _SHOWN:
        if name in counters:
            question: dict[str, Any] = {
                "service_name": SERVICE_NAME,
                "start_time": start_time,
                "group_by": () if attribute is None else (attribute,),
            }
            counted = reader.aggregate(name, aggregation="count", **question)
            change = "rate" if counters[name] else "avg"
            measured = reader.aggregate(
                name, aggregation=change, bucket_seconds=bucket_seconds, **question
            )
            lines += _lines(counted, measured)
    return lines


def _lines(
    counted: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]]
) -> Iterator[Line]:
    """One line a group; where there are many, those that were zero all the time are left out."""
    for group in counted:
        rows = [row for row in reversed(measured) if row["attributes"] == group["attributes"]]
        values = tuple(row["value"] for row in rows)
        if values and (any(values) or len(counted) <= 2):
            label = " ".join(str(value) for value in group["attributes"].values())
            unit = rows[0]["unit"]
            yield Line(group["metric_name"], label, unit, int(group["value"]), values)
