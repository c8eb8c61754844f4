"""Hypothesis strategies for requests, from tiny ones to many points of the same series.

`requests` draws well-formed points with every rarity that the data model allows, and with up to
`max_violations` changes that it forbids (`kit.otlp.violations`). `steady_requests` draws what a
running service sends: the same few series again and again, encoded alike.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, TypeVar

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    AGGREGATION_TEMPORALITY_DELTA,
    Exemplar,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from kit.otlp.messages import BASE_UNIX_NANO
from kit.otlp.violations import VIOLATIONS, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

LATEST_UNIX_NANO: Final = 2**63 - 1
NO_RECORDED_VALUE: Final = 1

_KEYS = st.sampled_from(
    (
        *("host", "path", "cpu", "", "κλειδί", "a\0b", "\N{PILE OF POO}", "ключ-" * 30),
        *("cluster_id", "node_id", "service.name", "k8s.cluster.name", "host.name"),
        *("bytesValue", "doubleValue", "kvlistValue"),
    )
)
_TEXTS = st.sampled_from(("", "a", "b", "/var", "été", "\0", "\N{GRINNING FACE}", "x" * 200))
_NAMES = st.sampled_from(("requests", "cpu.time", "größe", "m" * 130))
_UNITS = st.sampled_from(("", "1", "By", "{token}"))
_URLS = st.sampled_from(("", "https://opentelemetry.io/schemas/1.44.0", "urn:é"))
_INT64S = st.sampled_from((0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))) | st.integers(
    -(2**63), 2**63 - 1
)
_DOUBLES = st.sampled_from(
    (0.0, -0.0, 1.0, 0.1, 5e-324, 2.0**53, 1e308, float("nan"), float("inf"), float("-inf"))
) | st.floats(width=64)
_TIMES = st.one_of(
    st.integers(0, 5).map(lambda second: BASE_UNIX_NANO + second * 10**9),
    st.sampled_from((0, 1, 500, 1_000, 1_001)).map(lambda nano: BASE_UNIX_NANO + nano),
    st.sampled_from((1, 999, 1_000, LATEST_UNIX_NANO)),
)
_START_TIMES = st.just(0) | st.just(BASE_UNIX_NANO) | _TIMES
_TEMPORALITIES = st.sampled_from(
    (AGGREGATION_TEMPORALITY_DELTA, AGGREGATION_TEMPORALITY_CUMULATIVE)
)
_COUNTS = st.integers(0, 9) | st.sampled_from((0, 127, 128, 2**32, 2**60))
_FLAGS = st.sampled_from((0, 0, 0, 0, 0, 0, 2, 2**31, NO_RECORDED_VALUE, 2**32 - 1))
_OPTIONAL_DOUBLES = st.none() | _DOUBLES


_T = TypeVar("_T")


@st.composite
def _lists(draw: st.DrawFn, elements: st.SearchStrategy[_T], max_size: int) -> list[_T]:
    """A list that is seldom empty; `st.lists` draws empty lists half of the time."""
    sizes = (*range(1, max_size + 1), *range(1, max_size + 1), *range(max_size + 1))
    size = draw(st.sampled_from(sizes))
    return [draw(elements) for _ in range(size)]


def _values(levels: int) -> st.SearchStrategy[AnyValue]:
    scalars = st.one_of(
        st.builds(AnyValue, string_value=_TEXTS),
        st.builds(AnyValue, int_value=_INT64S),
        st.builds(AnyValue, double_value=_DOUBLES),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, bytes_value=st.binary(max_size=5)),
        st.builds(AnyValue),
    )
    if levels == 0:
        return scalars
    inner = st.lists(_values(levels - 1), max_size=3).map(lambda items: ArrayValue(values=items))
    pairs = _unique_pairs(_values(levels - 1), max_size=3)
    kvlists = pairs.map(lambda items: KeyValueList(values=items))
    return st.one_of(
        scalars,
        scalars,
        st.builds(AnyValue, array_value=inner),
        st.builds(AnyValue, kvlist_value=kvlists),
    )


def _pairs(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[KeyValue]:
    return st.builds(KeyValue, key=_KEYS, value=values) | st.builds(KeyValue, key=_KEYS)


def _unique_pairs(
    values: st.SearchStrategy[AnyValue], max_size: int
) -> st.SearchStrategy[list[KeyValue]]:
    return st.lists(_pairs(values), max_size=max_size, unique_by=lambda pair: pair.key)


any_values: Final = _values(levels=3)
attribute_lists: Final = st.one_of(
    _unique_pairs(st.builds(AnyValue, string_value=_TEXTS), max_size=3),
    _unique_pairs(any_values, max_size=4),
)


def _exemplars() -> st.SearchStrategy[list[Exemplar]]:
    common = {
        "time_unix_nano": st.sampled_from((0, 1, LATEST_UNIX_NANO, 2**63)) | _TIMES,
        "trace_id": st.sampled_from((b"", bytes(range(16)), b"\xab")),
        "span_id": st.sampled_from((b"", b"\xff" * 8)),
        "filtered_attributes": attribute_lists,
    }
    exemplar = st.one_of(
        st.builds(Exemplar, as_double=_DOUBLES, **common),
        st.builds(Exemplar, as_int=_INT64S, **common),
        st.builds(Exemplar, **common),
    )
    return st.just([]) | st.just([]) | st.lists(exemplar, max_size=2)


def _number_points(pool: st.SearchStrategy[list[KeyValue]]) -> st.SearchStrategy[NumberDataPoint]:
    common = {
        "attributes": pool,
        "start_time_unix_nano": _START_TIMES,
        "time_unix_nano": _TIMES,
        "exemplars": _exemplars(),
    }
    return st.one_of(
        st.builds(NumberDataPoint, as_int=_INT64S, flags=_FLAGS, **common),
        st.builds(NumberDataPoint, as_double=_DOUBLES, flags=_FLAGS, **common),
        st.builds(NumberDataPoint, flags=st.just(NO_RECORDED_VALUE), **common),
    )


@st.composite
def _histogram_points(
    draw: st.DrawFn, pool: st.SearchStrategy[list[KeyValue]]
) -> HistogramDataPoint:
    bounds = sorted(draw(st.sets(st.sampled_from((-5.0, 0.0, 0.1, 1.0, 1e300, float("inf"))))))
    counts = draw(st.lists(_COUNTS, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    if not bounds and draw(st.booleans()):
        counts = []
    return HistogramDataPoint(
        attributes=draw(pool),
        start_time_unix_nano=draw(_START_TIMES),
        time_unix_nano=draw(_TIMES),
        count=sum(counts) if counts else draw(_COUNTS),
        sum=draw(_OPTIONAL_DOUBLES),
        min=draw(_OPTIONAL_DOUBLES),
        max=draw(_OPTIONAL_DOUBLES),
        bucket_counts=counts,
        explicit_bounds=bounds,
        exemplars=draw(_exemplars()),
        flags=draw(_FLAGS),
    )


def _buckets() -> st.SearchStrategy[ExponentialHistogramDataPoint.Buckets | None]:
    return st.none() | st.builds(
        ExponentialHistogramDataPoint.Buckets,
        offset=st.integers(-3, 3) | st.sampled_from((-(2**31), 2**31 - 1)),
        bucket_counts=st.lists(_COUNTS, max_size=4),
    )


@st.composite
def _exponential_points(
    draw: st.DrawFn, pool: st.SearchStrategy[list[KeyValue]]
) -> ExponentialHistogramDataPoint:
    positive, negative = draw(_buckets()), draw(_buckets())
    zero_count = draw(_COUNTS)
    filled = [each for each in (positive, negative) if each is not None]
    return ExponentialHistogramDataPoint(
        attributes=draw(pool),
        start_time_unix_nano=draw(_START_TIMES),
        time_unix_nano=draw(_TIMES),
        count=zero_count + sum(sum(each.bucket_counts) for each in filled),
        sum=draw(_OPTIONAL_DOUBLES),
        min=draw(_OPTIONAL_DOUBLES),
        max=draw(_OPTIONAL_DOUBLES),
        scale=draw(st.integers(-11, 20) | st.sampled_from((-(2**31), 2**31 - 1))),
        zero_count=zero_count,
        zero_threshold=draw(_DOUBLES),
        positive=positive,
        negative=negative,
        exemplars=draw(_exemplars()),
        flags=draw(_FLAGS),
    )


def _summary_points(pool: st.SearchStrategy[list[KeyValue]]) -> st.SearchStrategy[SummaryDataPoint]:
    quantile = st.builds(
        SummaryDataPoint.ValueAtQuantile,
        quantile=st.sampled_from((0.0, -0.0, 0.5, 0.99, 1.0)),
        value=_DOUBLES,
    )
    return st.builds(
        SummaryDataPoint,
        attributes=pool,
        start_time_unix_nano=_START_TIMES,
        time_unix_nano=_TIMES,
        count=_COUNTS,
        sum=_DOUBLES,
        quantile_values=st.lists(quantile, max_size=3),
        flags=_FLAGS,
    )


def _metrics(pool: st.SearchStrategy[list[KeyValue]]) -> st.SearchStrategy[Metric]:
    numbers = _lists(_number_points(pool), 6)
    data: dict[str, st.SearchStrategy[object]] = {
        "gauge": st.builds(Gauge, data_points=numbers),
        "sum": st.builds(
            Sum,
            data_points=numbers,
            aggregation_temporality=_TEMPORALITIES,
            is_monotonic=st.booleans(),
        ),
        "histogram": st.builds(
            Histogram,
            data_points=_lists(_histogram_points(pool), 3),
            aggregation_temporality=_TEMPORALITIES,
        ),
        "exponential_histogram": st.builds(
            ExponentialHistogram,
            data_points=_lists(_exponential_points(pool), 3),
            aggregation_temporality=_TEMPORALITIES,
        ),
        "summary": st.builds(Summary, data_points=_lists(_summary_points(pool), 3)),
    }
    common = {
        "name": _NAMES,
        "unit": _UNITS,
        "description": _TEXTS,
        "metadata": st.just([]) | attribute_lists,
    }
    return st.one_of(*(st.builds(Metric, **common, **{kind: data[kind]}) for kind in data))


def _scopes() -> st.SearchStrategy[InstrumentationScope | None]:
    return st.none() | st.builds(
        InstrumentationScope,
        name=_TEXTS,
        version=_TEXTS,
        attributes=st.just([]) | attribute_lists,
        dropped_attributes_count=st.sampled_from((0, 3)),
    )


def _resources() -> st.SearchStrategy[Resource | None]:
    return st.none() | st.builds(
        Resource, attributes=attribute_lists, dropped_attributes_count=st.sampled_from((0, 3))
    )


@st.composite
def requests(draw: st.DrawFn, max_violations: int = 0) -> ExportMetricsServiceRequest:
    """A request of up to forty points, with up to `max_violations` violations of the data model."""
    pool = st.sampled_from(draw(st.lists(attribute_lists, min_size=1, max_size=4)))
    scope_metrics = st.builds(
        ScopeMetrics,
        scope=_scopes(),
        metrics=_lists(_metrics(pool), 3),
        schema_url=_URLS,
    )
    resource_metrics = st.builds(
        ResourceMetrics,
        resource=_resources(),
        scope_metrics=_lists(scope_metrics, 2),
        schema_url=_URLS,
    )
    groups = draw(_lists(resource_metrics, 2))
    repeated = draw(st.lists(st.sampled_from(groups), max_size=1)) if groups else []
    request = ExportMetricsServiceRequest(resource_metrics=[*groups, *repeated])
    for violation in draw(_violations(max_violations)):
        violation(request, draw(st.integers(0, 30)))
    return request


def _violations(most: int) -> st.SearchStrategy[Sequence[Violation]]:
    return (
        st.lists(st.sampled_from(list(VIOLATIONS.values())), max_size=most) if most else st.just([])
    )


@st.composite
def steady_requests(draw: st.DrawFn, max_points: int = 200) -> ExportMetricsServiceRequest:
    """One resource; every metric has the same series, each with some times."""
    rng = random.Random(draw(st.integers(0, 10_000)))
    series = draw(st.lists(attribute_lists, min_size=1, max_size=8))
    metrics = draw(st.integers(1, 3))
    times = draw(st.integers(1, max(1, max_points // len(series) // metrics)))
    start_unix_nano = draw(st.sampled_from((0, BASE_UNIX_NANO)))
    integers = draw(st.sampled_from((0.0, 0.5, 1.0)))
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add(resource=draw(_resources())).scope_metrics.add()
    for index in range(metrics):
        data = group.metrics.add(name=f"metric {index}", unit="By").sum
        data.aggregation_temporality, data.is_monotonic = draw(_TEMPORALITIES), True
        for step in range(times):
            for attributes in series:
                point = data.data_points.add(
                    attributes=attributes,
                    start_time_unix_nano=start_unix_nano,
                    time_unix_nano=BASE_UNIX_NANO + step * 10**9,
                )
                if rng.random() < integers:
                    point.as_int = rng.randrange(-(2**63), 2**63)
                else:
                    point.as_double = rng.choice((rng.random(), -0.0, float("nan"), 1e300))
    return request
