"""What the demo does: a real OpenTelemetry SDK sends this machine's metrics; reads them back.

Knows nothing of the receiver but its address, and shows nothing: `exporter.cli.demo` composes and
displays.
"""

from __future__ import annotations

import socket
import threading
import uuid
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

__all__ = ["SERVICE_NAME", "Sender"]

SERVICE_NAME: Final = "openfinops-demo"

# The receiver is on this machine: a proxy that the environment names for the outside world could
# not reach it, and gRPC would use one for loopback addresses too.
_CHANNEL_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)


class Sender:
    """An OpenTelemetry SDK set up as any application would, sending this machine's metrics.

    Args:
        endpoint: host:port of an OTLP/gRPC receiver.
        interval_seconds: time between two exports.
    """

    def __init__(self, endpoint: str, interval_seconds: float = 1.0) -> None:
        self._endpoint = endpoint
        self._interval_seconds = interval_seconds
        self._provider: MeterProvider | None = None
        self._exporter: _CountingExporter | None = None

    def start(self) -> None:
        """Begin to collect and send, once every interval."""
        self._exporter = _CountingExporter(
            endpoint=f"http://{self._endpoint}",
            insecure=True,
            compression=Compression.Gzip,
            channel_options=cast(Any, _CHANNEL_OPTIONS),
        )
        reader = PeriodicExportingMetricReader(
            self._exporter, export_interval_millis=self._interval_seconds * 1000
        )
        self._provider = MeterProvider([reader], _resource(), shutdown_on_exit=False)
        hostmetrics.register(self._provider.get_meter("exporter.hostmetrics"))

    @property
    def points_sent(self) -> int:
        """Data points in the exports that the receiver has acknowledged."""
        return 0 if self._exporter is None else self._exporter.points_sent

    def stop(self, timeout_seconds: float) -> None:
        """Collect and send a last time, and end the SDK's thread and connection."""
        if self._provider is not None:
            provider, self._provider = self._provider, None
            provider.shutdown(timeout_millis=timeout_seconds * 1000)


class _CountingExporter(OTLPMetricExporter):
    """The SDK's own exporter, which also counts what it delivered."""

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
