"""Points and sub-messages put together by hand, byte by byte, to catch a decoder that guesses.

A decoder that knows a point by where its fields stand must notice every point whose bytes merely
look like it. Each request goes through one cache twice, for a guess needs something to remember.
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
from kit.otlp.encode import varint

from exporter.wire import decode

START, TIME, AS_DOUBLE, AS_INT = 0x11, 0x19, 0x21, 0x31


def framed(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + varint(len(body)) + body


def request_of(*points: bytes) -> bytes:
    """One metric with these points, below no resource and no scope."""
    metric = NAME + framed(0x2A, b"".join(framed(0x0A, point) for point in points))
    return framed(0x0A, framed(0x12, framed(0x12, metric)))


NAME: Final = b"\x0a\x01m"
POINT: Final = b"\x19" + b"\x01" * 8 + b"\x21" + bytes(8)
METRIC: Final = NAME + framed(0x2A, framed(0x0A, POINT))
ATTRIBUTE: Final = framed(0x0A, b"\x0a\x01k" + framed(0x12, framed(0x0A, b"value")))

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
# Bodies of nine-byte fields: plain ones, and such as contain the tags of other fields.
BODIES: Final = [
    *(b"\x01" * 8, b"\x02" * 8, b"\x3a\x07" + b"\x01" * 6),
    *(bytes([tag]) * 8 for tag in (START, TIME, AS_DOUBLE, AS_INT)),
]
ODD_BODIES: Final = [*BODIES, bytes(8), b"\xff" * 8]
# An attribute of exactly nine bytes, as long as a time or a value, and one that ends like a value.
NINE_BYTES: Final = b"\x3a\x07\x0a\x01b\x12\x02\x10\x01"
LIKE_A_VALUE: Final = framed(0x3A, b"\x0a\x01d" + framed(0x12, b"\x21" + b"\x01" * 8))
ATTRIBUTES: Final = [b"", NINE_BYTES, b"\x3a" + ATTRIBUTE[1:], LIKE_A_VALUE]
# 0x09, 0x29 and 0x39 are no fields of a point as nine-byte fields: unknown, to be passed over.
NINE_BYTE_TAGS: Final = [START, TIME, AS_DOUBLE, AS_INT, 0x09, 0x29, 0x39]
SMALL_PARTS: Final = [b"\x40\x01", b"\x40\x02", b"\x08\x01", b"\xff", b"\x3a", b"\x3a\x03"]
EXEMPLAR: Final = framed(0x2A, b"\x19" + b"\x01" * 8)

nine_byte_parts = st.builds(
    lambda tag, body: bytes([tag]) + body,
    st.sampled_from(NINE_BYTE_TAGS),
    st.sampled_from(ODD_BODIES),
)
odd_parts = nine_byte_parts | st.sampled_from([*SMALL_PARTS, *ATTRIBUTES, EXEMPLAR])


@st.composite
def tidy_points(draw: st.DrawFn, order: tuple[Any, ...]) -> list[bytes]:
    """The parts of a point as an encoder with this order writes them."""
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
    """Points of mostly one order, some of them with a part too many, too few or astray."""
    order = draw(st.sampled_from(ORDERS))
    points = []
    for _ in range(draw(st.integers(1, 6))):
        own = draw(st.sampled_from((order, order, *ORDERS)))
        parts = draw(tidy_points(own))
        change = draw(st.sampled_from(("none", "none", "insert", "replace", "delete", "shuffle")))
        at = draw(st.integers(0, len(parts) - 1))
        if change == "insert":
            parts.insert(at, draw(odd_parts))
        elif change == "replace":
            parts[at] = draw(odd_parts)
        elif change == "delete":
            del parts[at]
        elif change == "shuffle":
            parts = draw(st.permutations(parts))
        points.append(b"".join(parts))
    return points


# No value, but shorter than a time and a value together: read from both ends it seems to have one.
TOO_SHORT: Final = bytes([TIME]) + bytes([AS_DOUBLE]) * 8 + b"\x40\x02"
WITH_VALUE_LAST: Final = POINT[:9] + NINE_BYTES + POINT[9:]


@example(lists=[[POINT], [WITH_VALUE_LAST], [WITH_VALUE_LAST, TOO_SHORT]])
@settings(max_examples=10 * settings().max_examples)
@given(lists=st.lists(point_lists(), min_size=1, max_size=3))
def test_a_point_that_looks_like_another_is_still_itself(lists: list[list[bytes]]) -> None:
    stream = DecoderSession(decode)
    for points in [*lists, *lists]:
        data = request_of(*points)
        assert_stored(stream.feed(data), expect_bytes(data))


def request_with(resource: list[bytes], scope: list[bytes], metric: bytes = METRIC) -> bytes:
    """A metric below a resource and a scope that come in so many pieces."""
    scopes = b"".join(framed(0x0A, piece) for piece in scope)
    resources = b"".join(framed(0x0A, piece) for piece in resource)
    return framed(0x0A, resources + framed(0x12, scopes + framed(0x12, metric)))


@both_decoders
@pytest.mark.parametrize("metric", [METRIC, NAME], ids=["point", "no point"])
@pytest.mark.parametrize("part", ["resource", "scope"])
def test_a_sub_message_cut_inside_a_field_is_refused_though_its_sum_is_sound(
    decoder: Any, part: str, metric: bytes
) -> None:
    attribute = ATTRIBUTE if part == "resource" else b"\x1a" + ATTRIBUTE[1:]
    others: dict[str, list[bytes]] = {"resource": [], "scope": []}
    whole = request_with(**others | {part: [attribute]}, metric=metric)
    knowing = DecoderSession(decoder)
    assert_defined(knowing.feed(whole), expect_bytes(whole))
    for cut in range(1, len(attribute)):
        pieces = request_with(**others | {part: [attribute[:cut], attribute[cut:]]}, metric=metric)
        assert expect_bytes(pieces) is None
        assert knowing.feed(pieces) is None, f"cut after {cut} bytes"
        assert DecoderSession(decoder).feed(pieces) is None, f"cut after {cut} bytes"


@both_decoders
def test_pieces_of_a_sub_message_are_merged(decoder: Any) -> None:
    scope = b"\x1a" + ATTRIBUTE[1:]
    data = request_with(resource=[ATTRIBUTE, b"", b"\x10\x03"], scope=[b"\x0a\x01s", scope])
    assert_defined(DecoderSession(decoder).feed(data), expect_bytes(data))


@both_decoders
@pytest.mark.parametrize("broken", [b"\x62\x01\xff", b"\x62\x03\x0a\x01\xff", b"\x0a\x01\xff"])
def test_what_is_not_stored_must_be_readable_too(decoder: Any, broken: bytes) -> None:
    stream = DecoderSession(decoder)
    whole = request_with([], [])
    data = request_with([], [], METRIC + broken)
    assert_defined(stream.feed(whole), expect_bytes(whole))
    assert expect_bytes(data) is None
    assert stream.feed(data) is None


# (levels of arrays, levels of key-value lists) around one integer. 16 is the most that a stored
# attribute may have; protobuf itself gives up at about 100 messages inside each other.
DEPTHS: Final = [(16, 0), (0, 16), (8, 8), (17, 0), (0, 17), (45, 0), (46, 0), (50, 0), (0, 50)]


def deep_value(arrays: int, kvlists: int) -> bytes:
    """Written by hand: the official message refuses to build what it refuses to read."""
    value = b"\x18\x01"
    for _ in range(arrays):
        value = framed(0x2A, framed(0x0A, value))
    for _ in range(kvlists):
        value = framed(0x32, framed(0x0A, b"\x0a\x01k" + framed(0x12, value)))
    return b"\x0a\x01k" + framed(0x12, value)


@both_decoders
@pytest.mark.parametrize("part", ["point", "resource", "scope"])
@pytest.mark.parametrize(("arrays", "kvlists"), [*DEPTHS, (10_000, 0), (0, 10_000)])
def test_deep_attributes_are_stored_rejected_or_refused(
    decoder: Any, arrays: int, kvlists: int, part: str
) -> None:
    value = deep_value(arrays, kvlists)
    data = {
        "point": request_of(POINT + framed(0x3A, value)),
        "resource": request_with([framed(0x0A, value)], []),
        "scope": request_with([], [framed(0x1A, value)]),
    }[part]
    assert_stored(DecoderSession(decoder).feed(data), expect_bytes(data))
