"""The test kit itself: every layout is valid protobuf with the content of the message.

How the decoder reads the layouts is tested in test_wire_properties.py.
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
ALL_IRREGULARITIES = replace(
    LAYOUTS["upb"],
    name="all irregularities",
    irregularities=Irregularities(shuffle=1, interleave=1, split=1, unknown=1, override=1, pad=1),
)
# Field numbers in the order in which each encoder writes a point, as captured.
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
    """A request with every field of a number point and of exponential buckets."""
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
    """Field numbers of a message with one-byte tags and short values."""
    numbers = []
    while data:
        numbers.append(data[0] >> 3)
        size = {0: 2, 1: 9, 2: 2 + data[1]}[data[0] & 7]
        data = data[size:]
    return numbers


@given(request=requests(max_violations=2))
def test_a_message_in_every_known_layout_parses_back_equal(
    request: ExportMetricsServiceRequest,
) -> None:
    for layout in (*ENCODERS, ALL_IRREGULARITIES):
        assert as_bytes(read_back(encode(request, layout))) == as_bytes(request), layout.name


@given(request=requests(max_violations=2), layout=random_layouts())
def test_a_message_in_random_layouts_parses_back_equal(
    request: ExportMetricsServiceRequest, layout: Layout
) -> None:
    assert as_bytes(read_back(encode(request, layout))) == as_bytes(request)


@given(request=steady_requests(max_points=40), layout=random_layouts())
def test_a_steady_message_parses_back_equal(
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


def test_all_irregularities_are_written() -> None:
    request = full_request()
    regular, irregular = (encode(request, LAYOUTS["upb"]), encode(request, ALL_IRREGULARITIES))
    assert len(irregular) > 2 * len(regular)
    assert as_bytes(ExportMetricsServiceRequest.FromString(irregular)) != as_bytes(request)
    assert as_bytes(read_back(irregular)) == as_bytes(request)
    assert encode(request, replace(ALL_IRREGULARITIES, seed=1)) != irregular
    assert encode(request, ALL_IRREGULARITIES) == irregular


@pytest.mark.parametrize(
    ("number", "min_bytes", "encoded"),
    [
        (0, 1, b"\x00"),
        (127, 1, b"\x7f"),
        (128, 1, b"\x80\x01"),
        (300, 1, b"\xac\x02"),
        (1, 4, b"\x81\x80\x80\x00"),
        (2**64 - 1, 1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_varint(number: int, min_bytes: int, encoded: bytes) -> None:
    assert varint(number, min_bytes) == encoded
