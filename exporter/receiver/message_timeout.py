"""Receives the one message of each request, within a time limit.

gRPC for Python gives a request a worker before its message has arrived. A client that begins
requests and never sends their messages, by intent or because its machine died, would take one
worker after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import grpc

from exporter.receiver.refusals import Refusal, abort

_NO_MESSAGE = Refusal(
    grpc.StatusCode.INVALID_ARGUMENT, "the request has no message; a unary call has exactly one"
)


class MessageDeadlines:
    """The deadlines of messages that have not arrived yet; safe to use from any thread.

    Args:
        timeout_seconds: how long a message may take from the moment that a worker waits for it.
        clock: seconds that only go forward, such as `time.monotonic`.
    """

    def __init__(self, timeout_seconds: float, clock: Callable[[], float]) -> None:
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # In the order of the deadlines, because all have the same timeout.
        self._deadlines: dict[grpc.ServicerContext, float] = {}

    def message(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Wait for the message of a request.

        Raises:
            grpc.RpcError: the request has ended: the client left, or it was cancelled.
        """
        with self._lock:
            self._deadlines[context] = self._clock() + self._timeout_seconds
        try:
            found = next(messages, None)
        finally:
            with self._lock:
                self._deadlines.pop(context, None)
        if found is None:
            abort(context, _NO_MESSAGE)
        return found

    def cancel_late(self) -> int:
        """Cancel the requests whose message is late; returns how many there were.

        Called when another request arrives. No thread watches the deadlines, because until then
        nobody needs the worker.
        """
        late = self._take_late()
        for context in late:
            # The client sees CANCELLED, after which it may send again.
            context.cancel()
        return len(late)

    def _take_late(self) -> list[grpc.ServicerContext]:
        if not self._deadlines:
            return []
        now, late = self._clock(), []
        with self._lock:
            for context, deadline in self._deadlines.items():
                if deadline > now:
                    break
                late.append(context)
            for context in late:
                del self._deadlines[context]
        return late
