"""What a receiver must store of a request, written from the data model alone: simple and slow.

It reads the official messages and shares no code with the decoder under test. Everything is a
tuple that can be compared and hashed. A float is represented by its `repr`, so that NaN equals NaN
and -0.0 differs from 0.0.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, Metric

INT64_MAX: Final = 2**63 - 1
MAX_DEPTH: Final = 16
NO_RECORDED_VALUE: Final = 1
TEMPORALITIES: Final = {1: "delta", 2: "cumulative"}
_SCALARS: Final = {"string_value": "string", "bool_value": "bool", "int_value": "int"}
_NO_BUCKETS: Final = (0, 0, "0.0", 0, (), 0, ())
_TOO_DEEP: Final = "attributes are nested too deeply"
_RESERVED_KEYS: Final = frozenset({"bytesValue", "doubleValue", "kvlistValue"})
_CLUSTER_KEYS: Final = ("k8s.cluster.name", "k8s.cluster.uid", "deployment.environment.name")
_NODE_KEYS: Final = ("k8s.node.name", "host.name", "host.id", "service.instance.id")

Json = tuple[Any, ...]
# First and last time that a point or an exemplar may have, in nanoseconds.
Window = tuple[int, int]
ANY_TIME: Final[Window] = (1, INT64_MAX)


class Identity(NamedTuple):
    """Everything that identifies a series."""

    name: str
    type: str
    unit: str
    temporality: str | None
    is_monotonic: bool | None
    resource: Json
    scope_name: str
    scope_version: str
    scope_attributes: Json
    attributes: Json


class SeriesMetadata(NamedTuple):
    """The rest of a series definition; the last four fields may vary within a request."""

    cluster_id: str
    node_id: str
    service_name: str | None
    description: str
    resource_schema_url: str
    scope_schema_url: str


@dataclass(slots=True)
class Expected:
    """What is stored of a request, and what is not.

    Attributes:
        numbers: identity, time, start time, value (None: no recorded value).
        histograms: identity, time, start time, count (None: no recorded value), sum, min, max,
            bounds, bucket counts, exponential part.
        summaries: identity, time, start time, count, sum, quantiles, values.
        exemplars: identity of the point's series, time, value, trace id, span id, attributes.
        metadata: for every stored series the metadata that its definition may have.
        rejected: data points that are not stored, by the name of their metric.
    """

    numbers: Counter[Json] = field(default_factory=Counter)
    histograms: Counter[Json] = field(default_factory=Counter)
    summaries: Counter[Json] = field(default_factory=Counter)
    exemplars: Counter[Json] = field(default_factory=Counter)
    metadata: dict[Identity, set[SeriesMetadata]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def stored(self) -> int:
        """How many data points of any type are stored."""
        return self.numbers.total() + self.histograms.total() + self.summaries.total()


class _InvalidError(Exception):
    """A point, or everything below a resource or scope, violates the data model."""


def float_repr(number: float) -> str:
    """A float that can be compared: NaN equals itself, and zeros have signs."""
    return repr(float(number))


def _require(condition: bool, rule: str) -> None:  # noqa: FBT001 - an assertion of the data model
    if not condition:
        raise _InvalidError(rule)


def _object(pairs: Iterable[tuple[str, Json]]) -> Json:
    return ("object", tuple(sorted(pairs)))


def _double(number: float) -> Json:
    if math.isnan(number):
        return _object([("doubleValue", ("string", "NaN"))])
    if math.isinf(number):
        text = "Infinity" if number > 0 else "-Infinity"
        return _object([("doubleValue", ("string", text))])
    return ("double", float_repr(number))


def _value(value: AnyValue, level: int) -> Json:
    """The value as in JSON, each part tagged with its JSON type."""
    kind = value.WhichOneof("value")
    if kind in _SCALARS:
        return (_SCALARS[kind], getattr(value, kind))
    match kind:
        case "double_value":
            return _double(value.double_value)
        case "bytes_value":
            text = base64.b64encode(value.bytes_value).decode()
            return _object([("bytesValue", ("string", text))])
        case "array_value":
            _require(level < MAX_DEPTH, _TOO_DEEP)
            return ("array", *(_value(item, level + 1) for item in value.array_value.values))
        case "kvlist_value":
            _require(level < MAX_DEPTH, _TOO_DEEP)
            return _kvlist(value.kvlist_value.values, level + 1)
    return ("null",)


def _kvlist(pairs: Sequence[KeyValue], level: int) -> Json:
    inner = _attributes(pairs, level)
    keys = {pair.key for pair in pairs}
    if len(keys) == 1 and keys <= _RESERVED_KEYS:
        return _object([("kvlistValue", inner)])
    return inner


def _attributes(pairs: Sequence[KeyValue], level: int = 0) -> Json:
    keys = [pair.key for pair in pairs]
    _require(len(keys) == len(set(keys)), "an attribute occurs twice")
    return _object((pair.key, _value(pair.value, level)) for pair in pairs)


def _untagged(value: Json) -> Any:
    """The value as `json.dumps` takes it."""
    match value:
        case ("null",):
            return None
        case ("double", text):
            return float(text)
        case ("array", *items):
            return [_untagged(item) for item in items]
        case ("object", pairs):
            return {key: _untagged(item) for key, item in pairs}
    return value[1]


def _text(attributes: Json, key: str) -> str | None:
    """The attribute as text: strings as they are, others as JSON; None if it is missing or null."""
    value = _untagged(dict(attributes[1]).get(key, ("null",)))
    return value if isinstance(value, str | None) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _identity(metric: Metric, shared: Identity, attributes: Json) -> Identity:
    kind = metric.WhichOneof("data")
    data = getattr(metric, str(kind))
    temporality = None
    if kind not in {"gauge", "summary"}:
        _require(data.aggregation_temporality in TEMPORALITIES, "temporality is not known")
        temporality = TEMPORALITIES[data.aggregation_temporality]
    return shared._replace(
        name=metric.name,
        type=str(kind),
        unit=metric.unit,
        temporality=temporality,
        is_monotonic=data.is_monotonic if kind == "sum" else None,
        attributes=attributes,
    )


def _check_times(point: Any, window: Window) -> None:
    _require(window[0] <= point.time_unix_nano <= window[1], "time is outside the window")
    _require(point.start_time_unix_nano <= INT64_MAX, "start time is too late")


def _number(point: Any) -> Json:
    kind = point.WhichOneof("value")
    if point.flags & NO_RECORDED_VALUE:
        return (None,)
    _require(kind is not None, "point has no value")
    return (float_repr(getattr(point, str(kind))),)


def _optional(point: Any, name: str) -> str | None:
    return float_repr(getattr(point, name)) if point.HasField(name) else None


def _check_counts(total: int, *parts: int) -> None:
    _require(all(count <= INT64_MAX for count in (total, *parts)), "count is too large")


def _histogram(point: Any) -> Json:
    if point.flags & NO_RECORDED_VALUE:
        return (None, None, None, None, (), (), None)
    counts, bounds = tuple(point.bucket_counts), tuple(point.explicit_bounds)
    _check_counts(point.count, *counts)
    _require(not any(math.isnan(bound) for bound in bounds), "a bound is NaN")
    increasing = all(low < high for low, high in itertools.pairwise(bounds))
    _require(increasing, "bounds do not increase")
    if counts or bounds:
        _require(len(counts) == len(bounds) + 1, "buckets and bounds do not match")
        _require(sum(counts) == point.count, "buckets do not add up")
    measured = (_optional(point, name) for name in ("sum", "min", "max"))
    return (point.count, *measured, tuple(map(float_repr, bounds)), counts, None)


def _exponential(point: Any) -> Json:
    if point.flags & NO_RECORDED_VALUE:
        return (None, None, None, None, (), (), _NO_BUCKETS)
    positive, negative = point.positive, point.negative
    counts = (point.zero_count, *positive.bucket_counts, *negative.bucket_counts)
    _check_counts(point.count, *counts)
    _require(sum(counts) == point.count, "buckets do not add up")
    measured = (_optional(point, name) for name in ("sum", "min", "max"))
    buckets = (
        point.scale,
        point.zero_count,
        float_repr(point.zero_threshold),
        *(positive.offset, tuple(positive.bucket_counts)),
        *(negative.offset, tuple(negative.bucket_counts)),
    )
    return (point.count, *measured, (), (), buckets)


def _summary(point: Any) -> Json:
    if point.flags & NO_RECORDED_VALUE:
        return (None, None, (), ())
    _check_counts(point.count)
    quantiles = [each.quantile for each in point.quantile_values]
    _require(all(0.0 <= quantile <= 1.0 for quantile in quantiles), "quantile is not in [0, 1]")
    values = tuple(float_repr(each.value) for each in point.quantile_values)
    return (point.count, float_repr(point.sum), tuple(map(float_repr, quantiles)), values)


_READERS: Final = {
    "gauge": ("numbers", _number),
    "sum": ("numbers", _number),
    "histogram": ("histograms", _histogram),
    "exponential_histogram": ("histograms", _exponential),
    "summary": ("summaries", _summary),
}


def _exemplar(exemplar: Exemplar, point_time_unix_nano: int, window: Window) -> Json | None:
    """The exemplar as stored; None if it is not stored."""
    kind = exemplar.WhichOneof("value")
    time_unix_nano = exemplar.time_unix_nano or point_time_unix_nano
    if kind is None or not window[0] <= time_unix_nano <= window[1]:
        return None
    try:
        attributes = _attributes(exemplar.filtered_attributes)
    except _InvalidError:
        return None
    ids = exemplar.trace_id.hex(), exemplar.span_id.hex()
    return (time_unix_nano, float_repr(getattr(exemplar, kind)), *ids, attributes)


def _exemplars(point: Any, window: Window) -> list[Json]:
    exemplars = getattr(point, "exemplars", ())
    read = (_exemplar(each, point.time_unix_nano, window) for each in exemplars)
    return [each for each in read if each is not None]


def _metadata(identity: Identity, metric: Metric, urls: tuple[str, str]) -> SeriesMetadata:
    def first_text(point_key: str, resource_keys: tuple[str, ...]) -> str:
        texts = [_text(identity.attributes, point_key)]
        texts += [_text(identity.resource, key) for key in (point_key, *resource_keys)]
        return next((text for text in texts if text), "default")

    return SeriesMetadata(
        first_text("cluster_id", _CLUSTER_KEYS),
        first_text("node_id", _NODE_KEYS),
        _text(identity.resource, "service.name"),
        metric.description,
        *urls,
    )


class _Reader:
    """Collects the rows of one request.

    Of points with one series, microsecond and start the one with the largest value is kept.
    """

    def __init__(self, window: Window) -> None:
        self.expected = Expected()
        self._window = window
        self._kept: dict[tuple[Identity, int, int], tuple[str, Json, list[Json]]] = {}

    def metric(self, metric: Metric, shared: Identity | None, urls: tuple[str, str]) -> None:
        """Read a metric; `shared` is None below an invalid resource or scope."""
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points if kind else ():
            try:
                _require(shared is not None, "resource or scope is invalid")
                _check_times(point, self._window)
                self._point(metric, point, _checked(metric, point, shared), urls)
            except _InvalidError:
                self.expected.rejected[metric.name] += 1

    def _point(self, metric: Metric, point: Any, identity: Identity, urls: tuple[str, str]) -> None:
        table, read = _READERS[identity.type]
        row = (identity, point.time_unix_nano, point.start_time_unix_nano, *read(point))
        key = (identity, point.time_unix_nano // 1000, point.start_time_unix_nano // 1000)
        kept = self._kept.get(key)
        if kept is not None:
            self.expected.rejected[metric.name] += 1
        if kept is None or _rank(kept[1]) <= _rank(row):
            self._kept[key] = (table, row, _exemplars(point, self._window))
        self.expected.metadata.setdefault(identity, set()).add(_metadata(identity, metric, urls))

    def result(self) -> Expected:
        """All rows and rejections."""
        for (identity, _, _), (table, row, exemplars) in self._kept.items():
            getattr(self.expected, table)[row] += 1
            self.expected.exemplars.update((identity, *exemplar) for exemplar in exemplars)
        return self.expected


def _rank(row: Any) -> tuple[float, ...]:
    """A number's value, or the count and sum; a point without a value is below every other."""
    _, _, _, first, *others = row
    if not others:
        value = math.nan if first is None else float(first)
        return (first is not None, not math.isnan(value), 0.0 if math.isnan(value) else value)
    total = -math.inf if others[0] is None else float(others[0])
    is_nan = math.isnan(total)
    return (-1 if first is None else first, is_nan, 0.0 if is_nan else total)


def _checked(metric: Metric, point: Any, shared: Identity | None) -> Identity:
    assert shared is not None
    _require(metric.name != "", "metric has no name")
    return _identity(metric, shared, _attributes(point.attributes))


def _shared(group: Any, scope_metrics: Any) -> Identity | None:
    """The part of the identity in resource and scope; None if one of them is invalid."""
    try:
        resource = _attributes(group.resource.attributes)
        scope = scope_metrics.scope
        scope_attributes = _attributes(scope.attributes)
    except _InvalidError:
        return None
    no_attributes = _object(())
    return Identity(
        "", "", "", None, None, resource, scope.name, scope.version, scope_attributes, no_attributes
    )


def expect(request: ExportMetricsServiceRequest, window: Window = ANY_TIME) -> Expected:
    """What must be stored of the request, and how many points must be rejected."""
    reader = _Reader(window)
    for group in request.resource_metrics:
        for scope_metrics in group.scope_metrics:
            shared = _shared(group, scope_metrics)
            urls = (group.schema_url, scope_metrics.schema_url)
            for metric in scope_metrics.metrics:
                reader.metric(metric, shared, urls)
    return reader.result()
