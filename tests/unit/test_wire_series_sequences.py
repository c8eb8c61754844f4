"""Points whose series are known from the order they came in are stored as if each was looked up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from kit.otlp.checks import DecoderSession, assert_stored, expect_bytes
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.wire import columnar, decode

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_790_000_000_000_000_000
# Requests after which a steady sender's points are known by their order.
LESSONS = 4


def request(tick: int, names: list[str], metric: str = "latency") -> bytes:
    """Histograms with an attribute each, in this order, and now and then with exemplars."""
    message = ExportMetricsServiceRequest()
    data = message.resource_metrics.add().scope_metrics.add().metrics.add(name=metric).histogram
    data.aggregation_temporality = 2
    for at, name in enumerate(names):
        point = data.data_points.add(time_unix_nano=NOW + tick, count=at, sum=at + tick)
        point.attributes.add(key="name").value.string_value = name
        for _ in range(tick % 3):
            exemplar = point.exemplars.add(as_double=at)
            exemplar.filtered_attributes.add(key="user").value.string_value = "u" * (at % 7)
    return message.SerializeToString()


def names_of(count: int) -> list[str]:
    return ["x" * (1 + at % 40) + str(at) for at in range(count)]


def taught(names: list[str], max_entries: int = 1_000_000) -> DecoderSession:
    """A decoder that knows these points by their order."""
    stream = DecoderSession(decode, max_entries=max_entries)
    for tick in range(LESSONS):
        check(stream, request(tick, names))
    return stream


def check(stream: DecoderSession, data: bytes) -> None:
    assert_stored(stream.feed(data), expect_bytes(data))


def test_a_steady_sender_has_its_series_without_looking_each_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = names_of(100)
    stream = taught(names)
    looked_up: list[Any] = []
    decode_columns = columnar.ColumnarDecoder.decode

    def noting(self: columnar.ColumnarDecoder) -> columnar.DecodedColumns:
        decoded = decode_columns(self)
        looked_up.extend(decoded.looked_up)
        return decoded

    monkeypatch.setattr(columnar.ColumnarDecoder, "decode", noting)
    for tick in range(LESSONS, LESSONS + 6):
        check(stream, request(tick, names))
    assert looked_up == []


def swapped(names: list[str]) -> list[str]:
    return [names[1], names[0], *names[2:]]


def one_longer(names: list[str]) -> list[str]:
    return [*names[:-1], names[-1] + "!"]


def one_other(names: list[str]) -> list[str]:
    return [*names[:50], names[50][:-1] + "?", *names[51:]]


def one_less(names: list[str]) -> list[str]:
    return names[:-1]


def one_twice(names: list[str]) -> list[str]:
    return [*names[:-1], names[50]]


@pytest.mark.parametrize("change", [swapped, one_longer, one_other, one_less, one_twice])
def test_what_differs_in_one_point_is_looked_up(change: Callable[[list[str]], list[str]]) -> None:
    names = names_of(100)
    stream = taught(names)
    for tick in range(LESSONS, LESSONS + 10):
        check(stream, request(tick, change(names) if tick % 2 else names))


def test_another_metric_with_the_same_attributes_has_series_of_its_own() -> None:
    names = names_of(100)
    stream = taught(names)
    for tick in range(LESSONS, LESSONS + 6):
        check(stream, request(tick, names, "another"))


def test_a_series_that_was_forgotten_is_defined_again() -> None:
    names = names_of(100)
    stream = taught(names)
    gone = decode(request(LESSONS, names), stream.cache).batch.histograms[7].series_id
    stream.cache.invalidate([gone])
    batch = decode(request(LESSONS, names), stream.cache).batch
    assert [series.series_id for series in batch.new_series] == [gone]


def test_a_series_of_another_resource_that_was_forgotten_is_defined_again() -> None:
    stream = DecoderSession(decode)
    both = ExportMetricsServiceRequest.FromString(request(0, names_of(30)))
    both.MergeFromString(request(0, names_of(30)))
    both.resource_metrics[1].resource.attributes.add(key="other")
    for _ in range(LESSONS):
        check(stream, both.SerializeToString())
    gone = decode(both.SerializeToString(), stream.cache).batch.histograms[40].series_id
    stream.cache.invalidate([gone])
    batch = decode(both.SerializeToString(), stream.cache).batch
    assert [series.series_id for series in batch.new_series] == [gone]


@pytest.mark.parametrize("max_entries", [70, 120, 150])
def test_what_is_known_of_orders_counts_as_the_series_do(max_entries: int) -> None:
    stream = taught(names_of(60), max_entries)
    for tick in range(LESSONS, LESSONS + 6):
        check(stream, request(tick, names_of(60)))
        assert len(stream.cache) <= max_entries


def test_a_full_memory_of_orders_is_counted_as_it_is() -> None:
    stream = DecoderSession(decode)
    for count in range(30, 60):
        for tick in range(LESSONS):
            check(stream, request(tick, names_of(count)))
    stream.cache.invalidate([1])  # lets go of all orders
    assert len(stream.cache) == 3 + 59  # a resource, a scope, a metric and the series


def test_a_sender_without_an_order_is_stored_as_well() -> None:
    names = names_of(100)
    stream = taught(names)
    rng = random.Random(3)
    for tick in range(LESSONS, LESSONS + 20):
        rng.shuffle(names)
        check(stream, request(tick, names))


@pytest.mark.parametrize("size_bytes", [0, 400, *range(488, 513), 600])
def test_attributes_of_any_length_are_told_apart(size_bytes: int) -> None:
    names = ["x" * size_bytes + str(at) for at in range(30)]
    stream = taught(names)
    for tick in range(LESSONS, LESSONS + 2):
        check(stream, request(tick, names))
        check(stream, request(tick, [name[::-1] for name in names]))


def test_a_wrong_byte_is_found_in_a_request_that_is_known_by_its_order() -> None:
    names = names_of(24)
    stream = taught(names)
    good = request(LESSONS, names)
    rng = random.Random(1)
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= rng.randrange(1, 256)
        check(stream, bytes(damaged))
