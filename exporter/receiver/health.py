"""The gRPC health service: whether a request would be taken now (grpc.health.v1).

Needs no token, because the probes of orchestrators have none; it answers only yes or no.
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

from exporter.receiver.admission import PoolMethod
from exporter.receiver.message_timeout import MessageDeadlines
from exporter.receiver.refusals import Refusal, abort

_log = logging.getLogger(__name__)

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
_TOO_MANY_WATCHERS: Final = Refusal(
    grpc.StatusCode.RESOURCE_EXHAUSTED, "no more clients may use Watch at once; use Check"
)
_UNKNOWN_SERVICE: Final = Refusal(grpc.StatusCode.NOT_FOUND, "this receiver has no such service")
_UNREADABLE: Final = Refusal(
    grpc.StatusCode.INVALID_ARGUMENT, "the message is not a HealthCheckRequest"
)


_Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


class Health(grpc.GenericRpcHandler):
    """Check and Watch.

    Args:
        services: names that can be asked for, besides "" for the whole receiver.
        accepting: whether a request would be taken; called on many threads at once.
        deadlines: receives the message of a request.
        control_pool: threads to answer on; each watching client takes one.
        on_request: called for every request.
        max_watching: clients that may watch at the same time.
        poll_interval_seconds: how often `accepting` is asked for a watching client.
    """

    def __init__(
        self,
        services: Collection[str],
        accepting: Callable[[], bool],
        *,
        deadlines: MessageDeadlines,
        control_pool: ThreadPoolExecutor,
        on_request: Callable[[], None],
        max_watching: int,
        poll_interval_seconds: float = 1.0,
    ) -> None:
        self._services = frozenset({"", *services})
        self._accepting = accepting
        self._deadlines = deadlines
        self._on_request = on_request
        self._watch_slots = threading.BoundedSemaphore(max_watching)
        self._poll_interval_seconds = poll_interval_seconds
        self._draining = threading.Event()
        check = PoolMethod(self._check, control_pool)
        watch = PoolMethod(self._watch, control_pool)
        self._handlers: dict[str, _Handler] = {
            f"/{HEALTH_SERVICE}/Check": grpc.stream_unary_rpc_method_handler(check),
            f"/{HEALTH_SERVICE}/Watch": grpc.stream_stream_rpc_method_handler(watch),
        }

    def drain(self) -> None:
        """Say NOT_SERVING from here on, to watching clients at once."""
        self._draining.set()

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Called by gRPC on its one serving thread, for each request."""
        handler = self._handlers.get(details.method)
        if handler is not None:
            self._on_request()
        return handler

    def _check(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        name = self._requested_service(messages, context)
        if name not in self._services:
            abort(context, _UNKNOWN_SERVICE)
        return _response(self._status(name))

    def _watch(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        name = self._requested_service(messages, context)
        if not self._watch_slots.acquire(blocking=False):
            abort(context, _TOO_MANY_WATCHERS)
        try:
            yield from self._changes(name, context)
        finally:
            self._watch_slots.release()

    def _changes(self, name: str, context: grpc.ServicerContext) -> Iterator[bytes]:
        sent = None
        while context.is_active():
            is_draining = self._draining.is_set()
            status = self._status(name)
            if status != sent:
                yield _response(status)
                sent = status
            if is_draining:
                return  # an open stream would delay the shutdown
            self._draining.wait(self._poll_interval_seconds)

    def _requested_service(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> str:
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
        except Exception:  # noqa: BLE001 - a probe gets an answer in any case
            _log.exception("the health check could not find out whether requests can be taken")
            return False


def _response(status: int) -> bytes:
    return HealthCheckResponse(status=status).SerializeToString()
