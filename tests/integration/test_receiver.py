"""The receiver's replies, over real gRPC channels."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from kit.receiver import LOGS, refused, send, serving
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from exporter.errors import QueueFullError, ReceiverError, ShuttingDownError
from exporter.receiver import Receiver
from exporter.series_cache import SeriesCache
from exporter.wire import Rejections, decode

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
NOW = 1_700_000_000_000_000_000

Submit = Callable[[bytes], Rejections]


def decoding() -> Submit:
    series, lock = SeriesCache(), threading.Lock()

    def submit(data: bytes) -> Rejections:
        with lock:
            return decode(data, series).rejections

    return submit


def raising(error: Exception) -> Submit:
    def submit(_data: bytes) -> Rejections:
        raise error

    return submit


def request(*times: int, name: str = "cpu") -> ExportMetricsServiceRequest:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name = name
    for at, time in enumerate(times):
        point = metric.gauge.data_points.add()
        point.time_unix_nano = time
        point.as_double = at
    return message


@contextmanager
def receiving(submit: Submit, **options: int) -> Iterator[grpc.Channel]:
    unlimited = [("grpc.max_send_message_length", -1)]
    with (
        serving(Receiver(submit, endpoint="127.0.0.1:0", **options)) as address,
        grpc.insecure_channel(address, options=unlimited) as channel,
    ):
        yield channel


def export(channel: grpc.Channel, data: bytes, **call: Any) -> ExportMetricsServiceResponse:
    return ExportMetricsServiceResponse.FromString(send(channel, data, **call))


def trailers(call: grpc.Call) -> dict[str, str | bytes]:
    return dict(call.trailing_metadata() or ())


@pytest.mark.parametrize(
    "compression",
    [None, grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate],
)
def test_full_success_leaves_partial_success_unset(compression: grpc.Compression | None) -> None:
    data = request(NOW, NOW + 1000).SerializeToString()
    with receiving(decoding()) as channel:
        assert not export(channel, data, compression=compression).HasField("partial_success")


def test_compressed_and_plain_requests_share_a_connection() -> None:
    data = request(NOW).SerializeToString()
    with receiving(decoding()) as channel:
        for compression in [grpc.Compression.Gzip, None, grpc.Compression.Deflate, None]:
            assert not export(channel, data, compression=compression).HasField("partial_success")


def test_an_empty_request_succeeds() -> None:
    with receiving(decoding()) as channel:
        assert not export(channel, b"").HasField("partial_success")


def test_rejected_points_are_counted_and_the_metric_is_named() -> None:
    with receiving(decoding()) as channel:
        answer = export(channel, request(0, NOW, 0, name="disk.io").SerializeToString())
    assert answer.partial_success.rejected_data_points == 2
    assert "disk.io" in answer.partial_success.error_message
    assert "time_unix_nano is 0" in answer.partial_success.error_message


def test_many_rejections_make_a_short_message() -> None:
    message = ExportMetricsServiceRequest()
    scope = message.resource_metrics.add().scope_metrics.add()
    for at in range(2_000):
        metric = scope.metrics.add(name=f"metric-{at}" + "x" * 200)
        metric.sum.aggregation_temporality = at  # type: ignore[assignment]
        metric.sum.data_points.add(time_unix_nano=NOW, as_int=1)
    with receiving(decoding()) as channel:
        answer = export(channel, message.SerializeToString())
    assert answer.partial_success.rejected_data_points == 1_998
    assert len(answer.partial_success.error_message) < 4_000


def test_a_rejection_with_a_huge_key_makes_a_short_message() -> None:
    message = request(NOW)
    point = message.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    for _ in range(2):
        point.attributes.add(key="k" * 5_000_000)
    with receiving(decoding()) as channel:
        answer = export(channel, message.SerializeToString())
    assert answer.partial_success.rejected_data_points == 1
    assert len(answer.partial_success.error_message) < 1_000


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x05abc", request(NOW).SerializeToString()[:-1], b"{}"]
)
def test_undecodable_bytes_are_an_invalid_argument(data: bytes) -> None:
    with receiving(decoding()) as channel:
        call = refused(channel, data)
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ExportMetricsServiceRequest" in (call.details() or "")


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_without_retry(
    compression: grpc.Compression | None,
) -> None:
    data = request(*[NOW] * 20_000).SerializeToString()
    limit = len(data) - 1
    with receiving(decoding(), max_message_bytes=limit) as channel:
        call = refused(channel, data, compression=compression)
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not {"grpc-status-details-bin", "google.rpc.retryinfo-bin"} & trailers(call).keys()
        # the connection still works
        assert not export(channel, request(NOW).SerializeToString()).HasField("partial_success")


@pytest.mark.parametrize("error", [QueueFullError("full"), ShuttingDownError("stopping")])
def test_a_retryable_failure_says_when_to_retry(error: Exception) -> None:
    with receiving(raising(error)) as channel:
        call = refused(channel, b"")
    assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert call.details() == str(error)
    found = trailers(call)
    python, standard = found["google.rpc.retryinfo-bin"], found["grpc-status-details-bin"]
    assert isinstance(python, bytes)
    assert isinstance(standard, bytes)
    info = RetryInfo.FromString(python)
    assert Duration(seconds=0) != info.retry_delay
    assert info.retry_delay.seconds < 10  # the Python SDK's whole deadline
    status = Status.FromString(standard)
    assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    unpacked = RetryInfo()
    assert status.details[0].Unpack(unpacked)
    assert unpacked == info


def test_a_bug_is_retryable_and_its_text_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(raising(ZeroDivisionError("secret detail"))) as channel:
        call = refused(channel, b"")
    assert call.code() is grpc.StatusCode.UNAVAILABLE
    assert "secret detail" not in (call.details() or "")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (LOGS, ExportLogsServiceRequest().SerializeToString()),
        (TRACES, ExportTraceServiceRequest().SerializeToString()),
        ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Import", b""),
    ],
)
def test_a_method_that_does_not_exist_is_unimplemented(method: str, data: bytes) -> None:
    with receiving(decoding()) as channel:
        assert refused(channel, data, method).code() is grpc.StatusCode.UNIMPLEMENTED


def test_calls_on_one_connection_run_concurrently() -> None:
    meeting = threading.Barrier(4, timeout=10)

    def submit(_data: bytes) -> Rejections:
        meeting.wait()  # passes only when four calls are in progress
        return Rejections()

    with receiving(submit, workers=4) as channel, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: export(channel, b""), range(4)))
    assert len(answers) == 4


def test_a_taken_port_is_named() -> None:
    with (
        serving(Receiver(decoding(), endpoint="127.0.0.1:0")) as address,
        pytest.raises(ReceiverError, match=address),
    ):
        Receiver(decoding(), endpoint=address).start()


def test_every_address_of_a_name_must_be_free() -> None:
    with serving(Receiver(decoding(), endpoint="127.0.0.1:0")) as address:
        port = address.rpartition(":")[2]
        with pytest.raises(ReceiverError, match=r"127\.0\.0\.1: Address already in use"):
            Receiver(decoding(), endpoint=f"localhost:{port}").start()


@pytest.mark.parametrize("endpoint", ["no.such.host.invalid:4317", "192.0.2.1:4317"])
def test_an_address_of_another_machine_is_named(endpoint: str) -> None:
    with pytest.raises(ReceiverError, match=endpoint):
        Receiver(decoding(), endpoint=endpoint).start()


def test_start_and_shutdown_are_safe_twice() -> None:
    receiver = Receiver(decoding(), endpoint="127.0.0.1:0")
    receiver.shutdown()
    assert receiver.start() == receiver.start()
    receiver.shutdown()
    receiver.shutdown()


def test_a_unix_socket_works(tmp_path: pytest.TempPathFactory) -> None:
    endpoint = f"unix://{tmp_path}/otlp.sock"
    with serving(Receiver(decoding(), endpoint=endpoint)) as address:
        assert address == endpoint
        with grpc.insecure_channel(endpoint) as channel:
            assert not export(channel, b"").HasField("partial_success")
