"""`PersistenceBackend`: stores and queries records; openfinops calls it the persistence layer.

A record is accepted when the call that stores it returns. It is then on disk, unless the spool is
off or the backend is IN_MEMORY. A query sees every record that was accepted before it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Self, cast

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
from exporter.query.filters import SeriesFilters
from exporter.query.newest_points import latest_exemplars
from exporter.query.times import Time, TimeRange, time_micros
from exporter.time_units import MICROSECONDS_PER_SECOND, NANOSECONDS_PER_DAY
from exporter.wire import Rejections

_log = logging.getLogger(__name__)

_FLUSH_SECONDS: Final = 10.0


def create_persistence_backend(config: PersistenceConfig) -> PersistenceBackend:
    """Make a backend; openfinops calls this function.

    Raises:
        ConfigError: a value of the configuration is invalid.
    """
    return PersistenceBackend(config)


class PersistenceBackend:
    """Stores OpenFinOps records and returns them newest first.

    The first call that needs the store opens it. Any thread may call any method, and each process
    opens its own store after a fork. Times are epoch seconds or datetimes; a time range includes
    its start and its end.

    Every method except `close` raises a failure of the backend as an `ExporterError`.

    Args:
        config: where data is kept.

    Raises:
        ConfigError: a value of it is invalid.
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
        """Open the store and create its tables; while it is down, the spool accepts records."""
        self._pipeline.start()

    def start_auto_flush(self) -> None:
        """Open the store and write in the background from now on."""
        self._pipeline.start()

    def stop_auto_flush(self) -> None:
        """Write what was accepted; `close` stops the background writes."""
        self.flush_buffer()

    def flush_buffer(self) -> None:
        """Write what was accepted to the store; logs a warning when it takes too long."""
        if not self._pipeline.flush(_FLUSH_SECONDS):
            _log.warning(
                "some accepted records are not written after %g s; the background writer goes on",
                _FLUSH_SECONDS,
            )

    def store_system_metric(self, metric: Mapping[str, Any]) -> None:
        """Store a measurement of a node with all of its fields.

        Raises:
            RecordRefusedError: it cannot be stored as it is.
        """
        self._store("system", metric)

    def store_service_metric(self, metric: Mapping[str, Any]) -> None:
        """Store a measurement of a service with all of its fields; raises as for a node."""
        self._store("service", metric)

    def store_alert(self, alert: Mapping[str, Any]) -> None:
        """Store an alert with all of its fields; raises as for a node."""
        self._store("alert", alert)

    def store_cost_entry(self, entry: Mapping[str, Any]) -> None:
        """Store a cost entry; a stored entry with the same `entry_id` and time is kept instead.

        Raises:
            RecordRefusedError: it cannot be stored as it is.
        """
        _require_accepted(self._pipeline.submit_logs(cost_request(entry)))

    def query_system_metrics(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        cluster_id: str | None = None,
        node_id: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Measurements of nodes, with the fields that were stored."""
        filters = SeriesFilters(metric_of("system"), cluster_id, node_id)
        return self._query(filters, start_time, end_time, limit)

    def query_service_metrics(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        service_name: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Measurements of services, with the fields that were stored."""
        filters = SeriesFilters(metric_of("service"), service_name=service_name)
        return self._query(filters, start_time, end_time, limit)

    def query_alerts(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        severity: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Alerts, with the fields that were stored."""
        attributes = {} if severity is None else {"severity": severity}
        filters = SeriesFilters(metric_of("alert"), attributes=attributes)
        return self._query(filters, start_time, end_time, limit)

    def query_cost_entries(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        category: str | None = None,
        resource_id: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Cost entries; `amount` is a float."""
        # The reader excludes the end of a range, openfinops includes it.
        after = None
        if end_time is not None:
            after = (time_micros(end_time, "end_time") + 1) / MICROSECONDS_PER_SECOND
        with self.reading() as reader:
            rows = reader.query_historical_costs(start_time, after, category, resource_id, limit)
        return cast(list[dict[str, Any]], rows)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Yield a `Reader` of the store for other queries."""
        with self._pipeline.reading(_FLUSH_SECONDS) as store:
            yield Reader(store)

    def cleanup_old_data(self) -> int:
        """Delete rows older than `retention_days`; returns how many.

        The background writer does the same at start and every hour.
        """
        self.flush_buffer()
        kept = round(self.config.retention_days * NANOSECONDS_PER_DAY)
        return self._pipeline.delete_before(time.time_ns() - kept)

    def close(self) -> None:
        """Write what was accepted and close the store; safe twice."""
        self._pipeline.shutdown(self._close_seconds)

    def _store(self, kind: Kind, record: Mapping[str, Any]) -> None:
        _require_accepted(self._pipeline.submit(record_request(kind, record)))

    def _query(
        self, filters: SeriesFilters, start_time: Time | None, end_time: Time | None, limit: int
    ) -> list[dict[str, Any]]:
        time_range = TimeRange.of(start_time, end_time)
        if time_range.end_micros is not None:
            time_range = replace(time_range, end_micros=time_range.end_micros + 1)
        with self._pipeline.reading(_FLUSH_SECONDS) as store:
            found = latest_exemplars(store, filters, time_range, limit)
        return [record_in(attributes) for attributes in found]


def _require_accepted(rejections: Rejections) -> None:
    if rejections.total:
        raise RecordRefusedError(rejections.message())


class PersistedRecords:
    """Base of the hub and the observatory: a store that the first call that needs it opens.

    Args:
        persistence_config: where data is kept; None for the memory of this process.

    Raises:
        ConfigError: a value of the configuration is invalid.
    """

    def __init__(self, persistence_config: PersistenceConfig | None = None) -> None:
        self.persistence_backend = PersistenceBackend(persistence_config or PersistenceConfig())

    def __enter__(self) -> Self:
        self.persistence_backend.start_auto_flush()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cleanup_old_data(self) -> None:
        """Delete rows older than `retention_days`; the background writer does so every hour."""
        self.persistence_backend.cleanup_old_data()

    def close(self) -> None:
        """Write what was accepted and close the store; safe twice."""
        self.persistence_backend.close()
