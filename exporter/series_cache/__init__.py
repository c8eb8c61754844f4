"""The series cache: maps the bytes of resource, scope, metric and attributes to series ids.

A bounded cache with one level for each part of an OTLP message, so that a point of a known series
costs one dictionary look-up. It parses no message: on a miss the caller passes canonical values.
It is not thread-safe; the pipeline calls it under its lock.
"""

from exporter.series_cache.cache import CacheTransaction, SeriesCache, SeriesRefusedError
from exporter.series_cache.entries import (
    CLUSTER_ID_ATTRIBUTES,
    NODE_ID_ATTRIBUTES,
    Fragments,
    MetricCacheKey,
    MetricEntry,
    MetricKey,
    ResourceEntry,
    ScopeEntry,
    cluster_or_node_id,
    identity_key,
)

__all__ = [
    "CLUSTER_ID_ATTRIBUTES",
    "NODE_ID_ATTRIBUTES",
    "CacheTransaction",
    "Fragments",
    "MetricCacheKey",
    "MetricEntry",
    "MetricKey",
    "ResourceEntry",
    "ScopeEntry",
    "SeriesCache",
    "SeriesRefusedError",
    "cluster_or_node_id",
    "identity_key",
]
