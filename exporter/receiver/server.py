"""The receiver: a gRPC server, what it listens on, and how many workers it has.

Methods take and return bytes, so that protobuf messages are made nowhere but in the decoder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Final

import grpc

from exporter.receiver.address_check import check_free, listen_error
from exporter.receiver.admission import AdmissionHandler
from exporter.receiver.export import (
    LOGS_SERVICE,
    METRICS_SERVICE,
    Admit,
    Submit,
    export_methods,
    refused_methods,
)
from exporter.receiver.health import Health
from exporter.receiver.message_timeout import MessageDeadlines
from exporter.receiver.tls import Certificates
from exporter.receiver.tokens import BearerTokens
from exporter.stats import Counters

_HEALTH_MESSAGE_SECONDS: Final = 5.0
# Threads for refusals and health checks, which end at once; each watching client takes one more.
_CONTROL_WORKERS: Final = 4
_MAX_WATCHING: Final = 16

# One decodes while the other receives and replies. More of them only contend for the interpreter's
# lock: gRPC to SQLite takes 1.1 times as long with eight.
_WORKERS_WITHOUT_SYNC: Final = 2
# Each waits for its sync, and those that wait share one. With eight a request takes 1.07 times the
# CPU that it takes with four, and with four a fast disk is not the bottleneck.
_WORKERS_FAST_DISK: Final = 4
# With a disk that needs 10 ms a sync, 16 handle 1,600 requests a second; four would handle 400.
_WORKERS_SLOW_DISK: Final = 16
_FAST_SYNC_SECONDS: Final = 0.002

_DEFAULT_OPTIONS: Final = {
    # Without this a second receiver would share the port and take half of the data.
    "grpc.so_reuseport": 0,
    # Connections of machines that died count towards max_connections. A server pings only while a
    # request is in flight (and by its own default after two hours); idle connections are closed,
    # and clients may reconnect.
    "grpc.max_connection_idle_ms": 600_000,
    "grpc.keepalive_time_ms": 300_000,
    "grpc.keepalive_timeout_ms": 20_000,
    # RFC 9113, 6.5.2 recommends no less than 100; gRPC has no limit.
    "grpc.max_concurrent_streams": 100,
    # gRPC's own limits, which differ between its versions: above the first a request may be
    # refused, above the second it is.
    "grpc.max_metadata_size": 8 * 1024,
    "grpc.absolute_max_metadata_size": 16 * 1024,
}


def workers_for(seconds_to_sync: float | None) -> int:
    """How many workers serve most requests.

    Args:
        seconds_to_sync: what a worker waits for before it replies; None if it waits for nothing.
    """
    if seconds_to_sync is None:
        return _WORKERS_WITHOUT_SYNC
    return _WORKERS_FAST_DISK if seconds_to_sync < _FAST_SYNC_SECONDS else _WORKERS_SLOW_DISK


def _always() -> bool:
    return True


class Receiver:
    """Serves OTLP/gRPC, and the gRPC health service.

    Args:
        submit: takes a serialized ExportMetricsServiceRequest; called on many threads at once.
            Without it metrics are UNIMPLEMENTED.
        submit_logs: takes a serialized ExportLogsServiceRequest; without it logs are UNIMPLEMENTED.
        admit: entered before a message is received, on many threads at once; raises a retryable
            ExporterError if there is no room for one.
        endpoint: host:port to listen on, port 0 for a free one, or unix:///path.
        max_message_bytes: largest request, after decompression. Each worker may hold one.
        workers: threads that decode and reply; see `workers_for`.
        max_concurrent_requests: requests that may wait for a worker or have one; those beyond are
            answered UNAVAILABLE before their message is received.
        max_connections: clients that may be connected; further ones are disconnected.
        message_timeout_seconds: how long the message of a request may take to arrive.
        tls: None for plain text.
        tokens: the bearer tokens of which a request needs one; None accepts all requests.
        accepting: whether `submit` would take a request now, for the health service; called on
            many threads at once.
        counters: where requests are counted that are refused before they reach `submit`.
        server_options: further gRPC core arguments by name, such as keepalive limits.
    """

    def __init__(
        self,
        submit: Submit | None,
        submit_logs: Submit | None = None,
        *,
        admit: Admit = nullcontext,
        endpoint: str = "localhost:4317",
        max_message_bytes: int = 64 * 1024 * 1024,
        workers: int = 2,
        max_concurrent_requests: int = 1_000,
        max_connections: int = 1_000,
        message_timeout_seconds: float = 60.0,
        tls: Certificates | None = None,
        tokens: BearerTokens | None = None,
        accepting: Callable[[], bool] = _always,
        counters: Counters | None = None,
        server_options: Mapping[str, int] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._workers = workers
        self._tls = tls
        self._tokens = tokens
        self._counters = counters or Counters()
        self._export_deadlines = MessageDeadlines(message_timeout_seconds, time.monotonic)
        self._health_deadlines = MessageDeadlines(_HEALTH_MESSAGE_SECONDS, time.monotonic)
        self._control_pool = ThreadPoolExecutor(
            _CONTROL_WORKERS + _MAX_WATCHING, thread_name_prefix="grpc-control"
        )
        self._admission = AdmissionHandler(
            export_methods(submit, submit_logs, admit, self._export_deadlines),
            refused_methods(takes_metrics=submit is not None, takes_logs=submit_logs is not None),
            tokens=tokens,
            max_concurrent_requests=max_concurrent_requests,
            control_pool=self._control_pool,
            counters=self._counters,
            on_request=self._cancel_late,
        )
        services = {METRICS_SERVICE: submit, LOGS_SERVICE: submit_logs}
        self._health = Health(
            [service for service, taken_by in services.items() if taken_by is not None],
            accepting,
            deadlines=self._health_deadlines,
            control_pool=self._control_pool,
            on_request=self._cancel_late,
            max_watching=_MAX_WATCHING,
        )
        self._options = {
            **_DEFAULT_OPTIONS,
            "grpc.max_receive_message_length": max_message_bytes,
            "grpc.max_allowed_incoming_connections": max_connections,
            **(server_options or {}),
        }
        self._server: grpc.Server | None = None
        self._address = ""

    def start(self) -> str:
        """Listen and serve; safe twice.

        Returns:
            The address that clients can use, with the actual port.

        Raises:
            ReceiverError: the address cannot be listened on, or a certificate, key or token file
                cannot be used.
        """
        if self._server is not None:
            return self._address
        if self._tokens is not None:
            self._tokens.load()
        credentials = None if self._tls is None else self._tls.server_credentials()
        check_free(self._endpoint)
        server = grpc.server(
            ThreadPoolExecutor(self._workers, thread_name_prefix="otlp-grpc"),
            handlers=[self._admission, self._health],
            options=list(self._options.items()),
        )
        port = self._listen(server, credentials)
        server.start()
        host = self._endpoint.rpartition(":")[0]
        is_path = self._endpoint.startswith("unix:")
        self._address = self._endpoint if is_path else f"{host or '0.0.0.0'}:{port}"  # noqa: S104
        self._server = server
        return self._address

    def drain(self) -> None:
        """Say NOT_SERVING to health checks from here on; requests are still taken."""
        self._health.drain()

    def shutdown(self, timeout_seconds: float = 5.0) -> None:
        """Refuse new requests, give those in flight so long to finish, stop for good."""
        server, self._server = self._server, None
        if server is not None:
            self.drain()
            server.stop(timeout_seconds).wait()
            self._control_pool.shutdown(wait=False)

    def _listen(self, server: grpc.Server, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is not None:
                return server.add_secure_port(self._endpoint, credentials)
            return server.add_insecure_port(self._endpoint)
        except RuntimeError as exc:
            server.stop(None)
            raise listen_error(self._endpoint, str(exc)) from exc

    def _cancel_late(self) -> None:
        late = self._export_deadlines.cancel_late() + self._health_deadlines.cancel_late()
        if late:
            self._counters.add(requests_stalled=late)
