"""Clients that send numbered points until they are stopped, through any failure.

As real clients do, a sender retries the same bytes after a retryable status or no reply at all.
Sometimes it gives up, as they do after some minutes. Every other status is recorded as wrong.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

POINTS: Final = 20
FIRST_UNIX_MICRO: Final = time.time_ns() // 1_000 - 3_600_000_000
_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
# The probability that a sender drops a request after a failed attempt.
_GIVE_UP_PROBABILITY: Final = 0.05
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
        wrong: replies upon which a client drops its data.
    """

    def __init__(self, number: int, address: str, pause_seconds: float) -> None:
        self.sent: set[Key] = set()
        self.acknowledged: set[Key] = set()
        self.wrong: list[str] = []
        self._name = f"sender.{number}"
        self._address = address
        self._pause_seconds = pause_seconds
        self._rng = random.Random(number)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self._name)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the request in flight, and end."""
        self._stopping.set()
        self._thread.join(120)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with grpc.insecure_channel(self._address, options=_RECONNECT) as channel:
            stub = MetricsServiceStub(channel)
            number = 0
            while not self._stopping.is_set():
                keys = {
                    (self._name, FIRST_UNIX_MICRO + number * 1_000 + at) for at in range(POINTS)
                }
                self.sent |= keys
                if self._export(stub, self._request(keys)):
                    self.acknowledged |= keys
                number += 1
                self._stopping.wait(self._pause_seconds)

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
            if self._stopping.wait(0.02) or self._rng.random() < _GIVE_UP_PROBABILITY:
                return False


@contextmanager
def sending(
    address: str, *, senders: int = 6, pause_seconds: float = 0.0
) -> Iterator[list[Sender]]:
    """Run senders until the end of the block."""
    started = [Sender(number, address, pause_seconds) for number in range(senders)]
    for sender in started:
        sender.start()
    try:
        yield started
    finally:
        for sender in started:
            sender.stop()


def assert_stored_once(senders: list[Sender], stored: Counter[Key]) -> int:
    """Check that acknowledged points are stored, and none twice; returns how many there are."""
    acknowledged = set[Key]().union(*(sender.acknowledged for sender in senders))
    sent = set[Key]().union(*(sender.sent for sender in senders))
    assert [reply for sender in senders for reply in sender.wrong] == []
    missing = acknowledged - stored.keys()
    assert not missing, f"{len(missing)} acknowledged points are missing: {sorted(missing)[:3]}"
    duplicates = [key for key, times in stored.items() if times > 1]
    assert not duplicates, f"{len(duplicates)} points are stored twice: {sorted(duplicates)[:3]}"
    assert stored.keys() <= sent
    return len(acknowledged)
