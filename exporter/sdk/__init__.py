"""Exporters for the OpenTelemetry SDK that store a program's own telemetry, without any server.

They are entry points named `openfinops`, so `OTEL_METRICS_EXPORTER=openfinops` is enough where the
SDK configures itself. They are configured by the same variables as the receiver (OPENFINOPS_*).

metrics  `OpenFinOpsMetricExporter`
logs     `OpenFinOpsLogRecordExporter`, for cost events; import it from there, because it needs a
         later SDK than the other
"""

from exporter.sdk.metrics import OpenFinOpsMetricExporter

__all__ = ["OpenFinOpsMetricExporter"]
