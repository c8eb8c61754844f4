"""Limits that keep clients from starving each other, over real channels."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from kit.receiver import CHECK, METRICS, Blocked, Submitted, begin, plain, refused, send, serving

from exporter.errors import QueueFullError
from exporter.receiver import Receiver
from exporter.stats import Counters


class Silent:
    """A client that begins requests and never sends their message."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._end = threading.Event()
        self.calls: list[Any] = []

    def begin(self, method: str = METRICS) -> None:
        stub: grpc.StreamUnaryMultiCallable[bytes, bytes] = self._channel.stream_unary(method)
        self.calls.append(stub.future(self._nothing()))

    def stop(self) -> None:
        self._end.set()
        for call in self.calls:
            call.cancel()

    def _nothing(self) -> Iterator[bytes]:
        self._end.wait(20)
        yield from ()


def first_answered(calls: list[Any]) -> Any:
    answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for call in calls:
        call.add_done_callback(answered.put)
    return answered.get(timeout=10)


def test_requests_beyond_the_limit_are_refused_at_once_as_retryable() -> None:
    submit, counters = Blocked(), Counters()
    receiver = Receiver(
        submit,
        endpoint="127.0.0.1:0",
        workers=2,
        max_concurrent_requests=3,
        counters=counters,
    )
    with serving(receiver) as address, plain(address) as channel:
        taken = [begin(channel) for _ in range(4)]  # two with a worker, one that waits, one over
        turned_away = first_answered(taken)
        taken.remove(turned_away)
        assert turned_away.code() is grpc.StatusCode.UNAVAILABLE
        assert "send again in a moment" in turned_away.details()
        info = RetryInfo.FromString(
            dict(turned_away.trailing_metadata())["google.rpc.retryinfo-bin"]
        )
        assert info.retry_delay.seconds == 1
        submit.go.set()
        assert [each.code() for each in taken] == [grpc.StatusCode.OK] * 3
        assert [send(channel) for _ in range(10)] == [b""] * 10  # every slot is free again
    assert counters.snapshot().requests_turned_away == 1


def test_a_message_that_is_not_admitted_is_not_received() -> None:
    submit = Submitted()

    def admit() -> AbstractContextManager[None]:
        raise QueueFullError("no room for a message")

    receiver = Receiver(submit, admit=admit, endpoint="127.0.0.1:0")
    with serving(receiver) as address, plain(address) as channel:
        call = refused(channel, b"x" * 1000)
    assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert call.details() == "no room for a message"
    assert "google.rpc.retryinfo-bin" in dict(call.trailing_metadata())
    assert submit.requests == []


def test_health_is_answered_while_every_worker_is_busy() -> None:
    submit = Blocked()
    receiver = Receiver(submit, endpoint="127.0.0.1:0", workers=1)
    with serving(receiver) as address, plain(address) as channel, ThreadPoolExecutor(1) as pool:
        taken = pool.submit(send, channel, b"data")
        assert submit.inside.acquire(timeout=10)
        assert send(channel, method=CHECK) == b"\x08\x01"
        submit.go.set()
        assert taken.result(10) == b""


def test_a_request_whose_message_never_comes_is_cancelled() -> None:
    counters = Counters()
    receiver = Receiver(
        Submitted(),
        endpoint="127.0.0.1:0",
        workers=2,
        message_timeout_seconds=0.2,
        counters=counters,
    )
    with serving(receiver) as address, plain(address) as bad, plain(address) as good:
        silent = Silent(bad)
        for _ in range(4):
            silent.begin()
        while counters.snapshot().requests_stalled < 4:
            assert begin(good, timeout=0.1).code() in {
                grpc.StatusCode.OK,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            }
        assert send(good) == b""
        assert [call.code() for call in silent.calls] == [grpc.StatusCode.CANCELLED] * 4
        silent.stop()


def test_a_request_without_a_message_is_an_invalid_argument() -> None:
    with serving(Receiver(Submitted(), endpoint="127.0.0.1:0")) as address, plain(address) as one:
        stub: grpc.StreamUnaryMultiCallable[bytes, bytes] = one.stream_unary(METRICS)
        call = stub.future(iter(()), timeout=10)
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "no message" in (call.details() or "")


def test_a_client_that_disconnects_frees_its_slots() -> None:
    submit = Blocked()
    receiver = Receiver(submit, endpoint="127.0.0.1:0", workers=1, max_concurrent_requests=2)
    with serving(receiver) as address, plain(address) as leaving, plain(address) as staying:
        taken = [begin(leaving) for _ in range(3)]
        assert first_answered(taken).code() is grpc.StatusCode.UNAVAILABLE
        for call in taken:
            call.cancel()
        submit.go.set()
        while (code := begin(staying).code()) is grpc.StatusCode.UNAVAILABLE:
            pass  # until the receiver has noticed
        assert code is grpc.StatusCode.OK
        assert [send(staying) for _ in range(4)] == [b""] * 4


def test_connections_beyond_the_limit_are_closed_and_may_reconnect() -> None:
    receiver = Receiver(Submitted(), endpoint="127.0.0.1:0", max_connections=2)
    with serving(receiver) as address, ExitStack() as held:
        first = held.enter_context(plain(address))
        assert send(first) == b""
        with plain(address) as second:
            assert send(second) == b""
            with plain(address) as third:
                assert refused(third).code() is grpc.StatusCode.UNAVAILABLE
            assert send(first) == b""
            assert send(second) == b""
        while begin(held.enter_context(plain(address))).code() is not grpc.StatusCode.OK:
            pass  # until the receiver has noticed that the second is closed


def test_an_idle_connection_is_closed_for_another() -> None:
    receiver = Receiver(
        Submitted(),
        endpoint="127.0.0.1:0",
        max_connections=1,
        server_options={"grpc.max_connection_idle_ms": 300},
    )
    with serving(receiver) as address, plain(address) as idle, ExitStack() as held:
        assert send(idle) == b""
        while begin(held.enter_context(plain(address))).code() is not grpc.StatusCode.OK:
            pass  # until the first has been idle for long enough


@pytest.mark.parametrize("kib", [17, 200])
def test_the_size_of_headers_is_limited(kib: int) -> None:
    submitted = Submitted()
    with serving(Receiver(submitted, endpoint="127.0.0.1:0")) as address, plain(address) as one:
        call = refused(one, b"data", metadata=[("x-padding", "x" * kib * 1024)])
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert send(one, b"data") == b""
    assert submitted.requests == [b"data"]


def test_a_client_that_pings_too_often_is_disconnected_and_may_reconnect() -> None:
    pinging = [
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_time_between_pings_ms", 50),
    ]
    submit = Blocked()
    with serving(Receiver(submit, endpoint="127.0.0.1:0")) as address, ExitStack() as held:
        channel = held.enter_context(grpc.insecure_channel(address, pinging))
        call = refused(channel, b"data")  # the connection is closed
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert "too many pings" in call.details().lower()
        submit.go.set()
        assert send(channel, b"data") == b""
