"""Both decoders reject points outside the time window with a reason, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.otlp.encode import encode
from kit.otlp.layouts import ENCODERS, random_layouts
from kit.otlp.messages import BASE_UNIX_NANO, data_points, metrics_of
from kit.otlp.model import Expected, expect
from kit.otlp.observed import Definitions, observe
from kit.otlp.strategies import requests, steady_requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.series_cache import SeriesCache
from exporter.wire import ANY_TIME, AgeLimits, Decoded, TimeWindow, decode, decode_reference

Decode = Callable[[bytes, SeriesCache, TimeWindow], Decoded]

SECOND: Final = 10**9
DAY: Final = 86_400 * SECOND
INT64_MAX: Final = 2**63 - 1
NOW: Final = 1_795_456_861 * SECOND  # 2026-11-23T18:01:01Z
both_decoders = pytest.mark.parametrize("decoder", [decode, decode_reference])


def gauge_request(*times: int) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="load")
    for time in times:
        metric.gauge.data_points.add(time_unix_nano=time, as_double=1.0)
    return request


def remove_outside(request: ExportMetricsServiceRequest, window: TimeWindow) -> Counter[str]:
    """Remove points and exemplars outside the window; returns removed points by metric."""
    removed: Counter[str] = Counter()
    for metric in metrics_of(request):
        points: Any = data_points(metric)
        kept = [point for point in points if window.contains(point.time_unix_nano)]
        if len(kept) < len(points):
            removed[metric.name] += len(points) - len(kept)
            del points[:]
            points.extend(kept)
        for point in points:
            remove_exemplars(point, window)
    return removed


def remove_exemplars(point: Any, window: TimeWindow) -> None:
    exemplars = getattr(point, "exemplars", [])
    kept = [
        each for each in exemplars if window.contains(each.time_unix_nano or point.time_unix_nano)
    ]
    if len(kept) < len(exemplars):
        del exemplars[:]
        exemplars.extend(kept)


def windows() -> st.SearchStrategy[TimeWindow]:
    """Windows whose ends are among the times of generated requests."""
    days = st.none() | st.integers(0, 5 * SECOND).map(lambda nano: (nano + 1) / DAY)
    now = st.integers(-2 * SECOND, 7 * SECOND).map(lambda nano: BASE_UNIX_NANO + nano)
    return st.builds(lambda *limits, now: AgeLimits(*limits).window(now), days, days, now=now)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@both_decoders
@given(
    request=st.one_of(requests(max_violations=2), steady_requests(max_points=40)),
    layout=st.one_of(st.sampled_from(ENCODERS), random_layouts()),
    window=windows(),
)
def test_points_outside_are_counted_and_the_rest_is_stored(
    warm: bool,  # noqa: FBT001 - a parameter of the test
    decoder: Decode,
    request: ExportMetricsServiceRequest,
    layout: Any,
    window: TimeWindow,
) -> None:
    data, cache, definitions = encode(request, layout), SeriesCache(), Definitions()
    if warm:
        observe(decoder(data, cache, ANY_TIME), definitions)
    removed = remove_outside(request, window)
    found = observe(decoder(data, cache, window), definitions)
    expected: Expected = expect(request)
    assert found.rejected == expected.rejected + removed
    assert found.numbers == expected.numbers
    assert found.histograms == expected.histograms
    assert found.summaries == expected.summaries
    assert found.exemplars == expected.exemplars
    if not warm:
        assert found.metadata.keys() == expected.metadata.keys()


@both_decoders
@pytest.mark.parametrize(
    ("limits", "time", "contained"),
    [
        (AgeLimits(), 1, True),
        (AgeLimits(), INT64_MAX, True),
        (AgeLimits(max_future_days=7), 1, True),
        (AgeLimits(max_future_days=7), NOW + 7 * DAY, True),
        (AgeLimits(max_future_days=7), NOW + 7 * DAY + 1, False),
        (AgeLimits(max_future_days=7), INT64_MAX, False),
        (AgeLimits(max_past_days=1), NOW - DAY, True),
        (AgeLimits(max_past_days=1), NOW - DAY - 1, False),
        (AgeLimits(max_past_days=1), 1, False),
        (AgeLimits(max_past_days=1), INT64_MAX, True),
        (AgeLimits(max_past_days=36_500, max_future_days=36_500), 1, True),
        (AgeLimits(max_past_days=36_500, max_future_days=36_500), INT64_MAX, False),
        (AgeLimits(max_future_days=200_000), INT64_MAX, True),
    ],
    ids=str,
)
def test_the_window_includes_both_ends(
    decoder: Decode, limits: AgeLimits, time: int, *, contained: bool
) -> None:
    # First a point inside the window, so that the fast decoder knows the series.
    cache, window = SeriesCache(), limits.window(NOW)
    decoder(gauge_request(NOW).SerializeToString(), cache, window)
    decoded = decoder(gauge_request(time, NOW).SerializeToString(), cache, window)
    times = {NOW, time} if contained else {NOW}
    assert set(decoded.batch.points.time_unix_nano.tolist()) == times
    assert decoded.rejections.total == (not contained)


@both_decoders
def test_the_reason_contains_the_clock_the_limit_and_the_key(decoder: Decode) -> None:
    window = AgeLimits(max_past_days=30, max_future_days=0.5).window(NOW)
    request = gauge_request(NOW + DAY, NOW + 2 * DAY, NOW - 31 * DAY)
    rejections = decoder(request.SerializeToString(), SeriesCache(), window).rejections
    assert rejections.message() == (
        "3 data points rejected: "
        "2 because time_unix_nano is further ahead of the receiver's clock, "
        "2026-11-23T18:01:01Z, than exporters.openfinops.max_future_days (0.5) allows (load); "
        "1 because time_unix_nano is further behind the receiver's clock, "
        "2026-11-23T18:01:01Z, than exporters.openfinops.max_past_days (30) allows (load)"
    )


@both_decoders
def test_a_rejected_point_creates_no_series(decoder: Decode) -> None:
    window = AgeLimits(max_future_days=7).window(NOW)
    cache = SeriesCache()
    decoded = decoder(gauge_request(NOW + 8 * DAY).SerializeToString(), cache, window)
    assert decoded.batch.new_series == ()
    assert len(decoder(gauge_request(NOW).SerializeToString(), cache, window).batch.new_series) == 1


@both_decoders
def test_an_exemplar_outside_is_dropped_and_its_point_is_stored(decoder: Decode) -> None:
    request = gauge_request(NOW)
    [point] = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    for time in (NOW, NOW + 8 * DAY, 0):
        point.exemplars.add(time_unix_nano=time, as_double=2.0)
    window = AgeLimits(max_future_days=7).window(NOW)
    decoded = decoder(request.SerializeToString(), SeriesCache(), window)
    assert [each.time_unix_nano for each in decoded.batch.exemplars] == [NOW, NOW]
    assert len(decoded.batch.points) == 1
    assert decoded.rejections.total == 0
