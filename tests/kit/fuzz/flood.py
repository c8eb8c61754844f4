"""More than a receiver can take: many senders at once, and what their receiver is like meanwhile.

Each request has points of one value, its number, under a metric named after its sender, so that
what is stored can be counted against what was acknowledged.
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

__all__ = ["Flood", "Maker", "Watched", "flooding", "new_series", "steady", "watching"]

_EXPORT: Final = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_CHECK: Final = "/grpc.health.v1.Health/Check"
_SECOND: Final = 1_000_000_000
_FIRST_UNIX_NANO: Final = time.time_ns() // _SECOND * _SECOND - 3600 * _SECOND
# Of each channel its own connection; messages of any size.
_OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
]
_AGAIN: Final = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED})

# The request with a number, of the sender with a number.
Maker = Callable[[int, int], bytes]


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


def new_series(points: int) -> Maker:
    """Every point is a series that nobody has seen."""
    return lambda sender, number: _request(sender, number, points, f"{number}-")


def steady(points: int) -> Maker:
    """The same series in each request of a sender."""
    first: dict[int, bytes] = {}

    def make(sender: int, number: int) -> bytes:
        # Only times and values differ, and to write a large request anew takes the test too long.
        data = first.setdefault(sender, _request(sender, 1, points, ""))
        for tag, code, before, now in (
            (b"\x19", "<Q", _FIRST_UNIX_NANO + 1_000_000, _FIRST_UNIX_NANO + number * 1_000_000),
            (b"\x21", "<d", 1.0, float(number)),
        ):
            data = data.replace(tag + struct.pack(code, before), tag + struct.pack(code, now))
        return data

    return make


@dataclass
class Flood:
    """What came of it.

    Attributes:
        acknowledged: points of each request, by sender and number, that were answered OK.
        sent: how many requests were made.
        rejected: points that partial_success named.
        refused: answers that said to come back.
        wrong: answers that should not be: of another kind, or without RetryInfo.
    """

    acknowledged: dict[tuple[int, int], int] = field(default_factory=dict)
    sent: int = 0
    rejected: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def assert_stored(self, stored: dict[tuple[int, int], int]) -> None:
        """What was acknowledged is stored, whole and once; the rest whole and once, or not."""
        assert self.wrong == []
        missing = {
            key: (points, stored.get(key, 0))
            for key, points in self.acknowledged.items()
            if stored.get(key, 0) != points
        }
        assert missing == {}


class _Sender:
    def __init__(self, place: int, address: str, make: Maker, points: int, flood: Flood) -> None:
        self._place = place
        self._make = make
        self._points = points
        self._flood = flood
        self._channel = grpc.insecure_channel(address, _OPTIONS)

    def run(self, over: threading.Event) -> None:
        stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(_EXPORT)
        number = 0
        with self._channel:
            while not over.is_set():
                number += 1
                self._flood.sent += 1
                data = self._make(self._place, number)
                while not self._settled(stub, data, number):
                    if over.wait(0.1):
                        return

    def _settled(
        self, stub: grpc.UnaryUnaryMultiCallable[bytes, bytes], data: bytes, number: int
    ) -> bool:
        flood = self._flood
        try:
            answer = ExportMetricsServiceResponse.FromString(stub(data, timeout=30))
        except grpc.RpcError as error:
            return self._is_over(error)
        rejected = answer.partial_success.rejected_data_points
        flood.rejected += rejected
        flood.acknowledged[self._place, number] = self._points - rejected
        return True

    def _is_over(self, error: Any) -> bool:
        code, details = error.code(), str(error.details())
        if code is grpc.StatusCode.UNAVAILABLE:
            self._flood.refused[details] += 1
            trailers = dict(error.trailing_metadata() or ())
            told = trailers.get("google.rpc.retryinfo-bin")
            if told is None or not 0 < RetryInfo.FromString(told).retry_delay.seconds < 10:
                self._flood.wrong.append(f"{details}: no RetryInfo")
            return False
        if code in _AGAIN:
            self._flood.refused[str(code)] += 1
            return False
        self._flood.wrong.append(f"{code}: {details}")
        return True


@contextmanager
def flooding(address: str, make: Maker, points: int, *, senders: int) -> Iterator[Flood]:
    """Senders that send as fast as they can until the end of the block."""
    flood, over = Flood(), threading.Event()
    threads = [
        threading.Thread(
            target=_Sender(place, address, make, points, flood).run,
            args=(over,),
            name=f"sender-{place}",
        )
        for place in range(senders)
    ]
    for thread in threads:
        thread.start()
    try:
        yield flood
    finally:
        over.set()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)


@dataclass
class Watched:
    """What a program was like while it was watched.

    Attributes:
        peak_bytes: the largest resident memory that was seen.
        health: answers of the health service, by name of the status or of the failure.
    """

    peak_bytes: int = 0
    health: Counter[str] = field(default_factory=Counter)


@contextmanager
def watching(pid: int, address: str) -> Iterator[Watched]:
    """Look at a program's memory a hundred times a second, and ask for its health three times."""
    watched, over = Watched(), threading.Event()
    process = psutil.Process(pid)

    def measure() -> None:
        while not over.wait(0.01):
            watched.peak_bytes = max(watched.peak_bytes, process.memory_info().rss)

    def ask() -> None:
        with grpc.insecure_channel(address, _OPTIONS) as channel:
            check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
            while not over.wait(0.3):
                try:
                    status = {b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING"}
                    watched.health[status[check(b"", timeout=10)]] += 1
                except grpc.RpcError as error:
                    watched.health[str(error)] += 1

    threads = [threading.Thread(target=measure), threading.Thread(target=ask)]
    for thread in threads:
        thread.start()
    try:
        yield watched
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
