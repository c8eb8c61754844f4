"""Records in and out of a backend: what openfinops calls its persistence layer.

A record is taken when a call that stores it returns: on disk, unless the spool is off or the
backend is IN_MEMORY. A query sees every record that was taken before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Self

from exporter.embedded import EmbeddedPipeline
from exporter.errors import RecordRefusedError
from exporter.openfinops.otlp_requests import (
    Kind,
    cost_request,
    metric_of,
    record_in,
    record_request,
)
from exporter.openfinops.settings import PersistenceConfig, settings_for
from exporter.query import Reader
from exporter.query.exemplars import latest_exemplars
from exporter.query.filters import Filters, TimeRange
from exporter.query.times import Time, time_micros
from exporter.wire import Rejections

__all__ = ["PersistenceBackend", "create_persistence_backend"]

_log = logging.getLogger(__name__)

_DAY_NANOSECONDS: Final = 86_400 * 1_000_000_000
_FLUSH_SECONDS: Final = 10.0


def create_persistence_backend(config: PersistenceConfig) -> PersistenceBackend:
    """What openfinops calls to get one.

    Raises:
        ConfigError: a value of the configuration cannot be used.
    """
    return PersistenceBackend(config)


class PersistenceBackend:
    """Stores records of the kinds of OpenFinOps, and answers with them, newest first.

    Opened by the first call that needs it; any thread may call any method, and a process after a
    fork has its own. Times are epoch seconds or datetimes; a range holds its start and its end.

    Every method but `close` raises what can go wrong with the backend as an `ExporterError`.

    Args:
        config: where data is kept.

    Raises:
        ConfigError: a value of it cannot be used.
    """

    def __init__(self, config: PersistenceConfig) -> None:
        settings = settings_for(config)
        for warning in settings.warnings:
            _log.warning("%s", warning)
        self.config = config
        self._close_seconds = settings.exporter.shutdown_timeout_seconds
        self._pipeline = EmbeddedPipeline(settings.exporter)

    def __enter__(self) -> Self:
        self.start_auto_flush()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def initialize_schema(self) -> None:
        """Open the store and make its tables; with a spool later, if the database is away."""
        self._pipeline.start()

    def start_auto_flush(self) -> None:
        """Open the store, and write in the background from now on."""
        self._pipeline.start()

    def stop_auto_flush(self) -> None:
        """Write what was taken; `close` ends the background work."""
        self.flush_buffer()

    def flush_buffer(self) -> None:
        """Write what was taken into the store; a warning is logged if it takes too long."""
        if not self._pipeline.flush(_FLUSH_SECONDS):
            _log.warning(
                "not all that was taken is written after %g s; it is tried on", _FLUSH_SECONDS
            )

    def store_system_metric(self, metric: Mapping[str, Any]) -> None:
        """Take a measurement of a node; all of its fields are kept.

        Raises:
            RecordRefusedError: it cannot be stored as it is.
        """
        self._store("system", metric)

    def store_service_metric(self, metric: Mapping[str, Any]) -> None:
        """Likewise of a service."""
        self._store("service", metric)

    def store_alert(self, alert: Mapping[str, Any]) -> None:
        """Likewise an alert."""
        self._store("alert", alert)

    def store_cost_entry(self, entry: Mapping[str, Any]) -> None:
        """Take a cost; one with the same `entry_id` and time is there already, and stays.

        Raises:
            RecordRefusedError: it cannot be stored as it is.
        """
        _require_taken(self._pipeline.submit_logs(cost_request(entry)))

    def query_system_metrics(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        cluster_id: str | None = None,
        node_id: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Measurements of nodes, as they were given."""
        filters = Filters(metric_of("system"), cluster_id, node_id)
        return self._query(filters, start_time, end_time, limit)

    def query_service_metrics(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        service_name: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Measurements of services, as they were given."""
        filters = Filters(metric_of("service"), service_name=service_name)
        return self._query(filters, start_time, end_time, limit)

    def query_alerts(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        severity: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Alerts, as they were given."""
        attributes = {} if severity is None else {"severity": severity}
        filters = Filters(metric_of("alert"), attributes=attributes)
        return self._query(filters, start_time, end_time, limit)

    def query_cost_entries(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        category: str | None = None,
        resource_id: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Costs, with `amount` as a float."""
        after = None if end_time is None else (time_micros(end_time, "end_time") + 1) / 1_000_000
        with self.reading() as reader:
            return reader.query_historical_costs(start_time, after, category, resource_id, limit)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Answers other questions about what is stored, within a `with` statement."""
        with self._pipeline.reading(_FLUSH_SECONDS) as store:
            yield Reader(store)

    def cleanup_old_data(self) -> int:
        """Delete what is older than `retention_days`; returns how many rows went.

        It also happens by itself, at start and then hourly.
        """
        self.flush_buffer()
        kept = round(self.config.retention_days * _DAY_NANOSECONDS)
        return self._pipeline.delete_before(time.time_ns() - kept)

    def close(self) -> None:
        """Write what was taken, and close the store; safe twice."""
        self._pipeline.shutdown(self._close_seconds)

    def _store(self, kind: Kind, record: Mapping[str, Any]) -> None:
        _require_taken(self._pipeline.submit(record_request(kind, record)))

    def _query(
        self, filters: Filters, start_time: Time | None, end_time: Time | None, limit: int
    ) -> list[dict[str, Any]]:
        time_range = TimeRange.of(start_time, end_time)
        if time_range.end_micros is not None:
            time_range = replace(time_range, end_micros=time_range.end_micros + 1)
        with self._pipeline.reading(_FLUSH_SECONDS) as store:
            found = latest_exemplars(store, filters, time_range, limit)
        return [record_in(attributes) for attributes in found]


def _require_taken(rejections: Rejections) -> None:
    if rejections.total:
        raise RecordRefusedError(rejections.message())
