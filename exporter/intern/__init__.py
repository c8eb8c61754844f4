"""Identity -> Series: which stream of points is this, and has its definition been handed on?

A bounded cache in three steps, each keyed by what the wire offers: resource bytes, scope bytes,
then the fields of a metric. The last step maps the bytes of a point's attributes to a series id,
so that the commonest point costs one dictionary look-up. Nothing here parses a message: the
caller brings canonical values when a look-up misses.

Not thread-safe: the pipeline calls under its lock.
"""

from exporter.intern.cache import SeriesCache, SeriesRefusedError
from exporter.intern.entries import (
    MetricEntry,
    MetricKey,
    Pieces,
    ResourceEntry,
    ScopeEntry,
    WrittenMetric,
    identity_key,
)
from exporter.intern.locating import CLUSTER_ID_ATTRIBUTES, NODE_ID_ATTRIBUTES, locate
from exporter.intern.registration import Registration

__all__ = [
    "CLUSTER_ID_ATTRIBUTES",
    "NODE_ID_ATTRIBUTES",
    "MetricEntry",
    "MetricKey",
    "Pieces",
    "Registration",
    "ResourceEntry",
    "ScopeEntry",
    "SeriesCache",
    "SeriesRefusedError",
    "WrittenMetric",
    "identity_key",
    "locate",
]
