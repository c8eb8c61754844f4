"""Metrics of the program itself: `OTEL_METRICS_EXPORTER=openfinops`."""

from __future__ import annotations

import logging
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import Aggregation

from exporter import config
from exporter.embedded import EmbeddedPipeline
from exporter.errors import ExporterError
from exporter.sdk.common import settings_or_environment, untraced

__all__ = ["OpenFinOpsMetricExporter"]

_log = logging.getLogger(__name__)

_MILLISECONDS: Final = 1_000


class OpenFinOpsMetricExporter(MetricExporter):
    """Stores metrics in the backend that the settings name, from within the program.

    Nothing is opened until the first export. A child after a fork opens its own. Its own calls to
    the database are not instrumented.

    Args:
        settings: what to run with; None reads OPENFINOPS_* variables (and a .env file in the
            working folder). The receiver's part of them has no meaning here.
        preferred_temporality: by class of instrument; the SDK's own default is cumulative.
        preferred_aggregation: by class of instrument.

    Raises:
        ConfigError: the variables cannot be used.
    """

    def __init__(
        self,
        settings: config.Settings | None = None,
        *,
        preferred_temporality: dict[type, AggregationTemporality] | None = None,
        preferred_aggregation: dict[type, Aggregation] | None = None,
    ) -> None:
        super().__init__(preferred_temporality, preferred_aggregation)
        self._pipeline = EmbeddedPipeline(settings_or_environment(settings).exporter)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - what waits here is one sync of the disk
        **_: Any,
    ) -> MetricExportResult:
        """Accept what the SDK collected.

        Returns:
            SUCCESS once it is on disk (with the spool; else in memory), less the points that were
            rejected by name in a log line; FAILURE, with a log line, if nothing was taken.
        """
        with untraced():
            try:
                self._pipeline.submit(encode_metrics(metrics_data).SerializeToString())
            except ExporterError as error:
                _log.error("metrics were not taken: %s", error)
                return MetricExportResult.FAILURE
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Write what was accepted into the backend; whether that was done in time."""
        with untraced():
            return self._pipeline.flush(timeout_millis / _MILLISECONDS)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Write what was accepted, and close; what is left waits in the spool.

        Args:
            timeout_millis: how long it may take. The SDK's readers call it `timeout`.
            kwargs: see above.
        """
        timeout = float(kwargs.get("timeout", timeout_millis))
        with untraced():
            self._pipeline.shutdown(max(timeout, 0.0) / _MILLISECONDS)
