"""Messages that a template recognises mean what they meant without one.

Every test feeds a warm decoder requests of one shape and compares with the official messages; the
helper `taught` makes sure that there is a template that could go wrong.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kit.otlp.checks import DecoderSession, assert_stored, expect_bytes
from kit.otlp.encode import encode
from kit.otlp.layouts import ENCODERS, random_layouts
from kit.otlp.mutate import mutated_bytes
from kit.otlp.strategies import BASE_UNIX_NANO, requests
from kit.otlp.violations import data_points
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.wire import ANY_TIME, AgeLimits, TimeWindow, decode
from exporter.wire.template_cache import match_templates

if TYPE_CHECKING:
    pass

SERIES: Final = 20
DOUBLES: Final = (0.5, -0.0, 1e300, float("nan"), float("inf"), 5e-324)
INTEGERS: Final = (1, -1, 2**63 - 1, -(2**63), 2**53 + 1)
LAYOUTS: Final = st.sampled_from(ENCODERS) | random_layouts()
SEEDS: Final = st.integers(0, 10_000)
# What a template may stand beside: anything, sound or not.
OTHERS: Final = st.one_of(
    st.just(ExportMetricsServiceRequest()), requests(), requests(max_violations=2)
)


def steady(others: ExportMetricsServiceRequest, series: int = SERIES) -> Any:
    """A request that holds enough number points for a template in its first resource."""
    request = ExportMetricsServiceRequest()
    request.CopyFrom(others)
    group = request.resource_metrics[0] if others.resource_metrics else None
    group = group or request.resource_metrics.add()
    metric = group.scope_metrics.add().metrics.add(name="steady", unit="By")
    for at in range(series):
        point = metric.gauge.data_points.add(start_time_unix_nano=BASE_UNIX_NANO)
        point.time_unix_nano = BASE_UNIX_NANO
        point.as_double = 1.0
        point.attributes.add(key="at").value.int_value = at
    return request


def tick(request: Any, seed: int, times: tuple[int, ...] = ()) -> Any:
    """The same with other times and values, written in as many bytes."""
    rng = random.Random(seed)
    after = ExportMetricsServiceRequest()
    after.CopyFrom(request)
    for group in after.resource_metrics:
        for scope_metrics in group.scope_metrics:
            for metric in scope_metrics.metrics:
                for point in data_points(metric):
                    if point.time_unix_nano:
                        choices = times or (BASE_UNIX_NANO + rng.randrange(10**12),)
                        point.time_unix_nano = rng.choice(choices)
                    if metric.WhichOneof("data") in {"gauge", "sum"}:
                        revalue(point, rng)
    return after


def revalue(point: Any, rng: random.Random) -> None:
    if point.start_time_unix_nano:
        point.start_time_unix_nano = BASE_UNIX_NANO - rng.randrange(10**12)
    if point.WhichOneof("value") is None:
        return
    if rng.random() < 0.5:
        point.as_int = rng.choice(INTEGERS)
    else:
        point.as_double = rng.choice(DOUBLES)


def taught(request: Any, layout: Any) -> DecoderSession:
    """A decoder that has a template for this request, if it is written orderly."""
    stream = DecoderSession(decode)
    data = encode(request, layout)
    for _ in range(2):
        assert_stored(stream.feed(data), expect_bytes(data))
    return stream


def has_template(stream: DecoderSession, data: bytes) -> bool:
    return bool(match_templates(data, stream.cache, ANY_TIME).matches)


@given(others=OTHERS, layout=LAYOUTS, seed=SEEDS)
def test_new_times_and_values_are_read_from_their_places(
    others: ExportMetricsServiceRequest, layout: Any, seed: int
) -> None:
    request = steady(others)
    stream = taught(request, layout)
    assume(has_template(stream, encode(request, layout)))
    for step in range(3):
        data = encode(tick(request, seed + step), layout)
        assert_stored(stream.feed(data), expect_bytes(data))


@pytest.mark.parametrize("layout", ENCODERS, ids=lambda layout: layout.name)
def test_every_known_encoder_gets_a_template(layout: Any) -> None:
    request = steady(ExportMetricsServiceRequest())
    stream = taught(request, layout)
    data = encode(tick(request, 3), layout)
    matched = match_templates(data, stream.cache, ANY_TIME)
    assert [len(part.points) for part in matched.matches] == [SERIES]
    assert matched.rest == b""


@given(others=OTHERS, layout=LAYOUTS, seed=SEEDS, data=st.data())
def test_damaged_copies_mean_what_the_official_messages_say(
    others: ExportMetricsServiceRequest, layout: Any, seed: int, data: st.DataObject
) -> None:
    request = steady(others)
    stream = taught(request, layout)
    assume(has_template(stream, encode(request, layout)))
    good = encode(tick(request, seed), layout)
    for damaged in data.draw(st.lists(mutated_bytes(st.just(good)), min_size=4, max_size=4)):
        assert_stored(stream.feed(damaged), expect_bytes(damaged))


@given(layout=LAYOUTS, seed=SEEDS, at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_any_single_byte_may_be_wrong(layout: Any, seed: int, at: int, byte: int) -> None:
    request = steady(ExportMetricsServiceRequest())
    stream = taught(request, layout)
    assume(has_template(stream, encode(request, layout)))
    data = bytearray(encode(tick(request, seed), layout))
    data[at % len(data)] = byte
    assert_stored(stream.feed(bytes(data)), expect_bytes(bytes(data)))


@pytest.mark.parametrize(
    "times",
    [(0,), (2**63,), (2**64 - 1,), (1,), (BASE_UNIX_NANO, 2**63)],
    ids=["zero", "past int64", "largest", "smallest", "some"],
)
def test_times_that_cannot_be_stored_are_rejected(times: tuple[int, ...]) -> None:
    layout = ENCODERS[0]
    request = steady(ExportMetricsServiceRequest())
    stream = taught(request, layout)
    data = encode(tick(request, 5, times), layout)
    assert_stored(stream.feed(data), expect_bytes(data))


def test_points_outside_the_window_are_rejected_though_a_template_fits() -> None:
    layout = ENCODERS[0]
    request = steady(ExportMetricsServiceRequest())
    window = TimeWindow(
        BASE_UNIX_NANO, BASE_UNIX_NANO + 10, BASE_UNIX_NANO, AgeLimits(max_future_days=1)
    )
    stream = DecoderSession(decode, window=window)
    for _ in range(3):
        stream.feed(encode(request, layout))
    data = encode(tick(request, 1, (BASE_UNIX_NANO, BASE_UNIX_NANO + 11)), layout)
    found = stream.feed(data)
    assert found is not None
    assert 0 < sum(found.rejected.values()) < SERIES


def test_a_start_time_that_cannot_be_stored_rejects_its_point() -> None:
    layout = ENCODERS[0]
    request = steady(ExportMetricsServiceRequest())
    stream = taught(request, layout)
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.gauge.data_points[3].start_time_unix_nano = 2**63
    data = encode(request, layout)
    assert_stored(stream.feed(data), expect_bytes(data))


def test_one_series_in_two_messages_of_a_request_is_kept_once() -> None:
    layout = ENCODERS[0]
    request = steady(ExportMetricsServiceRequest())
    stream = taught(request, layout)
    twice = ExportMetricsServiceRequest(resource_metrics=[*request.resource_metrics] * 2)
    data = encode(twice, layout)
    found = stream.feed(data)
    assert_stored(found, expect_bytes(data))
    assert found is not None
    assert sum(found.rejected.values()) == SERIES


def test_messages_of_one_length_and_several_contents_each_have_a_template() -> None:
    layout = ENCODERS[0]
    turns = []
    for name in "abc":
        request = steady(ExportMetricsServiceRequest())
        request.resource_metrics[0].scope_metrics[0].metrics[0].name = name * 6
        turns.append(request)
    stream = DecoderSession(decode)
    for seed in range(8):
        for request in turns:
            stream.feed(encode(tick(request, seed), layout))
    for request in turns:
        data = encode(tick(request, 99), layout)
        assert has_template(stream, data)
        assert_stored(stream.feed(data), expect_bytes(data))


def test_senders_of_one_length_are_told_apart_by_their_resource() -> None:
    layout = ENCODERS[0]
    stream = DecoderSession(decode)
    fleet = []
    for host in range(5):
        request = steady(ExportMetricsServiceRequest())
        resource = request.resource_metrics[0].resource
        resource.attributes.add(key="host.name").value.string_value = f"host {host}"
        fleet.append(request)
    for seed in range(3):
        for request in fleet:
            data = encode(tick(request, seed), layout)
            assert_stored(stream.feed(data), expect_bytes(data))
    for request in fleet:
        data = encode(tick(request, 7), layout)
        assert has_template(stream, data)


def test_a_sender_that_shuffles_is_given_up_and_welcomed_back() -> None:
    layout = ENCODERS[0]
    request = steady(ExportMetricsServiceRequest())
    points = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    stream = DecoderSession(decode)
    rng = random.Random(1)
    for _ in range(40):
        order = list(points)
        rng.shuffle(order)
        del points[:]
        points.extend(order)
        data = encode(tick(request, rng.randrange(10**6)), layout)
        assert_stored(stream.feed(data), expect_bytes(data))
    for step in range(140):
        data = encode(tick(request, step), layout)
        assert_stored(stream.feed(data), expect_bytes(data))
    assert has_template(stream, data)


@pytest.mark.parametrize("max_entries", [30, 60, 1_000_000])
def test_templates_are_bounded_with_the_series_that_they_know(max_entries: int) -> None:
    layout = ENCODERS[0]
    stream = DecoderSession(decode, max_entries=max_entries)
    for host in range(10):
        request = steady(ExportMetricsServiceRequest())
        resource = request.resource_metrics[0].resource
        resource.attributes.add(key="host.name").value.string_value = f"host {host}"
        for seed in range(4):
            data = encode(tick(request, seed), layout)
            assert_stored(stream.feed(data), expect_bytes(data))
        assert len(stream.cache) <= max_entries


def test_a_forgotten_series_takes_its_templates_along() -> None:
    layout = ENCODERS[0]
    request = steady(ExportMetricsServiceRequest())
    stream = taught(request, layout)
    data = encode(tick(request, 2), layout)
    known = decode(data, stream.cache).batch
    entries = len(stream.cache)
    stream.cache.invalidate([int(known.points.series_id[0])])
    assert not has_template(stream, data)
    assert len(stream.cache) == entries - SERIES - 1
    again = decode(data, stream.cache).batch
    assert [series.series_id for series in again.new_series] == [known.points.series_id[0]]
    assert sorted(again.points.series_id) == sorted(known.points.series_id)


def test_columns_that_batches_share_cannot_be_changed() -> None:
    layout = ENCODERS[0]
    request = steady(ExportMetricsServiceRequest())
    stream = taught(request, layout)
    points = decode(encode(request, layout), stream.cache).batch.points
    with pytest.raises(ValueError, match="read-only"):
        points.series_id[0] = 1
    assert points.recorded.dtype == np.bool_
