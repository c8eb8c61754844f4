"""Makes entries of the series cache from the bytes of resource, scope, metric and attributes.

Both decoders use it. The cache is keyed by bytes; on a miss the bytes are parsed here, once, with
the official messages.
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

from exporter.json_text import canonical_json
from exporter.model import MetricType, Temporality
from exporter.series_cache import (
    Fragments,
    MetricCacheKey,
    MetricEntry,
    MetricKey,
    ResourceEntry,
    ScopeEntry,
    SeriesCache,
    SeriesRefusedError,
)
from exporter.wire.attributes import InvalidAttributesError, attribute_texts, attributes_to_dict

# Name of the field in Metric's oneof, which is also the type in the model -> message of a point.
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
_TYPES_WITH_TEMPORALITY: Final = frozenset({"sum", "histogram", "exponential_histogram"})
# Limit for the JSON of a resource or a scope. Every series repeats it: without the limit a request
# of 1 MiB with one large resource and a thousand small metrics would make 1 GiB of definitions.
MAX_JSON_CHARACTERS: Final = 64 * 1024


def resource_entry(cache: SeriesCache, fragments: Fragments, schema_url: str) -> ResourceEntry:
    """The cached entry of a resource, made when the resource is seen first.

    Args:
        cache: the cache that holds the entry.
        fragments: the serialized Resource, in as many fragments as the sender wrote. They are the
            key as they are: if their concatenation is a valid message, each of them alone may
            still be invalid.
        schema_url: of the ResourceMetrics message.
    """
    entry = cache.get_resource(fragments, schema_url)
    if entry is None:
        message = Resource.FromString(b"".join(fragments))
        attributes, reason = _read_attributes("resource", message.attributes)
        json = canonical_json(attributes)
        if len(json) > MAX_JSON_CHARACTERS:
            attributes, json, reason = {}, "{}", _too_long("resource", json)
        entry = ResourceEntry(json, schema_url, attribute_texts(attributes), reason)
        cache.add_resource(fragments, schema_url, entry)
    return entry


def scope_entry(
    cache: SeriesCache, resource: ResourceEntry, fragments: Fragments, schema_url: str
) -> ScopeEntry:
    """The cached entry of a scope below a resource; arguments as for `resource_entry`."""
    entry = resource.scopes.get((fragments, schema_url))
    if entry is None:
        scope = InstrumentationScope.FromString(b"".join(fragments))
        attributes, reason = _read_attributes("scope", scope.attributes)
        json = canonical_json(
            {"name": scope.name, "version": scope.version, "attributes": attributes}
        )
        if len(json) > MAX_JSON_CHARACTERS:
            json, reason = "{}", _too_long("scope", json)
        entry = ScopeEntry(resource, json, schema_url, resource.rejection_reason or reason)
        cache.add_entry(resource.scopes, (fragments, schema_url), entry)
        cache.count_text(resource, sum(map(len, fragments)) + len(json))
    return entry


def _too_long(owner: str, json: str) -> str:
    return (
        f"{owner} attributes take {len(json)} characters as JSON, more than {MAX_JSON_CHARACTERS}"
    )


def _read_attributes(
    owner: str, attributes: Iterable[KeyValue]
) -> tuple[dict[str, Any], str | None]:
    # An invalid resource or scope rejects every point below it, not the request.
    try:
        return attributes_to_dict(attributes), None
    except InvalidAttributesError as exc:
        return {}, f"{owner} {exc}"


def metric_entry(
    cache: SeriesCache, scope: ScopeEntry, metric: Any, type_name: MetricType, data: Any
) -> MetricEntry:
    """The cached entry of a metric below a scope, made when the metric is seen first.

    Args:
        cache: the cache that holds the entry.
        scope: the scope of the metric.
        metric: a Metric, official or lazy.
        type_name: which field of its oneof is set.
        data: the message in that field.
    """
    cache_key = metric_cache_key(metric, type_name, data)
    entry = scope.metrics.get(cache_key)
    if entry is None:
        *_, code, is_monotonic = cache_key
        temporality = _TEMPORALITIES.get(code)
        key = MetricKey(
            metric.name, type_name, metric.unit, metric.description, temporality, is_monotonic
        )
        reason = scope.rejection_reason or _rejection_reason(key, code)
        entry = MetricEntry(scope, key, reason)
        cache.add_entry(scope.metrics, cache_key, entry)
        cache.count_text(scope.resource, len(key.name) + len(key.unit) + len(key.description))
    return entry


def metric_cache_key(metric: Any, type_name: str, data: Any) -> MetricCacheKey:
    """The key of a metric below its scope: its fields as received."""
    code = data.aggregation_temporality if type_name in _TYPES_WITH_TEMPORALITY else 0
    is_monotonic = data.is_monotonic if type_name == "sum" else None
    return metric.name, type_name, metric.unit, metric.description, code, is_monotonic


def _rejection_reason(key: MetricKey, temporality_code: int) -> str | None:
    if not key.name:
        return "the metric has no name"
    if key.type in _TYPES_WITH_TEMPORALITY and key.temporality is None:
        return f"aggregation_temporality is {temporality_code}, not 1 (delta) or 2 (cumulative)"
    return None


def series_id_of(cache: SeriesCache, metric: MetricEntry, attributes: Iterable[KeyValue]) -> int:
    """The series id for the attributes of a point of any type; registers a new series.

    Raises:
        InvalidAttributesError: the attributes cannot be stored, or the cache refuses the series.
    """
    message = POINT_MESSAGES[metric.key.type](attributes=attributes)
    raw: bytes = message.SerializeToString()
    series_id = metric.series_ids.get(raw)
    if series_id is not None:
        return series_id
    values = attributes_to_dict(message.attributes)
    try:
        series_id = cache.register(metric, canonical_json(values), attribute_texts(values))
    except SeriesRefusedError as exc:
        raise InvalidAttributesError(str(exc)) from exc
    cache.add_series_id(metric, raw, series_id)
    return series_id
