"""Exporters for the OpenTelemetry SDK that store a program's own telemetry without a server.

Both are entry points named `openfinops`: `OTEL_METRICS_EXPORTER=openfinops` selects one. They are
configured by the variables of the receiver (OPENFINOPS_*).

metrics  `OpenFinOpsMetricExporter`
logs     `OpenFinOpsLogRecordExporter` for cost events; import it from there, because it needs a
         later SDK than the metric exporter
common   settings from the environment, and suppressed instrumentation
"""

from exporter.sdk.metrics import OpenFinOpsMetricExporter

__all__ = ["OpenFinOpsMetricExporter"]
