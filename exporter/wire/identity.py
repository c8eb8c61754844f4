"""From the bytes of resource, scope and attributes to entries of the series cache.

The cache remembers by bytes; what it does not know is parsed here, with the official messages,
once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from exporter.intern import (
    MetricEntry,
    MetricKey,
    Pieces,
    ResourceEntry,
    ScopeEntry,
    SeriesCache,
    SeriesRefusedError,
    WrittenMetric,
)
from exporter.model import MetricType, Temporality
from exporter.wire.attributes import (
    InvalidAttributesError,
    canonical_json,
    plain,
    texts,
)

__all__ = [
    "LONGEST_JSON",
    "METRIC_TYPES",
    "POINT_MESSAGES",
    "is_only_attributes",
    "metric_entry",
    "metric_fields",
    "resource_entry",
    "scope_entry",
    "series_id_of",
]

# Name of the field in Metric's oneof -> name in the model; here they are the same.
METRIC_TYPES: Final[dict[str, MetricType]] = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponential_histogram": "exponential_histogram",
    "summary": "summary",
}
POINT_MESSAGES: Final[dict[MetricType, Any]] = {
    "gauge": NumberDataPoint,
    "sum": NumberDataPoint,
    "histogram": HistogramDataPoint,
    "exponential_histogram": ExponentialHistogramDataPoint,
    "summary": SummaryDataPoint,
}
_TEMPORALITIES: Final[dict[int, Temporality]] = {
    AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA: "delta",
    AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE: "cumulative",
}
_HAS_TEMPORALITY: Final = frozenset({"sum", "histogram", "exponential_histogram"})
# Characters of a resource or scope. Every series repeats them, so that a request of 1 MiB with one
# large resource and a thousand small metrics would make 1 GiB of definitions.
LONGEST_JSON: Final = 64 * 1024
# NumberDataPoint.attributes: field 7, length-delimited.
_ATTRIBUTES_TAG: Final = 0x3A


def resource_entry(cache: SeriesCache, pieces: Pieces, schema_url: str) -> ResourceEntry:
    """The cached entry of a resource, made on first sight.

    Args:
        cache: where it is remembered.
        pieces: the serialized Resource; several where a sender split it, which protobuf merges.
            Pieces that together are known may still be broken one by one, so each way of
            splitting is an entry of its own.
        schema_url: that of the ResourceMetrics.
    """
    entry = cache.resource(pieces, schema_url)
    if entry is None:
        message = Resource.FromString(b"".join(pieces))
        attributes, refusal = _attributes("resource", message.attributes)
        json = canonical_json(attributes)
        if len(json) > LONGEST_JSON:
            attributes, json, refusal = {}, "{}", _too_long("resource", json)
        entry = ResourceEntry(json, schema_url, texts(attributes), refusal)
        cache.add_resource(pieces, schema_url, entry)
    return entry


def scope_entry(
    cache: SeriesCache, resource: ResourceEntry, pieces: Pieces, schema_url: str
) -> ScopeEntry:
    """The cached entry of a scope below a resource, made on first sight; see `resource_entry`."""
    entry = resource.scopes.get((pieces, schema_url))
    if entry is None:
        scope = InstrumentationScope.FromString(b"".join(pieces))
        attributes, refusal = _attributes("scope", scope.attributes)
        json = canonical_json(
            {"name": scope.name, "version": scope.version, "attributes": attributes}
        )
        if len(json) > LONGEST_JSON:
            json, refusal = "{}", _too_long("scope", json)
        entry = ScopeEntry(resource, json, schema_url, resource.refusal or refusal)
        cache.remember(resource.scopes, (pieces, schema_url), entry)
        cache.count_large(resource, sum(map(len, pieces)) + len(json))
    return entry


def _too_long(owner: str, json: str) -> str:
    return f"{owner} attributes take {len(json)} characters as JSON, more than {LONGEST_JSON}"


def _attributes(owner: str, attributes: Iterable[KeyValue]) -> tuple[dict[str, Any], str | None]:
    # A resource or scope that cannot be stored refuses every point below it.
    try:
        return plain(attributes), None
    except InvalidAttributesError as exc:
        return {}, f"{owner} {exc}"


def metric_entry(
    cache: SeriesCache, scope: ScopeEntry, metric: Any, type_name: str, data: Any
) -> MetricEntry:
    """The cached entry of a metric below a scope, made on first sight.

    Args:
        cache: where it is remembered.
        scope: the scope that the metric stands in.
        metric: a Metric, official or lazy.
        type_name: which field of its oneof is set.
        data: that field's message.
    """
    written = metric_fields(metric, type_name, data)
    entry = scope.metrics.get(written)
    if entry is None:
        *_, code, is_monotonic = written
        key = MetricKey(
            metric.name,
            METRIC_TYPES[type_name],
            metric.unit,
            metric.description,
            _TEMPORALITIES.get(code),
            is_monotonic,
        )
        entry = MetricEntry(scope, key, scope.refusal or _refusal(key, code))
        cache.remember(scope.metrics, written, entry)
        cache.count_large(scope.resource, len(key.name) + len(key.unit) + len(key.description))
    return entry


def metric_fields(metric: Any, type_name: str, data: Any) -> WrittenMetric:
    """What a metric is remembered by below its scope: its fields as they are written."""
    code = data.aggregation_temporality if type_name in _HAS_TEMPORALITY else 0
    is_monotonic = data.is_monotonic if type_name == "sum" else None
    return metric.name, type_name, metric.unit, metric.description, code, is_monotonic


def _refusal(key: MetricKey, temporality_code: int) -> str | None:
    if not key.name:
        return "the metric has no name"
    if key.type in _HAS_TEMPORALITY and key.temporality is None:
        return f"aggregation_temporality is {temporality_code}, not 1 (delta) or 2 (cumulative)"
    return None


def series_id_of(cache: SeriesCache, metric: MetricEntry, attributes: Iterable[KeyValue]) -> int:
    """The series id for the attributes of any kind of point.

    Raises:
        InvalidAttributesError: these attributes cannot be stored.
    """
    raw = POINT_MESSAGES[metric.key.type](attributes=attributes).SerializeToString()
    found = metric.series_ids.get(raw)
    return _register(cache, metric, raw) if found is None else found


def _register(cache: SeriesCache, metric: MetricEntry, raw: bytes) -> int:
    attributes = plain(POINT_MESSAGES[metric.key.type].FromString(raw).attributes)
    try:
        series_id = cache.register(metric, canonical_json(attributes), texts(attributes))
    except SeriesRefusedError as exc:
        raise InvalidAttributesError(str(exc)) from exc
    cache.add_series(metric, raw, series_id)
    return series_id


def is_only_attributes(raw: bytes) -> bool:
    """Whether these bytes, cut out of a number point, are attributes and nothing else."""
    position, end = 0, len(raw)
    while position < end:
        if raw[position] != _ATTRIBUTES_TAG:
            return False
        length = shift = 0
        while True:
            position += 1
            if position == end or shift > 28:
                return False
            length |= (raw[position] & 0x7F) << shift
            shift += 7
            if raw[position] < 0x80:
                break
        position += 1 + length
    return position == end
