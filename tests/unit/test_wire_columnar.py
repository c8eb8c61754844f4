"""The columnar decoder stores the same as the official messages.

Generated requests are small, and the columnar decoder leaves small blocks to the official messages.
These tests lower its minimum to one point.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from kit.otlp.checks import DecoderSession, assert_stored, expect_bytes
from kit.otlp.encode import encode, length_delimited
from kit.otlp.layouts import ENCODERS, random_layouts
from kit.otlp.messages import BASE_UNIX_NANO, data_points, metrics_of, request_of_all_types
from kit.otlp.model import expect
from kit.otlp.mutate import mutated_bytes
from kit.otlp.strategies import requests
from kit.otlp.violations import VIOLATIONS
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.wire import AgeLimits, TimeWindow, columnar_decoder, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Batch

LAYOUTS: Final = st.sampled_from(ENCODERS) | random_layouts()
# No known encoder leaves fixed-width numbers unpacked.
KNOWN_ENCODERS: Final = [layout for layout in ENCODERS if layout.name != "unpacked"]
REQUESTS: Final = st.one_of(requests(), requests(max_violations=2))
# Rare numbers of times and counts.
EXTREMES: Final = (0, 1, 127, 128, 2**40, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


@pytest.fixture(scope="module", autouse=True)
def _minimum_of_one_point() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar_decoder, "MIN_POINTS", 1)
        yield


def warm_session(request: ExportMetricsServiceRequest, layout: Any) -> DecoderSession:
    """A decoder that has decoded this request twice."""
    session = DecoderSession(decode)
    for _ in range(2):
        session.decode(encode(request, layout))
    return session


@given(request=REQUESTS, layout=LAYOUTS)
def test_a_known_request_is_stored_as_the_data_model_says(
    request: ExportMetricsServiceRequest, layout: Any
) -> None:
    expected = expect(request)
    session = DecoderSession(decode)
    for _ in range(3):
        assert_stored(session.decode(encode(request, layout)), expected)


@given(request=requests(), later=requests(max_violations=1), layouts=st.lists(LAYOUTS, min_size=2))
def test_one_cache_serves_requests_in_several_layouts(
    request: ExportMetricsServiceRequest, later: ExportMetricsServiceRequest, layouts: list[Any]
) -> None:
    session = warm_session(request, layouts[0])
    for layout in layouts:
        for each in (request, later):
            assert_stored(session.decode(encode(each, layout)), expect(each))


@given(request=REQUESTS, layout=LAYOUTS, data=st.data())
def test_damaged_copies_are_stored_as_by_the_official_messages(
    request: ExportMetricsServiceRequest, layout: Any, data: st.DataObject
) -> None:
    session = warm_session(request, layout)
    good = encode(request, layout)
    copies = mutated_bytes(st.just(good), max_changes=2)
    for damaged in data.draw(st.lists(copies, min_size=8, max_size=8)):
        assert_stored(session.decode(damaged), expect_bytes(damaged))


@pytest.mark.parametrize("layout", ENCODERS, ids=lambda layout: layout.name)
def test_any_single_wrong_byte_is_handled(layout: Any) -> None:
    request = request_of_all_types()
    session = warm_session(request, layout)
    good = encode(request, layout)
    rng = random.Random(1)
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] = rng.choice((0, 0x7F, 0x80, 0xFF, good[at] ^ 1, rng.randrange(256)))
        assert_stored(session.decode(bytes(damaged)), expect_bytes(bytes(damaged)))
        assert_stored(session.decode(good[:at]), expect_bytes(good[:at]))


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_violation_rejects_only_what_it_affects(name: str) -> None:
    for choice in range(40):
        request = request_of_all_types()
        session = warm_session(request, ENCODERS[0])
        VIOLATIONS[name](request, choice)
        assert_stored(session.decode(encode(request, ENCODERS[0])), expect(request))


@given(request=requests(), layout=LAYOUTS, numbers=st.randoms(use_true_random=False))
def test_extreme_counts_and_times_are_decided_alike(
    request: ExportMetricsServiceRequest, layout: Any, numbers: random.Random
) -> None:
    session = warm_session(request, layout)
    for metric in metrics_of(request):
        for point in data_points(metric):
            set_extreme(point, numbers)
    assert_stored(session.decode(encode(request, layout)), expect(request))


def set_extreme(point: Any, numbers: random.Random) -> None:
    """Set one number of the point, or one of its lists, to an extreme value."""
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
    session = DecoderSession(decode, window=window)
    for _ in range(3):
        assert_stored(session.decode(encode(request, layout)), expect(request, ends))


def request_of_many_series(series: int = 40) -> ExportMetricsServiceRequest:
    """Points of every type that the columnar decoder reads, with exemplars and many series."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    for kind in ("sum", "histogram", "exponential_histogram"):
        data = getattr(metrics.add(name=f"the {kind}"), kind)
        data.aggregation_temporality = 2
        for at in range(series):
            point = data.data_points.add(time_unix_nano=BASE_UNIX_NANO)
            point.attributes.add(key="at").value.int_value = at
            set_values(point, kind, random.Random(at))
    return request


def with_new_values(request: ExportMetricsServiceRequest, seed: int) -> ExportMetricsServiceRequest:
    """The same series with other times, counts and exemplars."""
    rng = random.Random(seed)
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        for point in data_points(metric):
            point.time_unix_nano = BASE_UNIX_NANO + rng.randrange(10**12)
            set_values(point, str(metric.WhichOneof("data")), rng)
    return request


def set_values(point: Any, kind: str, rng: random.Random) -> None:
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


@pytest.mark.parametrize("layout", KNOWN_ENCODERS, ids=lambda layout: layout.name)
def test_points_of_every_known_encoder_are_decoded_into_columns(
    layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of_many_series()
    session = warm_session(request, layout)
    undecoded: list[Any] = []
    decode_columns = columnar_decoder.ColumnarDecoder.decode

    def counting(self: columnar_decoder.ColumnarDecoder) -> columnar_decoder.DecodedColumns:
        decoded = decode_columns(self)
        undecoded.extend(decoded.undecoded)
        return decoded

    monkeypatch.setattr(columnar_decoder.ColumnarDecoder, "decode", counting)
    for seed in range(3):
        data = encode(with_new_values(request, seed), layout)
        found = session.decode(data)
        assert_stored(found, expect_bytes(data))
        assert found is not None
        assert found.stored == 120
    assert undecoded == []


@example(depth=95)
@given(depth=st.integers(10, 110))
def test_filtered_attributes_that_are_too_deep_are_refused_every_time(depth: int) -> None:
    value = b"\x18\x01"
    for _ in range(depth // 2):
        value = length_delimited(0x2A, length_delimited(0x0A, value))
    attribute = length_delimited(0x3A, b"\x0a\x01k" + length_delimited(0x12, value))
    request = request_of_many_series(4)
    session = warm_session(request, ENCODERS[0])
    point = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
    point.exemplars.add(as_double=1.0, trace_id=b"here are sixteen")
    good = encode(request, ENCODERS[0])
    marker = length_delimited(0x2A, b"here are sixteen")
    assume(good.count(marker) == 1)
    for _ in range(2):
        assert_stored(session.decode(good), expect_bytes(good))
    outer = point.exemplars[-1].SerializeToString() + attribute
    del point.exemplars[-1]
    data = with_exemplar(request, length_delimited(0x2A, outer))
    for _ in range(2):
        assert_stored(session.decode(data), expect_bytes(data))


def with_exemplar(request: ExportMetricsServiceRequest, exemplar: bytes) -> bytes:
    """The request with the bytes of an exemplar at the end of its first point."""
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    first = metric.sum.data_points[0].SerializeToString() + exemplar
    points = length_delimited(0x0A, first) + b"\x10\x02"
    whole = length_delimited(0x0A, metric.name.encode()) + length_delimited(0x3A, points)
    return length_delimited(0x0A, length_delimited(0x12, length_delimited(0x12, whole)))


def test_a_merged_batch_has_the_rows_of_its_parts() -> None:
    session = DecoderSession(decode)
    parts: list[Batch] = []
    request = request_of_many_series()
    for seed in range(3):
        data = encode(with_new_values(request, seed), ENCODERS[0])
        parts.append(decode(data, session.cache).batch)
    merged = type(parts[0]).merge(parts)
    assert merged.entries == sum(part.entries for part in parts) == 360
    assert merged.histograms == tuple(row for part in parts for row in part.histograms)
    assert merged.exemplars == tuple(row for part in parts for row in part.exemplars)
