"""Stores the cost events of the program itself: `OTEL_LOGS_EXPORTER=openfinops`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk.version import __version__ as sdk_version

try:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
except ImportError as error:
    raise ImportError(
        f"storing cost events inside a program needs opentelemetry-sdk 1.39 or later, found "
        f"{sdk_version}; upgrade it, or send the events to a receiver"
    ) from error

from exporter import config
from exporter.embedded import EmbeddedPipeline
from exporter.errors import ExporterError
from exporter.sdk.common import settings_or_environment, suppressed_instrumentation

_log = logging.getLogger(__name__)

_COST_EVENT: Final = "openfinops.cost"
_MILLISECONDS: Final = 1_000


class OpenFinOpsLogRecordExporter(LogRecordExporter):
    """Stores cost events in the configured backend and skips all other log records.

    It opens the backend with the first cost event. A child process opens its own after a fork.

    Args:
        settings: None reads the OPENFINOPS_* variables, and a .env file in the working folder.

    Raises:
        ConfigError: the variables are invalid.
    """

    def __init__(self, settings: config.Settings | None = None) -> None:
        exporter = settings_or_environment(settings).exporter
        self._pipeline = EmbeddedPipeline(exporter)
        self._close_seconds = exporter.shutdown_timeout_seconds

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Accept the cost events among these records.

        Returns:
            SUCCESS when they are on disk (without a spool: in memory); a log line names events
            that were rejected. FAILURE, with a log line, when none was accepted.
        """
        events = [record for record in batch if _is_cost(record)]
        if not events:
            return LogRecordExportResult.SUCCESS
        with suppressed_instrumentation():
            try:
                self._pipeline.submit_logs(encode_logs(events).SerializeToString())
            except ExporterError as error:
                _log.error("%d cost events were not accepted: %s", len(events), error)
                return LogRecordExportResult.FAILURE
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write what was accepted to the backend; whether it was written in time."""
        with suppressed_instrumentation():
            return self._pipeline.flush(timeout_millis / _MILLISECONDS)

    def shutdown(self) -> None:
        """Write what was accepted and close; the rest waits in the spool."""
        with suppressed_instrumentation():
            self._pipeline.shutdown(self._close_seconds)


def _is_cost(record: ReadableLogRecord) -> bool:
    log_record = record.log_record
    attribute = (log_record.attributes or {}).get("event.name")
    return _COST_EVENT in (log_record.event_name, attribute)
