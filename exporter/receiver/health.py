"""The gRPC health service: whether a request would be taken now (grpc.health.v1).

Needs no token, because the probes of orchestrators have none, and tells no more than yes or no.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from exporter.receiver.admission import PoolHandler
from exporter.receiver.deadlines import MessageDeadlines
from exporter.receiver.replies import Refusal, abort

__all__ = ["HEALTH_SERVICE", "Health"]

_log = logging.getLogger(__name__)

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
_CROWDED: Final = Refusal(
    grpc.StatusCode.RESOURCE_EXHAUSTED, "as many clients watch the health as may; use Check"
)
_UNKNOWN_SERVICE: Final = Refusal(grpc.StatusCode.NOT_FOUND, "there is no such service here")
_UNREADABLE: Final = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "this is no HealthCheckRequest")


_Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


class Health(grpc.GenericRpcHandler):
    """Check and Watch.

    Args:
        services: names that can be asked for, besides "" for the whole receiver.
        accepting: whether a request would be taken; called on many threads at once.
        deadlines: waits for the message of a request.
        control_pool: threads to answer on; each watching client takes one.
        on_arrival: called for every request.
        max_watching: clients that may watch at the same time.
        look_interval_seconds: how often a watching client is told of a change.
    """

    def __init__(
        self,
        services: Collection[str],
        accepting: Callable[[], bool],
        *,
        deadlines: MessageDeadlines,
        control_pool: ThreadPoolExecutor,
        on_arrival: Callable[[], None],
        max_watching: int,
        look_interval_seconds: float = 1.0,
    ) -> None:
        self._services = frozenset({"", *services})
        self._accepting = accepting
        self._deadlines = deadlines
        self._on_arrival = on_arrival
        self._seats = threading.BoundedSemaphore(max_watching)
        self._look_interval_seconds = look_interval_seconds
        self._draining = threading.Event()
        check: _Handler = grpc.stream_unary_rpc_method_handler(
            PoolHandler(self._check, control_pool)
        )
        watch: _Handler = grpc.stream_stream_rpc_method_handler(
            PoolHandler(self._watch, control_pool)
        )
        self._handlers: dict[str, _Handler] = {
            f"/{HEALTH_SERVICE}/Check": check,
            f"/{HEALTH_SERVICE}/Watch": watch,
        }

    def drain(self) -> None:
        """Say NOT_SERVING from here on, to those who watch at once."""
        self._draining.set()

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Called by gRPC on its one serving thread, for each request."""
        handler = self._handlers.get(details.method)
        if handler is not None:
            self._on_arrival()
        return handler

    def _check(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        name = self._asked_for(messages, context)
        if name not in self._services:
            abort(context, _UNKNOWN_SERVICE)
        return _response(self._status(name))

    def _watch(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        name = self._asked_for(messages, context)
        if not self._seats.acquire(blocking=False):
            abort(context, _CROWDED)
        try:
            yield from self._changes(name, context)
        finally:
            self._seats.release()

    def _changes(self, name: str, context: grpc.ServicerContext) -> Iterator[bytes]:
        told = None
        while context.is_active():
            draining = self._draining.is_set()
            status = self._status(name)
            if status != told:
                yield _response(status)
                told = status
            if draining:
                return  # the stream would hold up the shutdown
            self._draining.wait(self._look_interval_seconds)

    def _asked_for(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> str:
        try:
            return HealthCheckRequest.FromString(self._deadlines.message(messages, context)).service
        except DecodeError:
            abort(context, _UNREADABLE)

    def _status(self, name: str) -> int:
        if name not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        if self._draining.is_set() or not self._is_accepting():
            return HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse.SERVING

    def _is_accepting(self) -> bool:
        try:
            return self._accepting()
        except Exception:  # noqa: BLE001 - a probe gets its answer whatever happened
            _log.exception("it could not be found out whether requests can be taken")
            return False


def _response(status: int) -> bytes:
    return HealthCheckResponse(status=status).SerializeToString()
