"""Histograms and points with exemplars mean the same decoded together as one by one.

Requests that are generated are small, and small ones go through the official messages: here any
number of points is decoded together.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from kit.otlp.checks import DecoderSession, assert_stored, expect_bytes
from kit.otlp.encode import encode
from kit.otlp.layouts import ENCODERS, random_layouts
from kit.otlp.model import expect
from kit.otlp.mutate import mutated_bytes
from kit.otlp.strategies import BASE_UNIX_NANO, request_of_all_types, requests
from kit.otlp.violations import VIOLATIONS, data_points
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.wire import AgeLimits, TimeWindow, columnar, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Batch

LAYOUTS: Final = st.sampled_from(ENCODERS) | random_layouts()
# Nobody is known to write packed fixed-width numbers singly.
SENDERS: Final = [layout for layout in ENCODERS if layout.name != "unpacked"]
REQUESTS: Final = st.one_of(requests(), requests(max_violations=2))
# Of a time, and of the numbers in histograms that a program seldom has.
EXTREMES: Final = (0, 1, 127, 128, 2**40, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


@pytest.fixture(scope="module", autouse=True)
def _few_points_are_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar, "MIN_POINTS", 1)
        yield


def knowing(request: ExportMetricsServiceRequest, layout: Any) -> DecoderSession:
    """A decoder that has seen this request twice."""
    stream = DecoderSession(decode)
    for _ in range(2):
        stream.feed(encode(request, layout))
    return stream


@given(request=REQUESTS, layout=LAYOUTS)
def test_a_known_request_is_stored_as_the_data_model_says(
    request: ExportMetricsServiceRequest, layout: Any
) -> None:
    expected = expect(request)
    stream = DecoderSession(decode)
    for _ in range(3):
        assert_stored(stream.feed(encode(request, layout)), expected)


@given(request=requests(), later=requests(max_violations=1), layouts=st.lists(LAYOUTS, min_size=2))
def test_one_cache_serves_requests_in_several_layouts(
    request: ExportMetricsServiceRequest, later: ExportMetricsServiceRequest, layouts: list[Any]
) -> None:
    stream = knowing(request, layouts[0])
    for layout in layouts:
        for each in (request, later):
            assert_stored(stream.feed(encode(each, layout)), expect(each))


@given(request=REQUESTS, layout=LAYOUTS, data=st.data())
def test_damaged_copies_mean_what_the_official_messages_say(
    request: ExportMetricsServiceRequest, layout: Any, data: st.DataObject
) -> None:
    stream = knowing(request, layout)
    good = encode(request, layout)
    copies = mutated_bytes(st.just(good), max_changes=2)
    for damaged in data.draw(st.lists(copies, min_size=8, max_size=8)):
        assert_stored(stream.feed(damaged), expect_bytes(damaged))


@pytest.mark.parametrize("layout", ENCODERS, ids=lambda layout: layout.name)
def test_any_single_byte_may_be_wrong(layout: Any) -> None:
    request = request_of_all_types()
    stream = knowing(request, layout)
    good = encode(request, layout)
    rng = random.Random(1)
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] = rng.choice((0, 0x7F, 0x80, 0xFF, good[at] ^ 1, rng.randrange(256)))
        assert_stored(stream.feed(bytes(damaged)), expect_bytes(bytes(damaged)))
        assert_stored(stream.feed(good[:at]), expect_bytes(good[:at]))


@pytest.mark.parametrize("fault", VIOLATIONS)
def test_each_fault_sinks_what_it_is_in_and_nothing_else(fault: str) -> None:
    for choice in range(40):
        request = request_of_all_types()
        stream = knowing(request, ENCODERS[0])
        VIOLATIONS[fault](request, choice)
        assert_stored(stream.feed(encode(request, ENCODERS[0])), expect(request))


@given(request=requests(), layout=LAYOUTS, numbers=st.randoms(use_true_random=False))
def test_extreme_counts_and_times_are_judged_alike(
    request: ExportMetricsServiceRequest, layout: Any, numbers: random.Random
) -> None:
    stream = knowing(request, layout)
    for group in request.resource_metrics:
        for scope_metrics in group.scope_metrics:
            for metric in scope_metrics.metrics:
                for point in data_points(metric):
                    exaggerate(point, numbers)
    assert_stored(stream.feed(encode(request, layout)), expect(request))


def exaggerate(point: Any, numbers: random.Random) -> None:
    """Give one number of the point, or one of its lists, a value at an edge."""
    name = numbers.choice(("count", "zero_count", "time_unix_nano", "bucket_counts", "positive"))
    if name not in point.DESCRIPTOR.fields_by_name:
        return
    if name == "positive":
        point.positive.bucket_counts.append(numbers.choice(EXTREMES))
    elif name == "bucket_counts":
        for at in range(len(point.bucket_counts)):
            point.bucket_counts[at] = numbers.choice(EXTREMES)
    else:
        setattr(point, name, numbers.choice(EXTREMES))
    if numbers.random() < 0.5 and "count" in point.DESCRIPTOR.fields_by_name:
        point.count = in_buckets(point) % 2**64


def in_buckets(point: Any) -> int:
    if "bucket_counts" in point.DESCRIPTOR.fields_by_name:
        return sum(point.bucket_counts)
    if "positive" not in point.DESCRIPTOR.fields_by_name:
        return 7
    both = (*point.positive.bucket_counts, *point.negative.bucket_counts)
    return sum(both) + int(point.zero_count)


@given(
    request=requests(),
    layout=LAYOUTS,
    ends=st.tuples(*[st.integers(0, 5).map(lambda at: BASE_UNIX_NANO + at * 10**9)] * 2),
)
def test_points_and_exemplars_outside_the_time_window_are_not_stored(
    request: ExportMetricsServiceRequest, layout: Any, ends: tuple[int, int]
) -> None:
    window = TimeWindow(*ends, BASE_UNIX_NANO, AgeLimits(max_past_days=1, max_future_days=1))
    stream = DecoderSession(decode, window=window)
    for _ in range(3):
        assert_stored(stream.feed(encode(request, layout)), expect(request, ends))


def service(series: int = 40) -> ExportMetricsServiceRequest:
    """Points of every kind that is decoded together, with exemplars and many series."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for kind in ("sum", "histogram", "exponential_histogram"):
        data = getattr(metrics.add(name=f"the {kind}"), kind)
        data.aggregation_temporality = 2
        for at in range(series):
            point = data.data_points.add(time_unix_nano=BASE_UNIX_NANO)
            point.attributes.add(key="at").value.int_value = at
            revalue(point, kind, random.Random(at))
    return request


def tick(request: ExportMetricsServiceRequest, seed: int) -> ExportMetricsServiceRequest:
    """The same series with other times, counts and exemplars."""
    rng = random.Random(seed)
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        for point in data_points(metric):
            point.time_unix_nano = BASE_UNIX_NANO + rng.randrange(10**12)
            revalue(point, str(metric.WhichOneof("data")), rng)
    return request


def revalue(point: Any, kind: str, rng: random.Random) -> None:
    counts = [rng.choice((0, 1, 127, 128, 20_000, 2**35)) for _ in range(4)]
    if kind == "sum":
        point.as_int = sum(counts)
    elif kind == "histogram":
        point.explicit_bounds[:], point.bucket_counts[:] = (0.0, 1.0, 2.0), counts
        point.count = sum(counts)
    else:
        point.scale, point.zero_count, point.zero_threshold = rng.randrange(-10, 20), 3, 0.5
        point.positive.offset, point.negative.offset = rng.randrange(-999, 999), -1
        point.positive.bucket_counts[:] = counts[: rng.randrange(5)]
        point.negative.bucket_counts[:] = counts[: rng.randrange(3)]
        both = (*point.positive.bucket_counts, *point.negative.bucket_counts)
        point.count = point.zero_count + sum(both)
    if kind != "sum":
        point.sum, point.max = rng.random(), -rng.random()
    del point.exemplars[:]
    for _ in range(rng.randrange(3)):
        exemplar = point.exemplars.add(as_double=rng.random(), trace_id=rng.randbytes(16))
        exemplar.span_id = rng.randbytes(rng.choice((0, 8)))
        exemplar.filtered_attributes.add(key="user").value.int_value = rng.randrange(3)


@pytest.mark.parametrize("layout", SENDERS, ids=lambda layout: layout.name)
def test_of_every_known_encoder_nothing_is_left_to_the_official_messages(
    layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = service()
    stream = knowing(request, layout)
    left: list[Any] = []
    decode_columns = columnar.ColumnarDecoder.decode

    def counting(self: columnar.ColumnarDecoder) -> columnar.DecodedColumns:
        decoded = decode_columns(self)
        left.extend(decoded.undecoded)
        return decoded

    monkeypatch.setattr(columnar.ColumnarDecoder, "decode", counting)
    for seed in range(3):
        data = encode(tick(request, seed), layout)
        found = stream.feed(data)
        assert_stored(found, expect_bytes(data))
        assert found is not None
        assert found.stored == 120
    assert left == []


@example(depth=95)
@given(depth=st.integers(10, 110))
def test_filtered_attributes_too_deep_for_a_request_are_refused_every_time(depth: int) -> None:
    value = b"\x18\x01"
    for _ in range(depth // 2):
        value = framed(0x2A, framed(0x0A, value))
    attribute = framed(0x3A, b"\x0a\x01k" + framed(0x12, value))
    request = service(4)
    stream = knowing(request, ENCODERS[0])
    point = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
    point.exemplars.add(as_double=1.0, trace_id=b"here are sixteen")
    good = encode(request, ENCODERS[0])
    marker = framed(0x2A, b"here are sixteen")
    assume(good.count(marker) == 1)
    for _ in range(2):
        assert_stored(stream.feed(good), expect_bytes(good))
    outer = point.exemplars[-1].SerializeToString() + attribute
    del point.exemplars[-1]
    data = with_exemplar(request, framed(0x2A, outer))
    for _ in range(2):
        assert_stored(stream.feed(data), expect_bytes(data))


def with_exemplar(request: ExportMetricsServiceRequest, exemplar: bytes) -> bytes:
    """The request with these bytes at the end of its first point, which are no message yet."""
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    first = metric.sum.data_points[0].SerializeToString() + exemplar
    points = framed(0x0A, first) + b"\x10\x02"
    whole = b"\x0a" + framed(0, metric.name.encode())[1:] + framed(0x3A, points)
    return framed(0x0A, framed(0x12, framed(0x12, whole)))


def framed(tag: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([tag]) + length + bytes([size]) + body


def test_rows_of_batches_that_were_merged_are_those_of_the_parts() -> None:
    stream = DecoderSession(decode)
    parts: list[Batch] = []
    request = service()
    for seed in range(3):
        data = encode(tick(request, seed), ENCODERS[0])
        parts.append(decode(data, stream.cache).batch)
    merged = type(parts[0]).merge(parts)
    assert merged.entries == sum(part.entries for part in parts) == 360
    assert merged.histograms == tuple(row for part in parts for row in part.histograms)
    assert merged.exemplars == tuple(row for part in parts for row in part.exemplars)
