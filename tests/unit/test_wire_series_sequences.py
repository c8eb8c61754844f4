"""The cache of series sequences gives the same series ids as looking up each point."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from kit.otlp.checks import DecoderSession, assert_stored, expect_bytes
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.wire import columnar_decoder, decode

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_790_000_000_000_000_000
# After so many equal requests the sequence of their points is cached.
WARM_UP_REQUESTS = 4


def request(step: int, names: list[str], metric: str = "latency") -> bytes:
    """Histograms with one attribute each, in this order; some requests have exemplars."""
    message = ExportMetricsServiceRequest()
    data = message.resource_metrics.add().scope_metrics.add().metrics.add(name=metric).histogram
    data.aggregation_temporality = 2
    for at, name in enumerate(names):
        point = data.data_points.add(time_unix_nano=NOW + step, count=at, sum=at + step)
        point.attributes.add(key="name").value.string_value = name
        for _ in range(step % 3):
            exemplar = point.exemplars.add(as_double=at)
            exemplar.filtered_attributes.add(key="user").value.string_value = "u" * (at % 7)
    return message.SerializeToString()


def names_of(count: int) -> list[str]:
    return ["x" * (1 + at % 40) + str(at) for at in range(count)]


def warm_session(names: list[str], max_entries: int = 1_000_000) -> DecoderSession:
    """A decoder that has cached the sequence of these points."""
    session = DecoderSession(decode, max_entries=max_entries)
    for step in range(WARM_UP_REQUESTS):
        check(session, request(step, names))
    return session


def check(session: DecoderSession, data: bytes) -> None:
    assert_stored(session.decode(data), expect_bytes(data))


def test_a_steady_sender_needs_no_look_up_for_each_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = names_of(100)
    session = warm_session(names)
    looked_up: list[Any] = []
    decode_columns = columnar_decoder.ColumnarDecoder.decode

    def record(self: columnar_decoder.ColumnarDecoder) -> columnar_decoder.DecodedColumns:
        decoded = decode_columns(self)
        looked_up.extend(decoded.looked_up)
        return decoded

    monkeypatch.setattr(columnar_decoder.ColumnarDecoder, "decode", record)
    for step in range(WARM_UP_REQUESTS, WARM_UP_REQUESTS + 6):
        check(session, request(step, names))
    assert looked_up == []


def with_two_swapped(names: list[str]) -> list[str]:
    return [names[1], names[0], *names[2:]]


def with_one_longer(names: list[str]) -> list[str]:
    return [*names[:-1], names[-1] + "!"]


def with_one_changed(names: list[str]) -> list[str]:
    return [*names[:50], names[50][:-1] + "?", *names[51:]]


def without_the_last(names: list[str]) -> list[str]:
    return names[:-1]


def with_one_duplicate(names: list[str]) -> list[str]:
    return [*names[:-1], names[50]]


@pytest.mark.parametrize(
    "change",
    [with_two_swapped, with_one_longer, with_one_changed, without_the_last, with_one_duplicate],
)
def test_a_request_that_differs_in_one_point_is_decoded_correctly(
    change: Callable[[list[str]], list[str]],
) -> None:
    names = names_of(100)
    session = warm_session(names)
    for step in range(WARM_UP_REQUESTS, WARM_UP_REQUESTS + 10):
        check(session, request(step, change(names) if step % 2 else names))


def test_another_metric_with_the_same_attributes_has_other_series() -> None:
    names = names_of(100)
    session = warm_session(names)
    for step in range(WARM_UP_REQUESTS, WARM_UP_REQUESTS + 6):
        check(session, request(step, names, "another"))


def test_an_invalidated_series_is_defined_again() -> None:
    names = names_of(100)
    session = warm_session(names)
    invalid = decode(request(WARM_UP_REQUESTS, names), session.cache).batch.histograms[7].series_id
    session.cache.invalidate([invalid])
    batch = decode(request(WARM_UP_REQUESTS, names), session.cache).batch
    assert [series.series_id for series in batch.new_series] == [invalid]


def test_an_invalidated_series_of_another_resource_is_defined_again() -> None:
    session = DecoderSession(decode)
    both = ExportMetricsServiceRequest.FromString(request(0, names_of(30)))
    both.MergeFromString(request(0, names_of(30)))
    both.resource_metrics[1].resource.attributes.add(key="other")
    for _ in range(WARM_UP_REQUESTS):
        check(session, both.SerializeToString())
    invalid = decode(both.SerializeToString(), session.cache).batch.histograms[40].series_id
    session.cache.invalidate([invalid])
    batch = decode(both.SerializeToString(), session.cache).batch
    assert [series.series_id for series in batch.new_series] == [invalid]


@pytest.mark.parametrize("max_entries", [70, 120, 150])
def test_points_of_sequences_count_as_cache_entries(max_entries: int) -> None:
    session = warm_session(names_of(60), max_entries)
    for step in range(WARM_UP_REQUESTS, WARM_UP_REQUESTS + 6):
        check(session, request(step, names_of(60)))
        assert len(session.cache) <= max_entries


def test_evicted_sequences_are_no_longer_counted() -> None:
    session = DecoderSession(decode)
    for count in range(30, 60):
        for step in range(WARM_UP_REQUESTS):
            check(session, request(step, names_of(count)))
    session.cache.invalidate([1])  # drops all sequences
    assert len(session.cache) == 3 + 59  # a resource, a scope, a metric and the series


def test_a_sender_that_shuffles_its_points_is_decoded_correctly() -> None:
    names = names_of(100)
    session = warm_session(names)
    rng = random.Random(3)
    for step in range(WARM_UP_REQUESTS, WARM_UP_REQUESTS + 20):
        rng.shuffle(names)
        check(session, request(step, names))


@pytest.mark.parametrize("size_bytes", [0, 400, *range(488, 513), 600])
def test_attributes_of_any_length_are_distinguished(size_bytes: int) -> None:
    names = ["x" * size_bytes + str(at) for at in range(30)]
    session = warm_session(names)
    for step in range(WARM_UP_REQUESTS, WARM_UP_REQUESTS + 2):
        check(session, request(step, names))
        check(session, request(step, [name[::-1] for name in names]))


def test_any_wrong_byte_in_a_request_with_a_cached_sequence_is_found() -> None:
    names = names_of(24)
    session = warm_session(names)
    good = request(WARM_UP_REQUESTS, names)
    rng = random.Random(1)
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= rng.randrange(1, 256)
        check(session, bytes(damaged))
