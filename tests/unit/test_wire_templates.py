"""A template reads the same from a message as the official messages.

Every test decodes similar requests with a decoder that has a template for them, and compares the
result with the official messages.
"""

from __future__ import annotations

import random
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kit.otlp.checks import DecoderSession, assert_stored, expect_bytes
from kit.otlp.encode import encode
from kit.otlp.layouts import ENCODERS, random_layouts
from kit.otlp.messages import BASE_UNIX_NANO, data_points, metrics_of
from kit.otlp.mutate import mutated_bytes
from kit.otlp.strategies import requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.wire import ANY_TIME, AgeLimits, TimeWindow, decode
from exporter.wire.template_cache import match_templates

SERIES: Final = 20
DOUBLES: Final = (0.5, -0.0, 1e300, float("nan"), float("inf"), 5e-324)
INTEGERS: Final = (1, -1, 2**63 - 1, -(2**63), 2**53 + 1)
LAYOUTS: Final = st.sampled_from(ENCODERS) | random_layouts()
SEEDS: Final = st.integers(0, 10_000)
# Other content of the request: anything, valid or not.
OTHERS: Final = st.one_of(
    st.just(ExportMetricsServiceRequest()), requests(), requests(max_violations=2)
)


def with_steady_metric(others: ExportMetricsServiceRequest, series: int = SERIES) -> Any:
    """The request with enough number points for a template in its first resource."""
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


def with_new_values(request: Any, seed: int, times: tuple[int, ...] = ()) -> Any:
    """The same request with other times and values, of the same length."""
    rng = random.Random(seed)
    after = ExportMetricsServiceRequest()
    after.CopyFrom(request)
    for metric in metrics_of(after):
        for point in data_points(metric):
            if point.time_unix_nano:
                choices = times or (BASE_UNIX_NANO + rng.randrange(10**12),)
                point.time_unix_nano = rng.choice(choices)
            if metric.WhichOneof("data") in {"gauge", "sum"}:
                set_value(point, rng)
    return after


def set_value(point: Any, rng: random.Random) -> None:
    if point.start_time_unix_nano:
        point.start_time_unix_nano = BASE_UNIX_NANO - rng.randrange(10**12)
    if point.WhichOneof("value") is None:
        return
    if rng.random() < 0.5:
        point.as_int = rng.choice(INTEGERS)
    else:
        point.as_double = rng.choice(DOUBLES)


def warm_session(request: Any, layout: Any) -> DecoderSession:
    """A decoder with a template for this request, if its layout allows one."""
    session = DecoderSession(decode)
    data = encode(request, layout)
    for _ in range(2):
        assert_stored(session.decode(data), expect_bytes(data))
    return session


def has_template(session: DecoderSession, data: bytes) -> bool:
    return bool(match_templates(data, session.cache, ANY_TIME).matches)


@given(others=OTHERS, layout=LAYOUTS, seed=SEEDS)
def test_new_times_and_values_are_read(
    others: ExportMetricsServiceRequest, layout: Any, seed: int
) -> None:
    request = with_steady_metric(others)
    session = warm_session(request, layout)
    assume(has_template(session, encode(request, layout)))
    for step in range(3):
        data = encode(with_new_values(request, seed + step), layout)
        assert_stored(session.decode(data), expect_bytes(data))


@pytest.mark.parametrize("layout", ENCODERS, ids=lambda layout: layout.name)
def test_every_known_encoder_gets_a_template(layout: Any) -> None:
    request = with_steady_metric(ExportMetricsServiceRequest())
    session = warm_session(request, layout)
    data = encode(with_new_values(request, 3), layout)
    matched = match_templates(data, session.cache, ANY_TIME)
    assert [len(part.points) for part in matched.matches] == [SERIES]
    assert matched.rest == b""


@given(others=OTHERS, layout=LAYOUTS, seed=SEEDS, data=st.data())
def test_damaged_copies_are_stored_as_by_the_official_messages(
    others: ExportMetricsServiceRequest, layout: Any, seed: int, data: st.DataObject
) -> None:
    request = with_steady_metric(others)
    session = warm_session(request, layout)
    assume(has_template(session, encode(request, layout)))
    good = encode(with_new_values(request, seed), layout)
    for damaged in data.draw(st.lists(mutated_bytes(st.just(good)), min_size=4, max_size=4)):
        assert_stored(session.decode(damaged), expect_bytes(damaged))


@given(layout=LAYOUTS, seed=SEEDS, at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_any_single_wrong_byte_is_handled(layout: Any, seed: int, at: int, byte: int) -> None:
    request = with_steady_metric(ExportMetricsServiceRequest())
    session = warm_session(request, layout)
    assume(has_template(session, encode(request, layout)))
    data = bytearray(encode(with_new_values(request, seed), layout))
    data[at % len(data)] = byte
    assert_stored(session.decode(bytes(data)), expect_bytes(bytes(data)))


@pytest.mark.parametrize(
    "times",
    [(0,), (2**63,), (2**64 - 1,), (1,), (BASE_UNIX_NANO, 2**63)],
    ids=["zero", "above int64", "largest", "smallest", "some"],
)
def test_times_that_cannot_be_stored_are_rejected(times: tuple[int, ...]) -> None:
    layout = ENCODERS[0]
    request = with_steady_metric(ExportMetricsServiceRequest())
    session = warm_session(request, layout)
    data = encode(with_new_values(request, 5, times), layout)
    assert_stored(session.decode(data), expect_bytes(data))


def test_points_outside_the_window_are_rejected_although_a_template_matches() -> None:
    layout = ENCODERS[0]
    request = with_steady_metric(ExportMetricsServiceRequest())
    window = TimeWindow(
        BASE_UNIX_NANO, BASE_UNIX_NANO + 10, BASE_UNIX_NANO, AgeLimits(max_future_days=1)
    )
    session = DecoderSession(decode, window=window)
    for _ in range(3):
        session.decode(encode(request, layout))
    data = encode(with_new_values(request, 1, (BASE_UNIX_NANO, BASE_UNIX_NANO + 11)), layout)
    found = session.decode(data)
    assert found is not None
    assert 0 < sum(found.rejected.values()) < SERIES


def test_a_start_time_that_cannot_be_stored_rejects_its_point() -> None:
    layout = ENCODERS[0]
    request = with_steady_metric(ExportMetricsServiceRequest())
    session = warm_session(request, layout)
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.gauge.data_points[3].start_time_unix_nano = 2**63
    data = encode(request, layout)
    assert_stored(session.decode(data), expect_bytes(data))


@pytest.mark.parametrize("greater", [0, 1])
def test_of_one_series_in_two_messages_the_larger_value_is_kept(greater: int) -> None:
    layout = ENCODERS[0]
    request = with_steady_metric(ExportMetricsServiceRequest())
    session = warm_session(request, layout)
    twice = ExportMetricsServiceRequest(resource_metrics=[*request.resource_metrics] * 2)
    for point in twice.resource_metrics[greater].scope_metrics[0].metrics[0].gauge.data_points:
        point.as_double = 2.0
    data = encode(twice, layout)
    found = session.decode(data)
    assert_stored(found, expect_bytes(data))
    assert found is not None
    assert sum(found.rejected.values()) == SERIES
    assert [row[3] for row in found.numbers] == ["2.0"] * SERIES


def test_points_of_one_series_and_time_with_other_starts_are_all_kept() -> None:
    layout = ENCODERS[0]
    request = with_steady_metric(ExportMetricsServiceRequest())
    session = warm_session(request, layout)
    both = ExportMetricsServiceRequest(resource_metrics=[*request.resource_metrics] * 2)
    for point in both.resource_metrics[1].scope_metrics[0].metrics[0].gauge.data_points:
        point.start_time_unix_nano -= 1_000_000_000
    data = encode(both, layout)
    found = session.decode(data)
    assert_stored(found, expect_bytes(data))
    assert found is not None
    assert not found.rejected
    assert len(found.numbers) == 2 * SERIES


def test_different_messages_of_one_length_have_a_template_each() -> None:
    layout = ENCODERS[0]
    senders = []
    for name in "abc":
        request = with_steady_metric(ExportMetricsServiceRequest())
        request.resource_metrics[0].scope_metrics[0].metrics[0].name = name * 6
        senders.append(request)
    session = DecoderSession(decode)
    for seed in range(8):
        for request in senders:
            session.decode(encode(with_new_values(request, seed), layout))
    for request in senders:
        data = encode(with_new_values(request, 99), layout)
        assert has_template(session, data)
        assert_stored(session.decode(data), expect_bytes(data))


def test_messages_of_one_length_are_distinguished_by_their_resource() -> None:
    layout = ENCODERS[0]
    session = DecoderSession(decode)
    hosts = []
    for host in range(5):
        request = with_steady_metric(ExportMetricsServiceRequest())
        resource = request.resource_metrics[0].resource
        resource.attributes.add(key="host.name").value.string_value = f"host {host}"
        hosts.append(request)
    for seed in range(3):
        for request in hosts:
            data = encode(with_new_values(request, seed), layout)
            assert_stored(session.decode(data), expect_bytes(data))
    for request in hosts:
        data = encode(with_new_values(request, 7), layout)
        assert has_template(session, data)


def test_a_sender_that_stops_shuffling_gets_a_template() -> None:
    layout = ENCODERS[0]
    request = with_steady_metric(ExportMetricsServiceRequest())
    points = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    session = DecoderSession(decode)
    rng = random.Random(1)
    for _ in range(40):
        order = list(points)
        rng.shuffle(order)
        del points[:]
        points.extend(order)
        data = encode(with_new_values(request, rng.randrange(10**6)), layout)
        assert_stored(session.decode(data), expect_bytes(data))
    for step in range(140):
        data = encode(with_new_values(request, step), layout)
        assert_stored(session.decode(data), expect_bytes(data))
    assert has_template(session, data)


@pytest.mark.parametrize("max_entries", [30, 60, 1_000_000])
def test_points_of_templates_count_as_cache_entries(max_entries: int) -> None:
    layout = ENCODERS[0]
    session = DecoderSession(decode, max_entries=max_entries)
    for host in range(10):
        request = with_steady_metric(ExportMetricsServiceRequest())
        resource = request.resource_metrics[0].resource
        resource.attributes.add(key="host.name").value.string_value = f"host {host}"
        for seed in range(4):
            data = encode(with_new_values(request, seed), layout)
            assert_stored(session.decode(data), expect_bytes(data))
        assert len(session.cache) <= max_entries


def test_invalidating_a_series_drops_the_templates_of_its_resource() -> None:
    layout = ENCODERS[0]
    request = with_steady_metric(ExportMetricsServiceRequest())
    session = warm_session(request, layout)
    data = encode(with_new_values(request, 2), layout)
    known = decode(data, session.cache).batch
    entries = len(session.cache)
    session.cache.invalidate([int(known.points.series_id[0])])
    assert not has_template(session, data)
    assert len(session.cache) == entries - SERIES - 1
    again = decode(data, session.cache).batch
    assert [series.series_id for series in again.new_series] == [known.points.series_id[0]]
    assert sorted(again.points.series_id) == sorted(known.points.series_id)


def test_columns_shared_by_batches_are_read_only() -> None:
    layout = ENCODERS[0]
    request = with_steady_metric(ExportMetricsServiceRequest())
    session = warm_session(request, layout)
    points = decode(encode(request, layout), session.cache).batch.points
    with pytest.raises(ValueError, match="read-only"):
        points.series_id[0] = 1
    assert points.recorded.dtype == np.bool_
