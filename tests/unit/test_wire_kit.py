"""The test kit itself: every layout is legal protobuf, and says the same as the message.

What the decoder makes of the layouts is in test_wire_properties.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from kit.otlp.encode import encode, varint
from kit.otlp.layouts import ENCODERS, Irregularities, Layout, random_layouts
from kit.otlp.strategies import requests, steady_requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

LAYOUTS = {layout.name: layout for layout in ENCODERS}
CHAOS = replace(
    LAYOUTS["upb"],
    name="chaos",
    irregularities=Irregularities(shuffle=1, interleave=1, split=1, unknown=1, stale=1, pad=1),
)
# Field numbers in the order that each encoder writes a point, as seen on the wire.
NUMBER_POINT_ORDERS = {
    "upb": [2, 3, 4, 5, 7, 8],
    "rust_java": [2, 3, 4, 5, 7, 8],
    "google_go": [2, 3, 5, 7, 8, 4],
    "gogo": [2, 3, 5, 4, 7, 8],
    "pdata": [8, 5, 4, 3, 2, 7],
    "dotnet": [4, 2, 3, 7, 5, 8],
}


def read_back(data: bytes) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest.FromString(data)
    request.DiscardUnknownFields()
    return request


def as_bytes(request: ExportMetricsServiceRequest) -> bytes:
    """For comparing messages: NaN equals NaN and -0.0 differs from 0.0."""
    return request.SerializeToString(deterministic=True)


def full_request() -> ExportMetricsServiceRequest:
    """Every field of a number point and of exponential buckets set."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    point = metrics.add(name="n").gauge.data_points.add(
        start_time_unix_nano=1, time_unix_nano=2, as_double=1.5, flags=2
    )
    point.attributes.add(key="k").value.string_value = "v"
    point.exemplars.add(time_unix_nano=3, as_int=4, span_id=b"s" * 8, trace_id=b"t" * 16)
    buckets = ExponentialHistogramDataPoint.Buckets(offset=-3, bucket_counts=[1, 300])
    metrics.add(name="e").exponential_histogram.data_points.add(
        count=301, scale=-2, positive=buckets, sum=0.0
    )
    return request


def field_numbers(data: bytes) -> list[int]:
    """Numbers of the fields of a message that has small field numbers and short bodies only."""
    numbers = []
    while data:
        numbers.append(data[0] >> 3)
        size = {0: 2, 1: 9, 2: 2 + data[1]}[data[0] & 7]
        data = data[size:]
    return numbers


@given(request=requests(max_violations=2))
def test_a_message_reads_back_equal_from_every_encoder(
    request: ExportMetricsServiceRequest,
) -> None:
    for layout in (*ENCODERS, CHAOS):
        assert as_bytes(read_back(encode(request, layout))) == as_bytes(request), layout.name


@given(request=requests(max_violations=2), layout=random_layouts())
def test_a_message_reads_back_equal_from_random_layouts(
    request: ExportMetricsServiceRequest, layout: Layout
) -> None:
    assert as_bytes(read_back(encode(request, layout))) == as_bytes(request)


@given(request=steady_requests(max_points=40), layout=random_layouts())
def test_a_steady_message_reads_back_equal(
    request: ExportMetricsServiceRequest, layout: Layout
) -> None:
    assert as_bytes(read_back(encode(request, layout))) == as_bytes(request)


@given(request=requests(max_violations=2))
def test_upb_layout_writes_what_the_official_library_writes(
    request: ExportMetricsServiceRequest,
) -> None:
    assert encode(request, LAYOUTS["upb"]) == as_bytes(request)


@pytest.mark.parametrize("name", NUMBER_POINT_ORDERS)
def test_number_points_have_the_encoders_field_order(name: str) -> None:
    metrics = full_request().resource_metrics[0].scope_metrics[0].metrics
    layout = replace(LAYOUTS[name], length_bytes=1)
    encoded = encode(metrics[0].gauge.data_points[0], layout)
    assert field_numbers(encoded) == NUMBER_POINT_ORDERS[name]


def test_dotnet_pads_lengths_and_does_not_pack_exponential_buckets() -> None:
    metrics = full_request().resource_metrics[0].scope_metrics[0].metrics
    point = metrics[1].exponential_histogram.data_points[0]
    buckets = encode(point, LAYOUTS["dotnet"])
    assert b"\x42" + varint(7, 4) + b"\x08\x05" + b"\x10\x01" + b"\x10\xac\x02" in buckets


def test_explicit_defaults_are_written() -> None:
    point = full_request().resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    point.Clear()
    assert encode(point, LAYOUTS["upb"]) == b""
    times_and_flags = b"\x11" + bytes(8) + b"\x19" + bytes(8) + b"\x40\x00"
    assert encode(point, LAYOUTS["explicit_defaults"]) == times_and_flags


def test_chaos_does_all_that_it_is_asked_for() -> None:
    request = full_request()
    plain, wild = (encode(request, LAYOUTS["upb"]), encode(request, CHAOS))
    assert len(wild) > 2 * len(plain)
    assert as_bytes(ExportMetricsServiceRequest.FromString(wild)) != as_bytes(request)
    assert as_bytes(read_back(wild)) == as_bytes(request)
    assert encode(request, replace(CHAOS, seed=1)) != wild
    assert encode(request, CHAOS) == wild


@pytest.mark.parametrize(
    ("number", "least_bytes", "encoded"),
    [
        (0, 1, b"\x00"),
        (127, 1, b"\x7f"),
        (128, 1, b"\x80\x01"),
        (300, 1, b"\xac\x02"),
        (1, 4, b"\x81\x80\x80\x00"),
        (2**64 - 1, 1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_varint(number: int, least_bytes: int, encoded: bytes) -> None:
    assert varint(number, least_bytes) == encoded
