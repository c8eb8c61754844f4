"""The one message of each request: waited for, but not for ever.

gRPC for Python gives a request a thread before its message is there. A client that begins
requests and never sends their messages, by intent or because its machine died, would so take
one worker after the other. No thread watches over them: whoever is late is cut off when the next
request arrives, for until then nobody misses the worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import grpc

from exporter.receiver.replies import Refusal, abort

__all__ = ["MessageDeadlines"]

_NO_MESSAGE = Refusal(
    grpc.StatusCode.INVALID_ARGUMENT, "the request has no message; a unary call has exactly one"
)


class MessageDeadlines:
    """Requests whose message is on its way; safe to use from any thread.

    Args:
        timeout_seconds: how long a message may take from the moment a worker waits for it.
        clock: seconds that only go forward, such as `time.monotonic`.
    """

    def __init__(self, timeout_seconds: float, clock: Callable[[], float]) -> None:
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # In the order of their deadlines, because all have the same time.
        self._until: dict[grpc.ServicerContext, float] = {}

    def message(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Wait for the message of a request.

        Raises:
            grpc.RpcError: the request is over: the client left, or it was cut off.
        """
        with self._lock:
            self._until[context] = self._clock() + self._timeout_seconds
        try:
            found = next(messages, None)
        finally:
            with self._lock:
                self._until.pop(context, None)
        if found is None:
            abort(context, _NO_MESSAGE)
        return found

    def cut_off_late(self) -> int:
        """End the requests whose message is late; returns how many there were."""
        late = self._take_late()
        for context in late:
            # The client reads CANCELLED, upon which it may send again.
            context.cancel()
        return len(late)

    def _take_late(self) -> list[grpc.ServicerContext]:
        if not self._until:
            return []
        now, late = self._clock(), []
        with self._lock:
            for context, until in self._until.items():
                if until > now:
                    break
                late.append(context)
            for context in late:
                del self._until[context]
        return late
