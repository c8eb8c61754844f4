"""A client in another process, so that its CPU time is not measured."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.synchronize import Event
from typing import Final

import grpc

EXPORT: Final = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_IN_FLIGHT: Final = 8
_TIMEOUT_SECONDS: Final = 120.0


def seconds_to_send(
    address: str, sent: Sequence[bytes], *, finish: Callable[[], object] = lambda: None
) -> float:
    """Seconds from the first request to the last answer and the end of `finish`.

    Args:
        address: host and port of a receiver.
        sent: serialized requests, eight at a time; each must be accepted without rejections.
        finish: runs inside the measured time, such as a flush of the batcher.
    """
    spawn = multiprocessing.get_context("spawn")
    ready, go = spawn.Event(), spawn.Event()
    client = spawn.Process(target=_send_all, args=(address, sent, ready, go))
    client.start()
    assert ready.wait(_TIMEOUT_SECONDS)
    began = time.perf_counter()
    go.set()
    client.join()
    finish()
    seconds = time.perf_counter() - began
    assert client.exitcode == 0
    return seconds


def _send_all(address: str, sent: Sequence[bytes], ready: Event, go: Event) -> None:
    with grpc.insecure_channel(address) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        grpc.channel_ready_future(channel).result(10)
        ready.set()
        go.wait()
        send_all(export, sent, at_a_time=_IN_FLIGHT)


def send_all(
    export: grpc.UnaryUnaryMultiCallable[bytes, bytes], sent: Iterable[bytes], *, at_a_time: int
) -> None:
    """Send requests, `at_a_time` in flight; each must be accepted without rejections."""
    waiting: deque[grpc.Future[bytes]] = deque()
    for data in sent:
        if len(waiting) == at_a_time:
            assert waiting.popleft().result() == b""
        waiting.append(export.future(data))
    assert all(one.result() == b"" for one in waiting)
