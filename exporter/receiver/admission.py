"""Accepts or refuses a request by its headers, before its message is received.

Methods are declared as request-streaming, which is identical on the wire. The method then decides
when to receive the message, so the message of a refused request is never read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from exporter.receiver.export import Method
from exporter.receiver.refusals import Refusal, abort
from exporter.receiver.tokens import BearerTokens, Metadata
from exporter.stats import Counters

_log = logging.getLogger(__name__)

_TOO_MANY_REQUESTS: Final = Refusal(
    grpc.StatusCode.UNAVAILABLE,
    "too many requests are in flight; send again in a moment",
)


class PoolMethod:
    """A method that runs in a thread pool of its own, so that it does not wait for a worker.

    gRPC looks for the attribute `experimental_thread_pool`. A version without it would use the
    workers.
    """

    def __init__(self, method: Callable[..., Any], pool: ThreadPoolExecutor) -> None:
        self._method = method
        self.experimental_thread_pool = pool

    def __call__(self, *arguments: Any) -> Any:
        """Run the method."""
        return self._method(*arguments)


class AdmissionHandler(grpc.GenericRpcHandler):
    """Finds the method of a request, or one that refuses it.

    Args:
        methods: the methods that take a message, by path.
        refused: what the methods that are not offered are answered, by path.
        tokens: None accepts all requests.
        max_concurrent_requests: requests that may wait for a worker or have one.
        control_pool: threads for refusals, which must not wait for a worker.
        counters: where refusals are counted.
        on_request: called for every request; must be quick, and must not raise.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        refused: Mapping[str, Refusal],
        *,
        tokens: BearerTokens | None,
        max_concurrent_requests: int,
        control_pool: ThreadPoolExecutor,
        counters: Counters,
        on_request: Callable[[], None],
    ) -> None:
        self._tokens = tokens
        self._free_slots = threading.BoundedSemaphore(max_concurrent_requests)
        self._control_pool = control_pool
        self._counters = counters
        self._on_request = on_request
        self._limited = frozenset(methods)
        self._has_logged_refusal = False
        # Made once: making one takes as long as everything else that `service` does.
        self._handlers = {path: self._limited_handler(method) for path, method in methods.items()}
        self._handlers |= {
            path: self._refusal_handler(refusal) for path, refusal in refused.items()
        }

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Called by gRPC on its one serving thread, for each request; must be quick."""
        handler = self._handlers.get(details.method)
        if handler is None:
            return None
        self._on_request()
        refusal = self._authenticate(details.invocation_metadata)
        if refusal is None and details.method in self._limited:
            refusal = self._take_slot()
        return handler if refusal is None else self._refusal_handler(refusal)

    def _take_slot(self) -> Refusal | None:
        if self._free_slots.acquire(blocking=False):
            return None
        self._counters.add(requests_turned_away=1)
        return _TOO_MANY_REQUESTS

    def _authenticate(self, metadata: Metadata) -> Refusal | None:
        refusal = None if self._tokens is None else self._tokens.check(metadata)
        if refusal is None:
            return None
        if refusal.code is not grpc.StatusCode.UNAUTHENTICATED:
            self._counters.add(requests_turned_away=1)
            return refusal
        self._counters.add(requests_unauthenticated=1)
        if not self._has_logged_refusal:
            # Once: a client that keeps trying must not fill the log. The others are counted.
            self._has_logged_refusal = True
            _log.warning("a request was refused: %s", refusal.details)
        return refusal

    def _limited_handler(self, method: Method) -> grpc.RpcMethodHandler[bytes, bytes]:
        def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            try:
                return method(messages, context)
            finally:
                self._free_slots.release()

        return grpc.stream_unary_rpc_method_handler(handle)

    def _refusal_handler(self, refusal: Refusal) -> grpc.RpcMethodHandler[bytes, bytes]:
        def refuse(_messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            abort(context, refusal)

        return grpc.stream_unary_rpc_method_handler(PoolMethod(refuse, self._control_pool))
