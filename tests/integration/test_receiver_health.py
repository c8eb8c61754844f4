"""The gRPC health service, over real channels."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from kit.receiver import (
    CHECK,
    METRICS,
    WATCH,
    Authority,
    Blocked,
    Files,
    Submitted,
    plain,
    refused,
    send,
    serving,
)

from exporter.errors import ReceiverError
from exporter.receiver import BearerTokens, Certificates, Receiver
from exporter.receiver.probe import check_health, local_address

SERVICES = ["", "opentelemetry.proto.collector.metrics.v1.MetricsService"]
SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


class Accepting:
    """Whether requests would be taken; a test changes `now`."""

    def __init__(self) -> None:
        self.now = True

    def __call__(self) -> bool:
        return self.now


def receiver(**options: Any) -> Receiver:
    return Receiver(Submitted(), endpoint="127.0.0.1:0", **options)


def check(channel: grpc.Channel, service: str = "") -> int:
    request = HealthCheckRequest(service=service).SerializeToString()
    return HealthCheckResponse.FromString(send(channel, request, CHECK)).status


def watch(channel: grpc.Channel, service: str = "") -> Any:
    stub: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH)
    return stub(HealthCheckRequest(service=service).SerializeToString(), timeout=20)


def statuses(call: Iterator[bytes]) -> Iterator[int]:
    for message in call:
        yield HealthCheckResponse.FromString(message).status


@pytest.mark.parametrize("service", SERVICES)
def test_check_says_whether_requests_would_be_taken(service: str) -> None:
    accepting = Accepting()
    with serving(receiver(accepting=accepting)) as address, plain(address) as channel:
        assert check(channel, service) == SERVING
        accepting.now = False
        assert check(channel, service) == NOT_SERVING
        accepting.now = True
        assert check(channel, service) == SERVING


def test_a_receiver_serves_by_default() -> None:
    with serving(receiver()) as address, plain(address) as channel:
        assert check(channel) == SERVING


def test_a_failing_check_is_not_serving(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    with serving(receiver(accepting=broken)) as address, plain(address) as channel:
        assert check(channel) == NOT_SERVING
    assert "ZeroDivisionError" in caplog.text


def test_an_unknown_service_is_not_found() -> None:
    with serving(receiver()) as address, plain(address) as channel:
        request = HealthCheckRequest(service="other").SerializeToString()
        assert refused(channel, request, CHECK).code() is grpc.StatusCode.NOT_FOUND
        call = watch(channel, "other")
        assert next(statuses(call)) == HealthCheckResponse.SERVICE_UNKNOWN
        call.cancel()


def test_undecodable_bytes_are_an_invalid_argument() -> None:
    with serving(receiver()) as address, plain(address) as channel:
        assert refused(channel, b"\xff", CHECK).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_watch_sends_every_change_and_ends_with_the_receiver() -> None:
    accepting = Accepting()
    one = receiver(accepting=accepting)
    with serving(one) as address, plain(address) as channel:
        seen = statuses(watch(channel, SERVICES[1]))
        assert next(seen) == SERVING
        accepting.now = False
        assert next(seen) == NOT_SERVING
        accepting.now = True
        assert next(seen) == SERVING
        one.drain()
        assert list(seen) == [NOT_SERVING]


def test_health_changes_before_requests_are_refused() -> None:
    one = receiver()
    with serving(one) as address, plain(address) as channel:
        one.drain()
        assert check(channel) == NOT_SERVING
        assert send(channel, b"data") == b""


def test_a_shutdown_notifies_watching_clients_and_does_not_wait_for_them() -> None:
    submit = Blocked()
    one = Receiver(submit, endpoint="127.0.0.1:0")
    with serving(one) as address, plain(address) as channel, ThreadPoolExecutor(2) as pool:
        seen = statuses(watch(channel))
        assert next(seen) == SERVING
        in_flight = pool.submit(send, channel, b"data")
        assert submit.inside.acquire(timeout=10)
        stopping = pool.submit(one.shutdown, 20.0)
        assert list(seen) == [NOT_SERVING]  # while a request is still in flight
        assert not stopping.done()
        submit.go.set()
        assert in_flight.result(10) == b""
        stopping.result(10)


def test_watching_clients_are_bounded_and_leave_room_for_checks() -> None:
    with serving(receiver()) as address, plain(address) as channel:
        calls = [watch(channel) for _ in range(16)]
        assert [next(statuses(call)) for call in calls] == [SERVING] * 16
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(channel))
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert check(channel) == SERVING
        assert send(channel, b"data") == b""
        calls.pop().cancel()
        while (replacement := first_or_none(watch(channel))) is None:
            pass  # until the receiver has noticed that it left
        assert replacement == SERVING


def first_or_none(call: Any) -> int | None:
    try:
        return next(statuses(call))
    except grpc.RpcError:
        return None
    finally:
        call.cancel()


def test_health_needs_no_token() -> None:
    tokens = BearerTokens(token="alpha")  # noqa: S106 - a test's
    with serving(receiver(tokens=tokens)) as address, plain(address) as channel:
        assert check(channel) == SERVING
        assert refused(channel, method=METRICS).code() is grpc.StatusCode.UNAUTHENTICATED


# The probe


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("0.0.0.0:4317", "127.0.0.1:4317"),
        ("[::]:4317", "localhost:4317"),
        (":4317", "localhost:4317"),
        ("localhost:4317", "localhost:4317"),
        ("[::1]:4317", "[::1]:4317"),
        ("unix:///run/otel.sock", "unix:///run/otel.sock"),
    ],
)
def test_the_probe_connects_to_a_local_address(endpoint: str, address: str) -> None:
    assert local_address(endpoint) == address


def test_the_probe_distinguishes_serving_and_not_serving() -> None:
    accepting = Accepting()
    with serving(receiver(accepting=accepting)) as address:
        assert check_health(address, timeout_seconds=10)
        accepting.now = False
        assert not check_health(address, timeout_seconds=10)
    with pytest.raises(
        ReceiverError, match=f"{address} did not answer the health check: UNAVAILABLE"
    ):
        check_health(address, timeout_seconds=10)


@pytest.mark.parametrize("names", [("localhost",), ("*.example.org",), ("127.0.0.1",)])
def test_the_probe_reaches_a_receiver_with_tls(
    tmp_path_factory: pytest.TempPathFactory, names: tuple[str, ...]
) -> None:
    files = Authority(tmp_path_factory.mktemp("tls"), "ours").issue("server", *names)
    tls = Certificates(files.cert_file, files.key_file)
    with serving(receiver(tls=tls)) as address:
        assert check_health(address, timeout_seconds=10, tls=tls)
        with pytest.raises(ReceiverError):
            check_health(address, timeout_seconds=10)


def test_the_probe_shows_a_client_certificate_if_one_is_required(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ours = Authority(tmp_path_factory.mktemp("ours"), "ours")
    agents = Authority(tmp_path_factory.mktemp("agents"), "agents")

    def ask(tls: Certificates, client: Files | None = None) -> bool:
        shown = (client.cert_file, client.key_file) if client else None
        with serving(receiver(tls=tls)) as address:
            return check_health(address, timeout_seconds=10, tls=tls, client_files=shown)

    server = ours.issue("server")
    own = Certificates(server.cert_file, server.key_file, client_ca_file=ours.file)
    assert ask(own)  # the authority issued the receiver's own certificate too
    other = Certificates(server.cert_file, server.key_file, client_ca_file=agents.file)
    assert ask(other, agents.issue("probe"))
    with pytest.raises(ReceiverError, match="did not answer"):
        ask(other)


def test_concurrent_probes_are_all_answered() -> None:
    calls = 0
    lock = threading.Lock()

    def accepting() -> bool:
        nonlocal calls
        with lock:
            calls += 1
        return True

    with serving(receiver(accepting=accepting)) as address, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: check_health(address, timeout_seconds=10), range(40)))
    assert answers == [True] * 40
    assert calls == 40
