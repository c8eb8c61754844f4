"""Sends more than a receiver can take, from many senders, and observes the receiver meanwhile.

All points of a request have its number as their value, under a metric named after the sender, so
that a test can compare stored points with acknowledged ones.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import psutil
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from exporter.time_units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND

_EXPORT: Final = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_CHECK: Final = "/grpc.health.v1.Health/Check"
_NOW_SECONDS: Final = time.time_ns() // NANOSECONDS_PER_SECOND
_FIRST_UNIX_NANO: Final = _NOW_SECONDS * NANOSECONDS_PER_SECOND - NANOSECONDS_PER_HOUR
# Each channel has its own connection; messages may have any size.
_OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
]
_RETRYABLE: Final = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED})

# Makes a request, from the number of the sender and the number of the request.
RequestFactory = Callable[[int, int], bytes]


def _request(sender: int, number: int, points: int, prefix: str) -> bytes:
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="host.name").value.string_value = f"host-{sender}"
    data = group.scope_metrics.add().metrics.add(name=f"sender-{sender}").gauge.data_points
    at = _FIRST_UNIX_NANO + number * 1_000_000
    for point in range(points):
        added = data.add(time_unix_nano=at, as_double=number)
        added.attributes.add(key="id").value.string_value = f"{prefix}{point}"
    return request.SerializeToString()


def new_series(points: int) -> RequestFactory:
    """Every point belongs to a new series."""
    return lambda sender, number: _request(sender, number, points, f"{number}-")


def steady_series(points: int) -> RequestFactory:
    """Each request of a sender has the same series."""
    first: dict[int, bytes] = {}

    def make(sender: int, number: int) -> bytes:
        # Replaces times and values only, because encoding a large request takes too long.
        data = first.setdefault(sender, _request(sender, 1, points, ""))
        for tag, code, before, now in (
            (b"\x19", "<Q", _FIRST_UNIX_NANO + 1_000_000, _FIRST_UNIX_NANO + number * 1_000_000),
            (b"\x21", "<d", 1.0, float(number)),
        ):
            data = data.replace(tag + struct.pack(code, before), tag + struct.pack(code, now))
        return data

    return make


@dataclass
class FloodResult:
    """The answers to a flood.

    Attributes:
        acknowledged: how many points of each request were acknowledged, by sender and number.
        sent: how many requests were sent.
        rejected: how many points were rejected in partial_success.
        refused: how many answers asked for a retry, by status.
        wrong: answers with another status, or without RetryInfo.
    """

    acknowledged: dict[tuple[int, int], int] = field(default_factory=dict)
    sent: int = 0
    rejected: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def assert_stored(self, stored: dict[tuple[int, int], int]) -> None:
        """Fail unless every acknowledged point is stored exactly once."""
        assert self.wrong == []
        missing = {
            key: (points, stored.get(key, 0))
            for key, points in self.acknowledged.items()
            if stored.get(key, 0) != points
        }
        assert missing == {}


class _Sender:
    def __init__(
        self, number: int, address: str, make: RequestFactory, points: int, result: FloodResult
    ) -> None:
        self._number = number
        self._make = make
        self._points = points
        self._result = result
        self._channel = grpc.insecure_channel(address, _OPTIONS)

    def run(self, stop: threading.Event) -> None:
        stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(_EXPORT)
        number = 0
        with self._channel:
            while not stop.is_set():
                number += 1
                self._result.sent += 1
                data = self._make(self._number, number)
                while not self._is_answered(stub, data, number):
                    if stop.wait(0.1):
                        return

    def _is_answered(
        self, stub: grpc.UnaryUnaryMultiCallable[bytes, bytes], data: bytes, number: int
    ) -> bool:
        result = self._result
        try:
            answer = ExportMetricsServiceResponse.FromString(stub(data, timeout=30))
        except grpc.RpcError as error:
            return self._is_final(error)
        rejected = answer.partial_success.rejected_data_points
        result.rejected += rejected
        result.acknowledged[self._number, number] = self._points - rejected
        return True

    def _is_final(self, error: Any) -> bool:
        code, details = error.code(), str(error.details())
        if code is grpc.StatusCode.UNAVAILABLE:
            self._result.refused[details] += 1
            trailers = dict(error.trailing_metadata() or ())
            retry_info = trailers.get("google.rpc.retryinfo-bin")
            if (
                retry_info is None
                or not 0 < RetryInfo.FromString(retry_info).retry_delay.seconds < 10
            ):
                self._result.wrong.append(f"{details}: no RetryInfo")
            return False
        if code in _RETRYABLE:
            self._result.refused[str(code)] += 1
            return False
        self._result.wrong.append(f"{code}: {details}")
        return True


@contextmanager
def send_flood(
    address: str, make: RequestFactory, points: int, *, senders: int
) -> Iterator[FloodResult]:
    """Send as fast as possible from several threads until the end of the block."""
    result, stop = FloodResult(), threading.Event()
    threads = [
        threading.Thread(
            target=_Sender(number, address, make, points, result).run,
            args=(stop,),
            name=f"sender-{number}",
        )
        for number in range(senders)
    ]
    for thread in threads:
        thread.start()
    try:
        yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)


@dataclass
class ProcessObservation:
    """Memory and health of a process.

    Attributes:
        peak_bytes: the largest resident memory.
        health: how many answers of the health service, by status or error.
    """

    peak_bytes: int = 0
    health: Counter[str] = field(default_factory=Counter)


@contextmanager
def observe(pid: int, address: str) -> Iterator[ProcessObservation]:
    """Measure memory a hundred times a second and health three times a second, in the block."""
    observation, stop = ProcessObservation(), threading.Event()
    process = psutil.Process(pid)

    def measure_memory() -> None:
        while not stop.wait(0.01):
            observation.peak_bytes = max(observation.peak_bytes, process.memory_info().rss)

    def check_health() -> None:
        with grpc.insecure_channel(address, _OPTIONS) as channel:
            check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
            while not stop.wait(0.3):
                try:
                    status = {b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING"}
                    observation.health[status[check(b"", timeout=10)]] += 1
                except grpc.RpcError as error:
                    observation.health[str(error)] += 1

    threads = [threading.Thread(target=measure_memory), threading.Thread(target=check_health)]
    for thread in threads:
        thread.start()
    try:
        yield observation
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
