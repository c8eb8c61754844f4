"""Who gets a worker: decided on a request's headers, before its message is received.

Handlers are declared as taking a stream of messages, which on the wire is the same: gRPC then
leaves it to the handler to receive the one message, and a refused request is never received.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

from exporter.receiver.export import Behaviour
from exporter.receiver.limiter import ConcurrencyLimiter
from exporter.receiver.replies import Refusal, abort
from exporter.receiver.tokens import BearerTokens, Metadata

__all__ = ["AdmissionHandler", "PoolHandler"]

_log = logging.getLogger(__name__)

_CROWDED: Final = Refusal(
    grpc.StatusCode.UNAVAILABLE,
    "the receiver has as many requests under way as it takes at once; come back in a moment",
)


class PoolHandler:
    """A handler that runs in a pool of its own, so that busy workers do not hold it up.

    gRPC looks for the attribute by this name. A gRPC without it would use the workers.
    """

    def __init__(self, behaviour: Callable[..., Any], pool: ThreadPoolExecutor) -> None:
        self._behaviour = behaviour
        self.experimental_thread_pool = pool

    def __call__(self, *arguments: Any) -> Any:
        """Run the handler."""
        return self._behaviour(*arguments)


class AdmissionHandler(grpc.GenericRpcHandler):
    """Finds the handler of a request, or one that refuses it.

    Args:
        methods: what takes a message, by the path of the method.
        refused: what is refused in any case, by path.
        tokens: None lets in everybody.
        limiter: counts, and bounds how many are inside.
        control_pool: threads for refusals, which must not wait for a worker.
        on_arrival: called for every request; must be quick, and must not raise.
    """

    def __init__(
        self,
        methods: Mapping[str, Behaviour],
        refused: Mapping[str, Refusal],
        *,
        tokens: BearerTokens | None,
        limiter: ConcurrencyLimiter,
        control_pool: ThreadPoolExecutor,
        on_arrival: Callable[[], None],
    ) -> None:
        self._tokens = tokens
        self._limiter = limiter
        self._control_pool = control_pool
        self._on_arrival = on_arrival
        self._bounded = frozenset(methods)
        # Made once, because making them takes as long as all the rest that is done here.
        self._handlers = {path: self._taking(behaviour) for path, behaviour in methods.items()}
        self._handlers |= {path: self._refusing(outcome) for path, outcome in refused.items()}

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Called by gRPC on its one serving thread, for each request; must be quick."""
        found = self._handlers.get(details.method)
        if found is None:
            return None
        self._on_arrival()
        refused = self._unauthenticated(details.invocation_metadata)
        if refused is None and details.method in self._bounded:
            refused = self._crowded()
        return found if refused is None else self._refusing(refused)

    def _crowded(self) -> Refusal | None:
        if self._limiter.enter():
            return None
        self._limiter.count(requests_overloaded=1)
        return _CROWDED

    def _unauthenticated(self, metadata: Metadata) -> Refusal | None:
        refused = None if self._tokens is None else self._tokens.refusal(metadata)
        if refused is None:
            return None
        if refused.code is not grpc.StatusCode.UNAUTHENTICATED:
            self._limiter.count(requests_overloaded=1)
        elif self._limiter.count(requests_unauthenticated=1).requests_unauthenticated == 1:
            # Once: a client that keeps trying must not fill the log. The rest is counted.
            _log.warning("a request was refused: %s", refused.details)
        return refused

    def _taking(self, behaviour: Behaviour) -> grpc.RpcMethodHandler[bytes, bytes]:
        def inside(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            try:
                return behaviour(messages, context)
            finally:
                self._limiter.leave()

        return grpc.stream_unary_rpc_method_handler(inside)

    def _refusing(self, refused: Refusal) -> grpc.RpcMethodHandler[bytes, bytes]:
        def refuse(_messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            abort(context, refused)

        return grpc.stream_unary_rpc_method_handler(PoolHandler(refuse, self._control_pool))
