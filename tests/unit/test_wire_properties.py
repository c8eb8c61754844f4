"""Decoding means the same whatever the bytes look like, and never fails in an unforeseen way.

Generated requests in every layout go through `decode` and `decode_reference`; both must store
what `kit.otlp.model` says. For a longer search than the default one see `kit.otlp.plugin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.otlp.checks import (
    DecoderSession,
    assert_defined,
    assert_stored,
    both_decoders,
    expect_bytes,
)
from kit.otlp.encode import encode
from kit.otlp.layouts import ENCODERS, random_layouts
from kit.otlp.model import Identity, expect
from kit.otlp.mutate import mutated_bytes
from kit.otlp.strategies import BASE_UNIX_NANO, request_of_all_types, requests, steady_requests
from kit.otlp.violations import VIOLATIONS, data_points

from exporter.wire import AgeLimits, TimeWindow, decode, decode_reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

UPB: Final = ENCODERS[0]
LAYOUTS: Final = st.one_of(st.sampled_from(ENCODERS), random_layouts(), random_layouts())
STEADY: Final = steady_requests(max_points=60)
REQUESTS: Final = st.one_of(requests(), requests(max_violations=3), STEADY)
ENCODINGS: Final = st.builds(encode, REQUESTS, LAYOUTS)


def damaged_copies(data: bytes) -> st.SearchStrategy[tuple[bytes, list[bytes]]]:
    copies = mutated_bytes(st.just(data), max_changes=2)
    return st.tuples(st.just(data), st.lists(copies, min_size=8, max_size=8))


def series_ids(decoder: Any, request: ExportMetricsServiceRequest) -> dict[Identity, int]:
    stream = DecoderSession(decoder)
    assert stream.feed(encode(request, UPB)) is not None
    return stream.ids()


@both_decoders
@given(request=REQUESTS, layout=LAYOUTS)
def test_a_request_is_stored_as_the_data_model_says(
    decoder: Any, request: ExportMetricsServiceRequest, layout: Any
) -> None:
    assert_defined(DecoderSession(decoder).feed(encode(request, layout)), expect(request))


@both_decoders
@pytest.mark.parametrize("fault", VIOLATIONS)
def test_each_fault_sinks_what_it_is_in_and_nothing_else(decoder: Any, fault: str) -> None:
    sound = expect(request_of_all_types())
    assert not sound.rejected
    changed = 0
    for choice in range(40):
        request = request_of_all_types()
        VIOLATIONS[fault](request, choice)
        expected = expect(request)
        changed += expected != sound
        assert_defined(DecoderSession(decoder).feed(encode(request, UPB)), expected)
    assert changed


# Ends of the time window that lie on and between the times that are drawn most.
SECONDS: Final = st.integers(0, 5).map(lambda second: BASE_UNIX_NANO + second * 10**9)


@both_decoders
@given(request=REQUESTS, layout=LAYOUTS, ends=st.tuples(SECONDS, SECONDS))
def test_points_and_exemplars_outside_the_time_window_are_not_stored(
    decoder: Any, request: ExportMetricsServiceRequest, layout: Any, ends: tuple[int, int]
) -> None:
    window = TimeWindow(*ends, BASE_UNIX_NANO, AgeLimits(max_past_days=1, max_future_days=1))
    expected = expect(request, ends)
    stream = DecoderSession(decoder, window=window)
    for _ in range(2):
        assert_stored(stream.feed(encode(request, layout)), expected)


@given(request=requests(max_violations=2))
def test_every_known_encoder_is_understood(request: ExportMetricsServiceRequest) -> None:
    expected = expect(request)
    warm = DecoderSession(decode)
    for layout in ENCODERS:
        data = encode(request, layout)
        cold = DecoderSession(decode)
        assert_stored(cold.feed(data), expected)
        assert_stored(warm.feed(data), expected)
        assert cold.ids() == warm.ids(), layout.name


@given(request=STEADY, layouts=st.lists(LAYOUTS, min_size=1, max_size=3))
def test_a_warm_cache_changes_nothing(
    request: ExportMetricsServiceRequest, layouts: list[Any]
) -> None:
    expected = expect(request)
    stream = DecoderSession(decode)
    for layout in [*layouts, *layouts]:
        assert_stored(stream.feed(encode(request, layout)), expected)


@pytest.mark.parametrize("max_entries", [1, 5, 1_000_000])
@given(stream=st.lists(ENCODINGS | mutated_bytes(ENCODINGS), max_size=6))
def test_one_cache_serves_any_sequence_of_requests(max_entries: int, stream: list[bytes]) -> None:
    decoders = [
        DecoderSession(each, max_entries=max_entries) for each in (decode, decode_reference)
    ]
    for data in stream:
        expected = expect_bytes(data)
        for decoder in decoders:
            assert_stored(decoder.feed(data), expected)


@given(family=ENCODINGS.flatmap(damaged_copies))
def test_damaged_bytes_are_refused_or_mean_the_same_to_both(
    family: tuple[bytes, list[bytes]],
) -> None:
    _, damaged = family
    for data in damaged:
        fast, reference = (
            DecoderSession(decode).feed(data),
            DecoderSession(decode_reference).feed(data),
        )
        assert_stored(fast, expect_bytes(data))
        assert fast == reference


@given(family=ENCODINGS.flatmap(damaged_copies))
def test_knowing_a_request_does_not_make_its_damaged_copies_acceptable(
    family: tuple[bytes, list[bytes]],
) -> None:
    good, damaged = family
    stream = DecoderSession(decode)
    stream.feed(good)
    for data in damaged:
        assert_stored(stream.feed(data), expect_bytes(data))


@given(data=st.binary(max_size=40))
def test_any_bytes_are_refused_or_mean_the_same_to_both(data: bytes) -> None:
    expected = expect_bytes(data)
    assert_stored(DecoderSession(decode).feed(data), expected)
    assert_stored(DecoderSession(decode_reference).feed(data), expected)


@given(family=ENCODINGS.flatmap(damaged_copies))
def test_a_refusal_leaves_the_cache_as_it_was(family: tuple[bytes, list[bytes]]) -> None:
    good, damaged = family
    for data in damaged:
        stream = DecoderSession(decode)
        if stream.feed(data) is None:
            assert_defined(stream.feed(good), expect_bytes(good))
        else:
            assert_stored(stream.feed(good), expect_bytes(good))


def shuffled_attributes(request: ExportMetricsServiceRequest) -> None:
    for attributes in attribute_lists_of(request):
        pairs = list(attributes)[::-1]
        del attributes[:]
        attributes.extend(pairs)


def attribute_lists_of(message: Message) -> list[Any]:
    """Every list of key-value pairs in the message, the innermost first."""
    found: list[Any] = []
    for known, value in message.ListFields():
        if known.message_type is None:
            continue
        for each in [value] if known.has_presence else value:
            found += attribute_lists_of(each)
        if known.message_type.name == "KeyValue":
            found.append(value)
    return found


def integers_and_doubles_swapped(request: ExportMetricsServiceRequest) -> None:
    for point in number_points(request):
        if point.WhichOneof("value") == "as_int":
            point.as_double = 0.5
        elif point.WhichOneof("value") == "as_double":
            point.as_int = 7


def number_points(request: ExportMetricsServiceRequest) -> list[Any]:
    return [
        point
        for metric in metrics_of(request)
        if metric.WhichOneof("data") in {"gauge", "sum"}
        for point in data_points(metric)
    ]


def metrics_of(request: ExportMetricsServiceRequest) -> list[Any]:
    return [
        metric
        for group in request.resource_metrics
        for scope_metrics in group.scope_metrics
        for metric in scope_metrics.metrics
    ]


def other_words(request: ExportMetricsServiceRequest) -> None:
    for group in request.resource_metrics:
        group.schema_url = "https://example.com/other"
        group.resource.dropped_attributes_count += 1
    for metric in metrics_of(request):
        metric.description += " in other words"
        metric.metadata.add(key="not").value.string_value = "identifying"


@pytest.mark.parametrize("change", [shuffled_attributes, integers_and_doubles_swapped, other_words])
@given(request=requests())
def test_what_does_not_identify_a_series_does_not_change_its_id(
    change: Callable[[ExportMetricsServiceRequest], None], request: ExportMetricsServiceRequest
) -> None:
    before = series_ids(decode, request)
    change(request)
    assert series_ids(decode, request) == before


@given(request=requests())
def test_new_words_for_a_known_series_are_handed_on(request: ExportMetricsServiceRequest) -> None:
    stream = DecoderSession(decode)
    stream.feed(encode(request, UPB))
    other_words(request)
    assert_defined(stream.feed(encode(request, UPB)), expect(request))


@given(request=REQUESTS, layout=LAYOUTS)
def test_ids_are_the_same_in_every_layout_and_from_both_decoders(
    request: ExportMetricsServiceRequest, layout: Any
) -> None:
    stream = DecoderSession(decode)
    stream.feed(encode(request, layout))
    assert stream.ids() == series_ids(decode_reference, request)


@given(streams=st.lists(requests(), min_size=2, max_size=4))
def test_every_identity_has_an_id_of_its_own(streams: list[ExportMetricsServiceRequest]) -> None:
    stream = DecoderSession(decode)
    for request in streams:
        stream.feed(encode(request, UPB))
    identities = {each for request in streams for each in expect(request).metadata}
    assert stream.ids().keys() == identities
