"""Decoding means the same whatever the bytes look like, and never fails in an unforeseen way.

Generated requests in every layout go through `decode` and `decode_reference`; both must store
what `otlp_kit.model` says. For a longer search than the default one see `otlp_kit.plugin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import google.protobuf.message
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from otlp_kit.encode import encode, varint
from otlp_kit.faults import data_points
from otlp_kit.layouts import ENCODERS, random_layouts
from otlp_kit.model import Expected, Identity, expect
from otlp_kit.mutate import mutated_bytes
from otlp_kit.observed import Definitions, observe
from otlp_kit.strategies import BASE_UNIX_NANO, requests, steady_requests

from exporter.errors import DecodeError
from exporter.intern import SeriesCache
from exporter.wire import (
    ANY_TIME,
    AgeLimits,
    Decoded,
    TimeWindow,
    decode,
    decode_reference,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    Decode = Callable[[bytes, SeriesCache, TimeWindow], Decoded]

UPB: Final = ENCODERS[0]
LAYOUTS: Final = st.one_of(st.sampled_from(ENCODERS), random_layouts(), random_layouts())
STEADY: Final = steady_requests(most_points=60)
REQUESTS: Final = st.one_of(requests(), requests(most_faults=3), STEADY)
ENCODINGS: Final = st.builds(encode, REQUESTS, LAYOUTS)
both_decoders = pytest.mark.parametrize("decoder", [decode, decode_reference])


def damaged_copies(data: bytes) -> st.SearchStrategy[tuple[bytes, list[bytes]]]:
    copies = mutated_bytes(st.just(data), most_changes=2)
    return st.tuples(st.just(data), st.lists(copies, min_size=8, max_size=8))


class Stream:
    """A decoder with one cache, and every definition that it has handed out so far."""

    def __init__(
        self, decoder: Decode, *, max_entries: int = 1_000_000, window: TimeWindow = ANY_TIME
    ) -> None:
        self._decoder = decoder
        self._window = window
        self._cache = SeriesCache(max_entries=max_entries)
        self._definitions = Definitions()

    def feed(self, data: bytes) -> Expected | None:
        """What was stored and rejected; None for a DecodeError."""
        try:
            decoded = self._decoder(data, self._cache, self._window)
        except DecodeError:
            return None
        return observe(decoded, self._definitions)

    def ids(self) -> dict[Identity, int]:
        """Series ids by identity."""
        return self._definitions.ids()


def official(data: bytes) -> Expected | None:
    """What must be stored and rejected; None where the bytes are not a request."""
    try:
        request = ExportMetricsServiceRequest.FromString(data)
    except google.protobuf.message.DecodeError:
        return None
    return expect(request)


def assert_stored(found: Expected | None, expected: Expected | None) -> None:
    """Same rows, same rejections, and definitions that say what the request said."""
    if found is None or expected is None:
        assert found is expected
        return
    assert found.numbers == expected.numbers
    assert found.histograms == expected.histograms
    assert found.summaries == expected.summaries
    assert found.exemplars == expected.exemplars
    assert found.rejected == expected.rejected
    for identity, places in found.places.items():
        assert places <= expected.places[identity]


def series_ids(decoder: Decode, request: ExportMetricsServiceRequest) -> dict[Identity, int]:
    stream = Stream(decoder)
    assert stream.feed(encode(request, UPB)) is not None
    return stream.ids()


@both_decoders
@given(request=REQUESTS, layout=LAYOUTS)
def test_a_request_is_stored_as_the_data_model_says(
    decoder: Decode, request: ExportMetricsServiceRequest, layout: Any
) -> None:
    expected = expect(request)
    found = Stream(decoder).feed(encode(request, layout))
    assert_stored(found, expected)
    assert found is not None
    assert found.places.keys() == expected.places.keys()


# Ends of the time window that lie on and between the times that are drawn most.
SECONDS: Final = st.integers(0, 5).map(lambda second: BASE_UNIX_NANO + second * 10**9)


@both_decoders
@given(request=REQUESTS, layout=LAYOUTS, ends=st.tuples(SECONDS, SECONDS))
def test_points_and_exemplars_outside_the_time_window_are_not_stored(
    decoder: Decode, request: ExportMetricsServiceRequest, layout: Any, ends: tuple[int, int]
) -> None:
    window = TimeWindow(*ends, BASE_UNIX_NANO, AgeLimits(max_past_days=1, max_future_days=1))
    expected = expect(request, ends)
    stream = Stream(decoder, window=window)
    for _ in range(2):
        assert_stored(stream.feed(encode(request, layout)), expected)


@given(request=requests(most_faults=2))
def test_every_known_encoder_is_understood(request: ExportMetricsServiceRequest) -> None:
    expected = expect(request)
    warm = Stream(decode)
    for layout in ENCODERS:
        data = encode(request, layout)
        cold = Stream(decode)
        assert_stored(cold.feed(data), expected)
        assert_stored(warm.feed(data), expected)
        assert cold.ids() == warm.ids(), layout.name


@given(request=STEADY, layouts=st.lists(LAYOUTS, min_size=1, max_size=3))
def test_a_warm_cache_changes_nothing(
    request: ExportMetricsServiceRequest, layouts: list[Any]
) -> None:
    expected = expect(request)
    stream = Stream(decode)
    for layout in [*layouts, *layouts]:
        assert_stored(stream.feed(encode(request, layout)), expected)


@pytest.mark.parametrize("max_entries", [1, 5, 1_000_000])
@given(stream=st.lists(ENCODINGS | mutated_bytes(ENCODINGS), max_size=6))
def test_one_cache_serves_any_sequence_of_requests(max_entries: int, stream: list[bytes]) -> None:
    decoders = [Stream(each, max_entries=max_entries) for each in (decode, decode_reference)]
    for data in stream:
        expected = official(data)
        for decoder in decoders:
            assert_stored(decoder.feed(data), expected)


@given(family=ENCODINGS.flatmap(damaged_copies))
def test_damaged_bytes_are_refused_or_mean_the_same_to_both(
    family: tuple[bytes, list[bytes]],
) -> None:
    _, damaged = family
    for data in damaged:
        fast, reference = Stream(decode).feed(data), Stream(decode_reference).feed(data)
        assert_stored(fast, official(data))
        assert fast == reference


@given(family=ENCODINGS.flatmap(damaged_copies))
def test_knowing_a_request_does_not_make_its_damaged_copies_acceptable(
    family: tuple[bytes, list[bytes]],
) -> None:
    good, damaged = family
    stream = Stream(decode)
    stream.feed(good)
    for data in damaged:
        assert_stored(stream.feed(data), official(data))


@given(data=st.binary(max_size=40))
def test_any_bytes_are_refused_or_mean_the_same_to_both(data: bytes) -> None:
    expected = official(data)
    assert_stored(Stream(decode).feed(data), expected)
    assert_stored(Stream(decode_reference).feed(data), expected)


@both_decoders
@given(bad=mutated_bytes(ENCODINGS), good=requests())
def test_a_refusal_leaves_the_cache_as_it_was(
    decoder: Decode, bad: bytes, good: ExportMetricsServiceRequest
) -> None:
    data = encode(good, UPB)
    fresh, used = Stream(decoder), Stream(decoder)
    found = used.feed(bad)
    defined = set(used.ids())
    if found is None:
        assert not defined
    again = used.feed(data)
    first = fresh.feed(data)
    assert first is not None
    assert again is not None
    assert again.places.keys() >= first.places.keys() - defined


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


@both_decoders
@pytest.mark.parametrize("change", [shuffled_attributes, integers_and_doubles_swapped, other_words])
@given(request=requests())
def test_what_does_not_identify_a_series_does_not_change_its_id(
    decoder: Decode,
    change: Callable[[ExportMetricsServiceRequest], None],
    request: ExportMetricsServiceRequest,
) -> None:
    before = series_ids(decoder, request)
    change(request)
    assert series_ids(decoder, request) == before


@given(request=REQUESTS, layout=LAYOUTS)
def test_ids_are_the_same_in_every_layout_and_from_both_decoders(
    request: ExportMetricsServiceRequest, layout: Any
) -> None:
    stream = Stream(decode)
    stream.feed(encode(request, layout))
    assert stream.ids() == series_ids(decode_reference, request)


@given(streams=st.lists(requests(), min_size=2, max_size=4))
def test_every_identity_has_an_id_of_its_own(streams: list[ExportMetricsServiceRequest]) -> None:
    stream = Stream(decode)
    for request in streams:
        stream.feed(encode(request, UPB))
    identities = {each for request in streams for each in expect(request).places}
    assert stream.ids().keys() == identities


def framed(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + varint(len(body)) + body


NAME: Final = b"\x0a\x01m"
POINT: Final = b"\x19" + b"\x01" * 8 + b"\x21" + bytes(8)
METRICS: Final = framed(0x12, NAME + framed(0x2A, framed(0x0A, POINT)))
ATTRIBUTE: Final = framed(0x0A, b"\x0a\x01k" + framed(0x12, framed(0x0A, b"value")))


def request_with(resource: list[bytes], scope: list[bytes]) -> bytes:
    """One point below a resource and a scope that come in so many pieces."""
    scopes = b"".join(framed(0x0A, piece) for piece in scope)
    resources = b"".join(framed(0x0A, piece) for piece in resource)
    return framed(0x0A, resources + framed(0x12, scopes + METRICS))


@both_decoders
@pytest.mark.parametrize("part", ["resource", "scope"])
def test_a_known_sub_message_cut_inside_a_field_is_refused(decoder: Decode, part: str) -> None:
    attribute = ATTRIBUTE if part == "resource" else b"\x1a" + ATTRIBUTE[1:]
    others: dict[str, list[bytes]] = {"resource": [], "scope": []}
    stream = Stream(decoder)
    whole = request_with(**others | {part: [attribute]})
    assert_stored(stream.feed(whole), official(whole))
    for cut in range(1, len(attribute)):
        pieces = request_with(**others | {part: [attribute[:cut], attribute[cut:]]})
        assert official(pieces) is None
        assert stream.feed(pieces) is None, f"cut after {cut} bytes"


# (levels of arrays, levels of key-value lists) around one integer. 16 is the most that a stored
# attribute may have; protobuf itself gives up at about 100 messages inside each other.
DEPTHS: Final = [(16, 0), (0, 16), (8, 8), (17, 0), (0, 17), (45, 0), (46, 0), (50, 0), (0, 50)]


def deep_point(arrays: int, kvlists: int) -> bytes:
    """A request with one such point, written by hand: the official message refuses to build it."""
    value = b"\x18\x01"
    for _ in range(arrays):
        value = framed(0x2A, framed(0x0A, value))
    for _ in range(kvlists):
        value = framed(0x32, framed(0x0A, b"\x0a\x01k" + framed(0x12, value)))
    attributes = framed(0x3A, b"\x0a\x01k" + framed(0x12, value))
    metric = NAME + framed(0x2A, framed(0x0A, POINT + attributes))
    return framed(0x0A, framed(0x12, framed(0x12, metric)))


@both_decoders
@pytest.mark.parametrize(("arrays", "kvlists"), [*DEPTHS, (10_000, 0), (0, 10_000)])
def test_deep_attributes_are_stored_rejected_or_refused(
    decoder: Decode, arrays: int, kvlists: int
) -> None:
    data = deep_point(arrays, kvlists)
    assert_stored(Stream(decoder).feed(data), official(data))
