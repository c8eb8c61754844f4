"""Clients that send numbered points for as long as they are told to, through any failure.

As real clients do, a sender tries the same bytes again when it got no answer, or one that says so;
now and then it gives up, as they do after some minutes. Every other answer is recorded as wrong.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

__all__ = ["FIRST_UNIX_MICRO", "POINTS", "Key", "Sender", "assert_stored_once", "sending"]

POINTS: Final = 20
FIRST_UNIX_MICRO: Final = time.time_ns() // 1_000 - 3_600_000_000
_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
_GIVES_UP: Final = 0.05
_RECONNECT: Final = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
]

# Metric name and time of a point, in microseconds since 1970.
Key = tuple[str, int]


class Sender:
    """One client in one thread.

    Attributes:
        sent: points that were sent at least once.
        acknowledged: of these, answered OK.
        wrong: answers upon which a client drops its data.
    """

    def __init__(self, place: int, address: str, pause_seconds: float) -> None:
        self.sent: set[Key] = set()
        self.acknowledged: set[Key] = set()
        self.wrong: list[str] = []
        self._name = f"sender.{place}"
        self._address = address
        self._pause_seconds = pause_seconds
        self._dice = random.Random(place)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self._name)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the request that is under way, and end."""
        self._over.set()
        self._thread.join(120)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with grpc.insecure_channel(self._address, options=_RECONNECT) as channel:
            stub = MetricsServiceStub(channel)
            number = 0
            while not self._over.is_set():
                keys = {
                    (self._name, FIRST_UNIX_MICRO + number * 1_000 + at) for at in range(POINTS)
                }
                self.sent |= keys
                if self._export(stub, self._request(keys)):
                    self.acknowledged |= keys
                number += 1
                self._over.wait(self._pause_seconds)

    def _request(self, keys: set[Key]) -> ExportMetricsServiceRequest:
        request = ExportMetricsServiceRequest()
        scope_metrics = request.resource_metrics.add().scope_metrics.add()
        metric = scope_metrics.metrics.add(name=self._name, unit="1")
        for _, unix_micro in sorted(keys):
            metric.gauge.data_points.add(time_unix_nano=unix_micro * 1_000, as_int=unix_micro)
        return request

    def _export(self, stub: MetricsServiceStub, request: ExportMetricsServiceRequest) -> bool:
        while True:
            try:
                response = stub.Export(request, timeout=10)
            except grpc.RpcError as error:
                if error.code() not in _RETRYABLE:
                    self.wrong.append(f"{error.code()}: {error.details()}")
                    return False
            else:
                assert not response.HasField("partial_success")
                return True
            if self._over.wait(0.02) or self._dice.random() < _GIVES_UP:
                return False


@contextmanager
def sending(
    address: str, *, senders: int = 6, pause_seconds: float = 0.0
) -> Iterator[list[Sender]]:
    """Senders that run until the end of the block."""
    everybody = [Sender(place, address, pause_seconds) for place in range(senders)]
    for sender in everybody:
        sender.start()
    try:
        yield everybody
    finally:
        for sender in everybody:
            sender.stop()


def assert_stored_once(senders: list[Sender], stored: Counter[Key]) -> int:
    """Every acknowledged point is there once, and nothing twice; how many were acknowledged."""
    acknowledged = set[Key]().union(*(sender.acknowledged for sender in senders))
    sent = set[Key]().union(*(sender.sent for sender in senders))
    assert [answer for sender in senders for answer in sender.wrong] == []
    missing = acknowledged - stored.keys()
    assert not missing, f"{len(missing)} acknowledged points are missing: {sorted(missing)[:3]}"
    doubled = [key for key, times in stored.items() if times > 1]
    assert not doubled, f"{len(doubled)} points are there twice: {sorted(doubled)[:3]}"
    assert stored.keys() <= sent
    return len(acknowledged)


Reading = Callable[[], Counter[Key]]
