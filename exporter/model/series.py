"""The definition of a series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricType = Literal["gauge", "sum", "histogram", "exponential_histogram", "summary"]
Temporality = Literal["delta", "cumulative"]


@dataclass(frozen=True, slots=True)
class Series:
    """What identifies a stream of points, and what describes it.

    Attributes:
        series_id: signed 64-bit hash of the identity, the same on every receiver.
        metric_name: the instrument's name.
        metric_type: one of the five OTLP types.
        unit: UCUM unit, "" if the sender gave none.
        description: not part of the identity; a new text replaces the last.
        temporality: None for gauges and summaries.
        is_monotonic: None for everything but sums.
        cluster_id: `exporter.series_cache` says from which attributes.
        node_id: `exporter.series_cache` says from which attributes.
        service_name: resource attribute `service.name`, None if the sender gave none.
        resource: resource attributes as canonical JSON (keys sorted).
        resource_schema_url: "" if the sender gave none; not part of the identity.
        scope: JSON object with the keys name, version and attributes.
        scope_schema_url: "" if the sender gave none; not part of the identity.
        attributes: point attributes as canonical JSON (keys sorted).
    """

    series_id: int
    metric_name: str
    metric_type: MetricType
    unit: str
    description: str
    temporality: Temporality | None
    is_monotonic: bool | None
    cluster_id: str
    node_id: str
    service_name: str | None
    resource: str
    resource_schema_url: str
    scope: str
    scope_schema_url: str
    attributes: str
