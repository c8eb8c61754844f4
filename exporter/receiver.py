"""OTLP/gRPC services: bytes -> submit, error -> status code. Knows nothing of what is stored.

Handlers take and give raw bytes, so that protobuf objects are made nowhere but in the decoder.
Every outcome is a status that clients understand: an exception that escaped would become UNKNOWN,
upon which they drop the data (OTLP specification, "Failures").
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import UNAVAILABLE
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from exporter.errors import ExporterError, PermanentError, ReceiverError
from exporter.wire import Rejections

__all__ = ["Receiver"]

_log = logging.getLogger(__name__)

_COLLECTOR: Final = "opentelemetry.proto.collector"
_METRICS_SERVICE: Final = f"{_COLLECTOR}.metrics.v1.MetricsService"
_OTHER_SERVICES: Final = {
    "logs": f"{_COLLECTOR}.logs.v1.LogsService",
    "traces": f"{_COLLECTOR}.trace.v1.TraceService",
}
# A machine without IPv6 still resolves localhost to ::1.
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
# Python SDKs give up at once when the asked delay is longer than what is left of their 10 s.
_RETRY_DELAY_SECONDS: Final = 1
# Status details travel in an HTTP/2 header, which peers bound at 8 KiB and more.
_MAX_DETAILS_CHARACTERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: grpc.StatusCode
    details: str


class Receiver:
    """Serves OTLP/gRPC.

    Args:
        submit: takes a serialized ExportMetricsServiceRequest; called on many threads at once.
        endpoint: host:port to listen on, port 0 for a free one, or unix:///path.
        max_message_bytes: largest request, after decompression.
        workers: threads that decode and answer. One decodes while the other receives and replies;
            more only pass the interpreter's lock around (gRPC to SQLite: 8 threads take 1.1 times
            as long as 2).
        server_options: further gRPC core arguments by name, such as keepalive limits.
    """

    def __init__(
        self,
        submit: Callable[[bytes], Rejections],
        *,
        endpoint: str = "localhost:4317",
        max_message_bytes: int = 64 * 1024 * 1024,
        workers: int = 2,
        server_options: Mapping[str, int] | None = None,
    ) -> None:
        self._submit = submit
        self._endpoint = endpoint
        self._workers = workers
        self._options = {
            "grpc.max_receive_message_length": max_message_bytes,
            # Without this a second receiver would share the port and take half of the data.
            "grpc.so_reuseport": 0,
            **(server_options or {}),
        }
        self._server: grpc.Server | None = None
        self._address = ""

    def start(self) -> str:
        """Listen and serve.

        Returns:
            The address that clients can use, with the port that was really taken.

        Raises:
            ReceiverError: the address cannot be listened on.
        """
        if self._server is not None:
            return self._address
        _check_free(self._endpoint)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="otlp-grpc")
        options = list(self._options.items())
        server = grpc.server(pool, handlers=self._handlers(), options=options)
        try:
            port = server.add_insecure_port(self._endpoint)
        except RuntimeError as exc:
            pool.shutdown()
            raise _cannot_listen(self._endpoint, str(exc)) from exc
        server.start()
        host = self._endpoint.rpartition(":")[0]
        is_path = self._endpoint.startswith("unix:")
        self._address = self._endpoint if is_path else f"{host or '0.0.0.0'}:{port}"  # noqa: S104
        self._server = server
        return self._address

    def shutdown(self, timeout_seconds: float = 5.0) -> None:
        """Refuse new requests, let those under way finish for so long, stop listening."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(timeout_seconds).wait()

    def _handlers(self) -> list[grpc.GenericRpcHandler]:
        export: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            self._export
        )
        handlers = [grpc.method_handlers_generic_handler(_METRICS_SERVICE, {"Export": export})]
        for signal, service in _OTHER_SERVICES.items():
            refuse: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
                _unimplemented(signal)
            )
            handlers.append(grpc.method_handlers_generic_handler(service, {"Export": refuse}))
        return handlers

    def _export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        outcome = self._answer(request)
        if isinstance(outcome, bytes):
            return outcome
        if outcome.code is grpc.StatusCode.UNAVAILABLE:
            context.set_trailing_metadata(_retry_metadata(outcome.details))
        context.abort(outcome.code, outcome.details)
        raise AssertionError("abort() raises")

    def _answer(self, request: bytes) -> bytes | _Refusal:
        try:
            rejections = self._submit(request)
        except PermanentError as exc:
            return _refusal(grpc.StatusCode.INVALID_ARGUMENT, exc)
        except ExporterError as exc:
            return _refusal(grpc.StatusCode.UNAVAILABLE, exc)
        except Exception as exc:  # noqa: BLE001 - an escaped one becomes UNKNOWN
            # A fault of ours: retryable, so that the sender keeps what it has.
            _log.exception("a request of %d bytes could not be taken", len(request))
            return _refusal(grpc.StatusCode.UNAVAILABLE, exc)
        return _success(rejections)


def _check_free(endpoint: str) -> None:
    # gRPC is content with one of the addresses that a name stands for: with localhost it would
    # take ::1 alone while another program has 127.0.0.1, and get none of the data sent there.
    host, _, port = endpoint.rpartition(":")
    if endpoint.startswith("unix:") or port == "0":
        return
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as exc:
        raise _cannot_listen(endpoint, str(exc)) from exc
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family is socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except OSError as exc:
            if exc.errno not in _NO_SUCH_ADDRESS or len(found) == 1:
                raise _cannot_listen(endpoint, f"{address[0]}: {exc.strerror}") from exc


def _cannot_listen(endpoint: str, reason: str) -> ReceiverError:
    return ReceiverError(
        f"cannot listen for OTLP/gRPC on {endpoint}: {reason}; stop the other receiver or "
        "Collector on that port, or choose another endpoint (port 0 takes a free one)"
    )


def _refusal(code: grpc.StatusCode, exc: Exception) -> _Refusal:
    text = str(exc) if isinstance(exc, ExporterError) else "internal error, see the receiver's log"
    return _Refusal(code, text[:_MAX_DETAILS_CHARACTERS])


def _success(rejections: Rejections) -> bytes:
    if not rejections.counts:
        return b""  # an empty response: partial_success must stay unset
    return ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(
            rejected_data_points=rejections.total, error_message=rejections.message()
        )
    ).SerializeToString()


def _retry_metadata(details: str) -> tuple[tuple[str, bytes], ...]:
    # The standard trailer is what Go reads; the Python SDK knows only the second.
    info = RetryInfo(retry_delay=Duration(seconds=_RETRY_DELAY_SECONDS))
    status = Status(code=UNAVAILABLE, message=details)
    status.details.add().Pack(info)
    return (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
    )


def _unimplemented(signal: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def refuse(_request: bytes, context: grpc.ServicerContext) -> Any:
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            f"this receiver takes metrics; point the exporter for {signal} elsewhere",
        )

    return refuse
