"""Cost events of the program itself: `OTEL_LOGS_EXPORTER=openfinops`."""

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
        f"storing cost events from within a program needs opentelemetry-sdk 1.39 or later, and "
        f"this is {sdk_version}; upgrade it, or send them to a receiver"
    ) from error

from exporter import config
from exporter.embedded import EmbeddedPipeline
from exporter.errors import ExporterError
from exporter.sdk.common import settings_or_environment, untraced

__all__ = ["OpenFinOpsLogRecordExporter"]

_log = logging.getLogger(__name__)

_COST_EVENT: Final = "openfinops.cost"
_MILLISECONDS: Final = 1_000


class OpenFinOpsLogRecordExporter(LogRecordExporter):
    """Stores cost events in the backend that the settings name, and leaves out all other records.

    Nothing is opened until the first cost event. A child after a fork opens its own.

    Args:
        settings: what to run with; None reads OPENFINOPS_* variables (and a .env file in the
            working folder).

    Raises:
        ConfigError: the variables cannot be used.
    """

    def __init__(self, settings: config.Settings | None = None) -> None:
        exporter = settings_or_environment(settings).exporter
        self._pipeline = EmbeddedPipeline(exporter)
        self._close_seconds = exporter.shutdown_timeout_seconds

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Accept the cost events among these records.

        Returns:
            SUCCESS once they are on disk (with the spool; else in memory), less those that were
            refused by name in a log line; FAILURE, with a log line, if none was taken.
        """
        events = [record for record in batch if _is_cost(record)]
        if not events:
            return LogRecordExportResult.SUCCESS
        with untraced():
            try:
                self._pipeline.submit_logs(encode_logs(events).SerializeToString())
            except ExporterError as error:
                _log.error("%d cost events were not taken: %s", len(events), error)
                return LogRecordExportResult.FAILURE
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write what was accepted into the backend; whether that was done in time."""
        with untraced():
            return self._pipeline.flush(timeout_millis / _MILLISECONDS)

    def shutdown(self) -> None:
        """Write what was accepted, and close; what is left waits in the spool."""
        with untraced():
            self._pipeline.shutdown(self._close_seconds)


def _is_cost(record: ReadableLogRecord) -> bool:
    said = record.log_record
    return _COST_EVENT in (said.event_name, (said.attributes or {}).get("event.name"))
