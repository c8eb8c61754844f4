"""Settings -> backend, pipeline and receiver, started in this order and stopped in reverse."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from exporter.backends.base import Backend
from exporter.cli.options import backend_for, certificates_for, tokens_for
from exporter.config import ExporterSettings, ReceiverSettings, Settings
from exporter.pipeline import Pipeline
from exporter.receiver import Receiver
from exporter.spool import Spool
from exporter.stats import Snapshot

__all__ = ["Service", "spool_path"]

_BYTES_IN_MIB: Final = 1024 * 1024
# In the working folder.
_SPOOL: Final = Path("openfinops-spool.db")
# Each waits for the disk, and those that wait share one sync.
_WORKERS: Final = 16
# Nobody waits: more of them only pass the interpreter's lock around (1.1 times as slow with 8).
_WORKERS_WITHOUT_SPOOL: Final = 2


class Service:
    """A receiver and all that is behind it.

    `start_storing`, then `listen`; `stop` is safe after either, after neither, and twice.

    Args:
        settings: what to run with.

    Raises:
        ConfigError: there is no such backend.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.backend = backend_for(settings.exporter, serving=True)
        self.spool = _spool_for(settings.exporter, self.backend)
        self.pipeline = _pipeline_for(settings.exporter, self.backend, self.spool)
        self._receiver: Receiver | None = None

    @property
    def place(self) -> str:
        """Backend and location, for people."""
        backend, location = self.settings.exporter.backend, self.backend.location
        return backend if backend == location else f"{backend} {location}"

    def start_storing(self) -> None:
        """Open the backend and start the writer.

        Raises:
            ExporterError: the backend cannot be opened.
        """
        self.pipeline.start()

    def listen(self, endpoint: str | None = None) -> str:
        """Take requests.

        Args:
            endpoint: in place of the one in the settings.

        Returns:
            The address that clients can use.

        Raises:
            ReceiverError: it cannot be listened on.
        """
        receiving = self.settings.receiver
        receiver = Receiver(
            self.pipeline.submit,
            endpoint=endpoint or receiving.endpoint,
            max_message_bytes=receiving.max_message_bytes,
            max_connections=receiving.max_connections,
            workers=_WORKERS if self.spool else _WORKERS_WITHOUT_SPOOL,
            accepting=lambda: self.pipeline.is_accepting,
            tls=certificates_for(receiving),
            tokens=tokens_for(receiving),
            server_options=_server_options(receiving),
        )
        address = receiver.start()
        self._receiver = receiver
        return address

    def stats(self) -> Snapshot:
        """The counters of the receiver and the pipeline."""
        now = self.pipeline.stats()
        if self._receiver is None:
            return now
        turned_away = self._receiver.counts()
        return replace(
            now,
            requests_unauthenticated=turned_away.requests_unauthenticated,
            requests_stalled=turned_away.requests_stalled,
            requests_turned_away=now.requests_turned_away + turned_away.requests_overloaded,
        )

    def stop(self, timeout_seconds: float) -> bool:
        """Stop the intake, write what was accepted, close the backend.

        Returns:
            Whether all that was accepted was off our hands in time.
        """
        until = time.monotonic() + timeout_seconds
        if self._receiver is not None:
            # Requests under way are short; the writer needs the time more.
            self._receiver.shutdown(timeout_seconds / 4)
        return self.pipeline.shutdown(max(until - time.monotonic(), 0.0))


def spool_path(settings: ExporterSettings, backend: Backend) -> Path:
    """Where the spool of these settings is, if there is one."""
    beside = Path(f"{backend.location}.spool") if settings.backend == "sqlite" else _SPOOL
    return settings.spool_path or beside


def _spool_for(settings: ExporterSettings, backend: Backend) -> Spool | None:
    if not settings.spool or settings.backend == "memory":
        return None
    return Spool(
        spool_path(settings, backend),
        max_bytes=settings.spool_max_size_mib * _BYTES_IN_MIB,
        retry_window_seconds=settings.retry_window_seconds,
    )


def _pipeline_for(settings: ExporterSettings, backend: Backend, spool: Spool | None) -> Pipeline:
    return Pipeline(
        backend,
        spool,
        max_series=settings.max_series,
        spool_max_age_seconds=settings.spool_max_age_seconds,
        retry_window_seconds=settings.retry_window_seconds,
        memory_limit_bytes=settings.memory_limit_mib * _BYTES_IN_MIB,
        batch_size=settings.batch_size,
        batch_interval_seconds=settings.batch_interval_seconds,
        max_queued_entries=settings.max_queued_entries,
        retention_days=settings.retention_days,
        max_past_days=settings.max_past_days,
        max_future_days=settings.max_future_days,
        cluster_id_attributes=settings.cluster_id_attributes,
        node_id_attributes=settings.node_id_attributes,
    )


def _server_options(settings: ReceiverSettings) -> dict[str, int]:
    """What is set, by the names of gRPC core; the rest is left to gRPC."""
    keepalive = settings.keepalive
    options = {
        "grpc.max_concurrent_streams": settings.max_concurrent_streams,
        "grpc.max_connection_idle_ms": keepalive.max_connection_idle_milliseconds,
        "grpc.max_connection_age_ms": keepalive.max_connection_age_milliseconds,
        "grpc.max_connection_age_grace_ms": keepalive.max_connection_age_grace_milliseconds,
        "grpc.keepalive_time_ms": keepalive.time_milliseconds,
        "grpc.keepalive_timeout_ms": keepalive.timeout_milliseconds,
        "grpc.http2.min_recv_ping_interval_without_data_ms": keepalive.min_time_milliseconds,
        "grpc.keepalive_permit_without_calls": keepalive.permit_without_stream,
    }
    return {name: int(value) for name, value in options.items() if value is not None}
