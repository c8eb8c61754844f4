"""Both decoders store what `kit.otlp.model` says, in every layout, and raise only DecodeError.

Requests are generated, encoded in any layout and damaged. For a longer search than the default see
`kit.otlp.plugin`.
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
from kit.otlp.messages import BASE_UNIX_NANO, data_points, metrics_of, request_of_all_types
from kit.otlp.model import Identity, expect
from kit.otlp.mutate import mutated_bytes
from kit.otlp.strategies import requests, steady_requests
from kit.otlp.violations import VIOLATIONS

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
    session = DecoderSession(decoder)
    assert session.decode(encode(request, UPB)) is not None
    return session.ids()


@both_decoders
@given(request=REQUESTS, layout=LAYOUTS)
def test_a_request_is_stored_as_the_data_model_says(
    decoder: Any, request: ExportMetricsServiceRequest, layout: Any
) -> None:
    assert_defined(DecoderSession(decoder).decode(encode(request, layout)), expect(request))


@both_decoders
@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_violation_rejects_only_what_it_affects(decoder: Any, name: str) -> None:
    valid = expect(request_of_all_types())
    assert not valid.rejected
    changed = 0
    for choice in range(40):
        request = request_of_all_types()
        VIOLATIONS[name](request, choice)
        expected = expect(request)
        changed += expected != valid
        assert_defined(DecoderSession(decoder).decode(encode(request, UPB)), expected)
    assert changed


# Ends of the time window, on and between the most frequent times.
SECONDS: Final = st.integers(0, 5).map(lambda second: BASE_UNIX_NANO + second * 10**9)


@both_decoders
@given(request=REQUESTS, layout=LAYOUTS, ends=st.tuples(SECONDS, SECONDS))
def test_points_and_exemplars_outside_the_time_window_are_not_stored(
    decoder: Any, request: ExportMetricsServiceRequest, layout: Any, ends: tuple[int, int]
) -> None:
    window = TimeWindow(*ends, BASE_UNIX_NANO, AgeLimits(max_past_days=1, max_future_days=1))
    expected = expect(request, ends)
    session = DecoderSession(decoder, window=window)
    for _ in range(2):
        assert_stored(session.decode(encode(request, layout)), expected)


@given(request=requests(max_violations=2))
def test_requests_of_every_known_encoder_are_decoded(request: ExportMetricsServiceRequest) -> None:
    expected = expect(request)
    warm = DecoderSession(decode)
    for layout in ENCODERS:
        data = encode(request, layout)
        cold = DecoderSession(decode)
        assert_stored(cold.decode(data), expected)
        assert_stored(warm.decode(data), expected)
        assert cold.ids() == warm.ids(), layout.name


@given(request=STEADY, layouts=st.lists(LAYOUTS, min_size=1, max_size=3))
def test_a_warm_cache_does_not_change_the_result(
    request: ExportMetricsServiceRequest, layouts: list[Any]
) -> None:
    expected = expect(request)
    session = DecoderSession(decode)
    for layout in [*layouts, *layouts]:
        assert_stored(session.decode(encode(request, layout)), expected)


@pytest.mark.parametrize("max_entries", [1, 5, 1_000_000])
@given(sequence=st.lists(ENCODINGS | mutated_bytes(ENCODINGS), max_size=6))
def test_one_cache_serves_any_sequence_of_requests(max_entries: int, sequence: list[bytes]) -> None:
    decoders = [
        DecoderSession(each, max_entries=max_entries) for each in (decode, decode_reference)
    ]
    for data in sequence:
        expected = expect_bytes(data)
        for decoder in decoders:
            assert_stored(decoder.decode(data), expected)


@given(family=ENCODINGS.flatmap(damaged_copies))
def test_damaged_bytes_are_refused_or_decoded_equally_by_both(
    family: tuple[bytes, list[bytes]],
) -> None:
    _, damaged = family
    for data in damaged:
        fast, reference = (
            DecoderSession(decode).decode(data),
            DecoderSession(decode_reference).decode(data),
        )
        assert_stored(fast, expect_bytes(data))
        assert fast == reference


@given(family=ENCODINGS.flatmap(damaged_copies))
def test_damaged_copies_of_a_known_request_are_not_mistaken_for_it(
    family: tuple[bytes, list[bytes]],
) -> None:
    good, damaged = family
    session = DecoderSession(decode)
    session.decode(good)
    for data in damaged:
        assert_stored(session.decode(data), expect_bytes(data))


@given(data=st.binary(max_size=40))
def test_any_bytes_are_refused_or_decoded_equally_by_both(data: bytes) -> None:
    expected = expect_bytes(data)
    assert_stored(DecoderSession(decode).decode(data), expected)
    assert_stored(DecoderSession(decode_reference).decode(data), expected)


@given(family=ENCODINGS.flatmap(damaged_copies))
def test_a_refused_request_leaves_the_cache_unchanged(family: tuple[bytes, list[bytes]]) -> None:
    good, damaged = family
    for data in damaged:
        session = DecoderSession(decode)
        if session.decode(data) is None:
            assert_defined(session.decode(good), expect_bytes(good))
        else:
            assert_stored(session.decode(good), expect_bytes(good))


def reverse_attributes(request: ExportMetricsServiceRequest) -> None:
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


def swap_integers_and_doubles(request: ExportMetricsServiceRequest) -> None:
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


def change_descriptions(request: ExportMetricsServiceRequest) -> None:
    for group in request.resource_metrics:
        group.schema_url = "https://example.com/other"
        group.resource.dropped_attributes_count += 1
    for metric in metrics_of(request):
        metric.description += " (changed)"
        metric.metadata.add(key="not").value.string_value = "identifying"


@pytest.mark.parametrize(
    "change", [reverse_attributes, swap_integers_and_doubles, change_descriptions]
)
@given(request=requests())
def test_fields_that_do_not_identify_a_series_do_not_change_its_id(
    change: Callable[[ExportMetricsServiceRequest], None], request: ExportMetricsServiceRequest
) -> None:
    before = series_ids(decode, request)
    change(request)
    assert series_ids(decode, request) == before


@given(request=requests())
def test_a_changed_description_of_a_known_series_is_emitted(
    request: ExportMetricsServiceRequest,
) -> None:
    session = DecoderSession(decode)
    session.decode(encode(request, UPB))
    change_descriptions(request)
    assert_defined(session.decode(encode(request, UPB)), expect(request))


@given(request=REQUESTS, layout=LAYOUTS)
def test_ids_are_the_same_in_every_layout_and_from_both_decoders(
    request: ExportMetricsServiceRequest, layout: Any
) -> None:
    session = DecoderSession(decode)
    session.decode(encode(request, layout))
    assert session.ids() == series_ids(decode_reference, request)


@given(sequence=st.lists(requests(), min_size=2, max_size=4))
def test_every_identity_has_another_id(sequence: list[ExportMetricsServiceRequest]) -> None:
    session = DecoderSession(decode)
    for request in sequence:
        session.decode(encode(request, UPB))
    identities = {each for request in sequence for each in expect(request).metadata}
    assert session.ids().keys() == identities
