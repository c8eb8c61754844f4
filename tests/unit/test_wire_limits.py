"""Both decoders refuse small requests that would take much memory, before they take it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from kit.otlp.checks import both_decoders
from kit.otlp.encode import length_delimited, varint
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.errors import DecodeError
from exporter.series_cache import SeriesCache
from exporter.wire import Decoded
from exporter.wire.limits import MAX_UNCHECKED_BYTES, check_message_count
from exporter.wire.series_lookup import MAX_JSON_CHARACTERS

Decode = Callable[[bytes, SeriesCache], Decoded]


EMPTY_COUNT = MAX_UNCHECKED_BYTES // 2 + 1
EMPTY_MESSAGES = {
    "resources": b"\x0a\x00" * EMPTY_COUNT,
    "scopes": length_delimited(0x0A, b"\x12\x00" * EMPTY_COUNT),
    "metrics": length_delimited(0x0A, length_delimited(0x12, b"\x12\x00" * EMPTY_COUNT)),
    "unknown fields": b"\x78\x00" * EMPTY_COUNT,
    "unknown fields of a scope": length_delimited(
        0x0A, length_delimited(0x12, b"\x78\x00" * EMPTY_COUNT)
    ),
}


@both_decoders
@pytest.mark.parametrize("kind", EMPTY_MESSAGES)
def test_a_large_request_of_empty_messages_is_refused(decoder: Decode, kind: str) -> None:
    with pytest.raises(DecodeError, match="send smaller requests"):
        decoder(EMPTY_MESSAGES[kind], SeriesCache())


def test_a_large_request_is_refused_before_it_takes_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            check_message_count(EMPTY_MESSAGES["resources"])
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("end", [b"\x0b", b"\x0a\x7f"], ids=["group", "truncated"])
def test_a_large_malformed_request_is_refused(end: bytes) -> None:
    with pytest.raises(DecodeError, match="truncated, or is a group"):
        check_message_count(
            bytes([0x7A]) + varint(MAX_UNCHECKED_BYTES) + bytes(MAX_UNCHECKED_BYTES) + end
        )


def request_of(metrics: int, resource_characters: int, scope_characters: int) -> bytes:
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="r").value.string_value = "x" * resource_characters
    scope_metrics = group.scope_metrics.add()
    scope_metrics.scope.name = "y" * scope_characters
    for number in range(metrics):
        scope_metrics.metrics.add(name=str(number)).gauge.data_points.add(
            time_unix_nano=1, as_int=1
        )
    return request.SerializeToString()


@both_decoders
def test_any_number_of_the_smallest_metrics_is_accepted(decoder: Decode) -> None:
    data = request_of(20_000, 1, 1)
    assert len(data) > MAX_UNCHECKED_BYTES
    assert decoder(data, SeriesCache()).batch.entries == 20_000


@both_decoders
@pytest.mark.parametrize(
    ("resource", "scope"),
    [(MAX_JSON_CHARACTERS, 0), (0, MAX_JSON_CHARACTERS)],
    ids=["resource", "scope"],
)
def test_resource_and_scope_have_a_maximum_size(decoder: Decode, resource: int, scope: int) -> None:
    accepted = decoder(request_of(3, resource // 2, scope // 2), SeriesCache())
    assert (accepted.batch.entries, accepted.rejections.total) == (3, 0)
    rejected = decoder(request_of(3, resource, scope), SeriesCache())
    assert (rejected.batch.entries, rejected.rejections.total) == (0, 3)
    assert f"more than {MAX_JSON_CHARACTERS}" in rejected.rejections.message()
    assert rejected.batch.new_series == ()
