"""Stores the metrics of the program itself: `OTEL_METRICS_EXPORTER=openfinops`."""

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
from exporter.sdk.common import settings_or_environment, suppressed_instrumentation

_log = logging.getLogger(__name__)

_MILLISECONDS: Final = 1_000


class OpenFinOpsMetricExporter(MetricExporter):
    """Stores metrics in the configured backend from inside the program.

    It opens the backend with the first export. A child process opens its own after a fork. Its own
    database calls are not instrumented.

    Args:
        settings: None reads the OPENFINOPS_* variables, and a .env file in the working folder. The
            settings of the receiver have no effect here.
        preferred_temporality: by class of instrument; the SDK's own default is cumulative.
        preferred_aggregation: by class of instrument.

    Raises:
        ConfigError: the variables are invalid.
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
        timeout_millis: float = 10_000,  # noqa: ARG002 - the only wait is one disk sync
        **_: Any,
    ) -> MetricExportResult:
        """Accept what the SDK collected.

        Returns:
            SUCCESS when it is on disk (without a spool: in memory); a log line names points that
            were rejected. FAILURE, with a log line, when nothing was accepted.
        """
        with suppressed_instrumentation():
            try:
                self._pipeline.submit(encode_metrics(metrics_data).SerializeToString())
            except ExporterError as error:
                _log.error("metrics were not accepted: %s", error)
                return MetricExportResult.FAILURE
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Write what was accepted to the backend; whether it was written in time."""
        with suppressed_instrumentation():
            return self._pipeline.flush(timeout_millis / _MILLISECONDS)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Write what was accepted and close; the rest waits in the spool.

        Args:
            timeout_millis: upper bound of the call. The SDK's readers pass it as `timeout`.
            kwargs: `timeout`, in milliseconds.
        """
        timeout = float(kwargs.get("timeout", timeout_millis))
        with suppressed_instrumentation():
            self._pipeline.shutdown(max(timeout, 0.0) / _MILLISECONDS)
