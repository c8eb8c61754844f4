"""Settings -> backend, pipeline and receiver, started in this order and stopped in reverse."""

from __future__ import annotations

import time
from typing import Final

from exporter.assembly import backend_for, pipeline_for, spool_for
from exporter.cli.options import certificates_for, tokens_for
from exporter.config import ReceiverSettings, Settings
from exporter.embedded import OrphanReplayer
from exporter.pipeline import IDLE_BYTES
from exporter.receiver import Receiver, workers_for
from exporter.stats import Snapshot

__all__ = ["Service"]

# What a request takes of its size at most until it is stored (docs/robustness.md).
_MOST_TIMES: Final = 60


class Service:
    """A receiver and all that is behind it.

    `start_storing`, then `listen`, then optionally `start_orphan_replayer`; `stop` is safe after
    any of them, before all of them, and twice.

    Args:
        settings: what to run with.

    Raises:
        ConfigError: there is no such backend.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.backend = backend_for(settings.exporter, serving=True)
        self.spool = spool_for(settings.exporter, self.backend)
        self.pipeline = pipeline_for(settings.exporter, self.backend, self.spool)
        self._orphan_replayer = OrphanReplayer(settings.exporter)
        self._receiver: Receiver | None = None

    @property
    def place(self) -> str:
        """Backend and location, for people."""
        backend, location = self.settings.exporter.backend, self.backend.location
        return backend if backend == location else f"{backend} {location}"

    def start_storing(self) -> None:
        """Open the backend and start the writer; with a spool, the database may be away.

        Raises:
            ExporterError: see `Pipeline.start`.
        """
        self.pipeline.start()

    def start_orphan_replayer(self) -> None:
        """Store the orphaned spools of embedded pipelines, now and every minute."""
        self._orphan_replayer.start()

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
            self.pipeline.submit if receiving.takes_metrics else None,
            self.pipeline.submit_logs,
            admit=self.pipeline.admit,
            endpoint=endpoint or receiving.endpoint,
            max_message_bytes=_max_message_bytes(self.settings),
            max_connections=receiving.max_connections,
            workers=workers_for(None if self.spool is None else self.spool.measure_sync_seconds()),
            accepting=lambda: self.pipeline.is_accepting,
            tls=certificates_for(receiving),
            tokens=tokens_for(receiving),
            counters=self.pipeline.counters,
            server_options=_server_options(receiving),
        )
        address = receiver.start()
        self._receiver = receiver
        return address

    def stats(self) -> Snapshot:
        """The counters of the receiver and the pipeline."""
        return self.pipeline.stats()

    def stop(self, timeout_seconds: float) -> bool:
        """Stop the intake, write what was accepted, close the backend.

        Returns:
            Whether all that was accepted was off our hands in time.
        """
        until = time.monotonic() + timeout_seconds
        self._orphan_replayer.request_stop()
        if self._receiver is not None:
            # Requests under way are short; the writer needs the time more.
            self._receiver.shutdown(timeout_seconds / 4)
        all_stored = self.pipeline.shutdown(max(until - time.monotonic(), 0.0))
        self._orphan_replayer.shutdown(max(until - time.monotonic(), 0.0))
        return all_stored


def _max_message_bytes(settings: Settings) -> int:
    """What the receiver takes at once: no more than the memory limit leaves room for."""
    limit_bytes = settings.exporter.memory_limit_mib * 1024 * 1024
    return min(settings.receiver.max_message_bytes, (limit_bytes - IDLE_BYTES) // _MOST_TIMES)


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
