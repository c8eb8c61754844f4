"""Points and sub-messages crafted byte by byte, to find wrong matches of the fast decoder.

The fast decoder recognises points by field offsets, and must reject every point whose bytes only
look like a known one. Each request is decoded twice with one cache, because a match needs one.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.otlp.checks import (
    DecoderSession,
    assert_defined,
    assert_stored,
    both_decoders,
    expect_bytes,
)
from kit.otlp.encode import length_delimited

from exporter.wire import decode

START, TIME, AS_DOUBLE, AS_INT = 0x11, 0x19, 0x21, 0x31


def request_of(*points: bytes) -> bytes:
    """One metric with these points, without resource and scope."""
    metric = NAME + length_delimited(
        0x2A, b"".join(length_delimited(0x0A, point) for point in points)
    )
    return length_delimited(0x0A, length_delimited(0x12, length_delimited(0x12, metric)))


NAME: Final = b"\x0a\x01m"
POINT: Final = b"\x19" + b"\x01" * 8 + b"\x21" + bytes(8)
METRIC: Final = NAME + length_delimited(0x2A, length_delimited(0x0A, POINT))
ATTRIBUTE: Final = length_delimited(
    0x0A, b"\x0a\x01k" + length_delimited(0x12, length_delimited(0x0A, b"value"))
)

# The orders in which encoders write a number point.
ORDERS: Final = [
    (START, TIME, "value", "attributes"),
    ("value", TIME, START, "attributes"),
    ("value", START, TIME, "attributes"),
    (START, TIME, "attributes", "value"),
    (TIME, "value", "attributes"),
    ("value", TIME, "attributes"),
    (TIME, "attributes", "value"),
]
# Values of nine-byte fields: plain ones, and ones that contain the tags of other fields.
BODIES: Final = [
    *(b"\x01" * 8, b"\x02" * 8, b"\x3a\x07" + b"\x01" * 6),
    *(bytes([tag]) * 8 for tag in (START, TIME, AS_DOUBLE, AS_INT)),
]
UNUSUAL_BODIES: Final = [*BODIES, bytes(8), b"\xff" * 8]
# An attribute of nine bytes, as long as a time or a value, and one that ends like a value.
NINE_BYTES: Final = b"\x3a\x07\x0a\x01b\x12\x02\x10\x01"
LIKE_A_VALUE: Final = length_delimited(
    0x3A, b"\x0a\x01d" + length_delimited(0x12, b"\x21" + b"\x01" * 8)
)
ATTRIBUTES: Final = [b"", NINE_BYTES, b"\x3a" + ATTRIBUTE[1:], LIKE_A_VALUE]
# With the wire type of 0x09, 0x29 and 0x39 a point has no fields: they are unknown and skipped.
NINE_BYTE_TAGS: Final = [START, TIME, AS_DOUBLE, AS_INT, 0x09, 0x29, 0x39]
SHORT_PARTS: Final = [b"\x40\x01", b"\x40\x02", b"\x08\x01", b"\xff", b"\x3a", b"\x3a\x03"]
EXEMPLAR: Final = length_delimited(0x2A, b"\x19" + b"\x01" * 8)

nine_byte_parts = st.builds(
    lambda tag, body: bytes([tag]) + body,
    st.sampled_from(NINE_BYTE_TAGS),
    st.sampled_from(UNUSUAL_BODIES),
)
unusual_parts = nine_byte_parts | st.sampled_from([*SHORT_PARTS, *ATTRIBUTES, EXEMPLAR])


@st.composite
def ordered_points(draw: st.DrawFn, order: tuple[Any, ...]) -> list[bytes]:
    """The parts of a point in this order of fields."""
    parts = []
    for part in order:
        if part == "attributes":
            parts.append(draw(st.sampled_from(ATTRIBUTES)))
        else:
            tag = draw(st.sampled_from((AS_DOUBLE, AS_INT))) if part == "value" else part
            parts.append(bytes([tag]) + draw(st.sampled_from(BODIES)))
    return parts


@st.composite
def point_lists(draw: st.DrawFn) -> list[bytes]:
    """Points of mostly one order; some have an extra, a missing or a misplaced part."""
    order = draw(st.sampled_from(ORDERS))
    points = []
    for _ in range(draw(st.integers(1, 6))):
        own = draw(st.sampled_from((order, order, *ORDERS)))
        parts = draw(ordered_points(own))
        change = draw(st.sampled_from(("none", "none", "insert", "replace", "delete", "shuffle")))
        at = draw(st.integers(0, len(parts) - 1))
        if change == "insert":
            parts.insert(at, draw(unusual_parts))
        elif change == "replace":
            parts[at] = draw(unusual_parts)
        elif change == "delete":
            del parts[at]
        elif change == "shuffle":
            parts = draw(st.permutations(parts))
        points.append(b"".join(parts))
    return points


# Has no value, and is shorter than a time and a value: read from both ends it seems to have one.
TOO_SHORT: Final = bytes([TIME]) + bytes([AS_DOUBLE]) * 8 + b"\x40\x02"
WITH_VALUE_LAST: Final = POINT[:9] + NINE_BYTES + POINT[9:]


@example(lists=[[POINT], [WITH_VALUE_LAST], [WITH_VALUE_LAST, TOO_SHORT]])
@settings(max_examples=10 * settings().max_examples)
@given(lists=st.lists(point_lists(), min_size=1, max_size=3))
def test_a_point_that_resembles_another_is_decoded_correctly(lists: list[list[bytes]]) -> None:
    session = DecoderSession(decode)
    for points in [*lists, *lists]:
        data = request_of(*points)
        assert_stored(session.decode(data), expect_bytes(data))


def request_with(resource: list[bytes], scope: list[bytes], metric: bytes = METRIC) -> bytes:
    """A metric below a resource and a scope in these fragments."""
    scopes = b"".join(length_delimited(0x0A, fragment) for fragment in scope)
    resources = b"".join(length_delimited(0x0A, fragment) for fragment in resource)
    return length_delimited(
        0x0A, resources + length_delimited(0x12, scopes + length_delimited(0x12, metric))
    )


@both_decoders
@pytest.mark.parametrize("metric", [METRIC, NAME], ids=["point", "no point"])
@pytest.mark.parametrize("part", ["resource", "scope"])
def test_fragments_cut_inside_a_field_are_refused_although_their_concatenation_is_valid(
    decoder: Any, part: str, metric: bytes
) -> None:
    attribute = ATTRIBUTE if part == "resource" else b"\x1a" + ATTRIBUTE[1:]
    others: dict[str, list[bytes]] = {"resource": [], "scope": []}
    whole = request_with(**others | {part: [attribute]}, metric=metric)
    session = DecoderSession(decoder)
    assert_defined(session.decode(whole), expect_bytes(whole))
    for cut in range(1, len(attribute)):
        fragments = request_with(
            **others | {part: [attribute[:cut], attribute[cut:]]}, metric=metric
        )
        assert expect_bytes(fragments) is None
        assert session.decode(fragments) is None, f"cut after {cut} bytes"
        assert DecoderSession(decoder).decode(fragments) is None, f"cut after {cut} bytes"


@both_decoders
def test_fragments_of_a_sub_message_are_merged(decoder: Any) -> None:
    scope = b"\x1a" + ATTRIBUTE[1:]
    data = request_with(resource=[ATTRIBUTE, b"", b"\x10\x03"], scope=[b"\x0a\x01s", scope])
    assert_defined(DecoderSession(decoder).decode(data), expect_bytes(data))


@both_decoders
@pytest.mark.parametrize("broken", [b"\x62\x01\xff", b"\x62\x03\x0a\x01\xff", b"\x0a\x01\xff"])
def test_a_field_that_is_not_stored_must_be_valid_too(decoder: Any, broken: bytes) -> None:
    session = DecoderSession(decoder)
    whole = request_with([], [])
    data = request_with([], [], METRIC + broken)
    assert_defined(session.decode(whole), expect_bytes(whole))
    assert expect_bytes(data) is None
    assert session.decode(data) is None


# (levels of arrays, levels of key-value lists) around one integer. A stored attribute has at most
# 16 levels; protobuf refuses about 100 nested messages.
DEPTHS: Final = [(16, 0), (0, 16), (8, 8), (17, 0), (0, 17), (45, 0), (46, 0), (50, 0), (0, 50)]


def deep_value(arrays: int, kvlists: int) -> bytes:
    """Encoded by hand, because protobuf refuses to build what it refuses to parse."""
    value = b"\x18\x01"
    for _ in range(arrays):
        value = length_delimited(0x2A, length_delimited(0x0A, value))
    for _ in range(kvlists):
        pair = b"\x0a\x01k" + length_delimited(0x12, value)
        value = length_delimited(0x32, length_delimited(0x0A, pair))
    return b"\x0a\x01k" + length_delimited(0x12, value)


@both_decoders
@pytest.mark.parametrize("part", ["point", "resource", "scope"])
@pytest.mark.parametrize(("arrays", "kvlists"), [*DEPTHS, (10_000, 0), (0, 10_000)])
def test_deep_attributes_are_stored_rejected_or_refused(
    decoder: Any, arrays: int, kvlists: int, part: str
) -> None:
    value = deep_value(arrays, kvlists)
    data = {
        "point": request_of(POINT + length_delimited(0x3A, value)),
        "resource": request_with([length_delimited(0x0A, value)], []),
        "scope": request_with([], [length_delimited(0x1A, value)]),
    }[part]
    assert_stored(DecoderSession(decoder).decode(data), expect_bytes(data))
