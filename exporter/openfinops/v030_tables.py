"""The tables of openfinops 0.3.0 itself, and how a row becomes the record it was made from. Pure.

A row has a column for every common field and the other fields as JSON in `metadata`. Times are Unix
seconds. Its PostgreSQL schema has two of the four tables, with fewer columns (docs/openfinops.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from exporter.errors import RecordRefusedError
from exporter.openfinops.otlp_requests import cost_request, record_request

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class V030Table:
    """One table of openfinops 0.3.0.

    Attributes:
        name: the name of the table.
        metrics: the prefix of the metrics that its records become; "" for costs.
        columns: the columns that hold one field of a record each.
        request: encodes a record as an OTLP request.
        metadata: the SQL expression of the column that holds all other fields.
        json: the columns that hold JSON.
        flags: the columns that hold a boolean as 0 or 1.
        fields: column -> name of the field, where the two differ.
    """

    name: str
    metrics: str
    columns: tuple[str, ...]
    request: Callable[[Mapping[str, Any]], bytes]
    metadata: str = "metadata"
    json: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    fields: Mapping[str, str] = field(default_factory=dict)

    def record(self, values: Values) -> dict[str, Any]:
        """The record that a row was made from.

        Args:
            values: those of `columns`, then `metadata`.

        Raises:
            RecordRefusedError: a JSON column does not hold a JSON object.
        """
        *own, metadata = values
        record = dict(zip(self.columns, own, strict=True))
        record.update((column, _json(column, record[column])) for column in self.json)
        record.update((column, bool(record[column])) for column in self.flags)
        for column, name in self.fields.items():
            record[name] = record.pop(column)
        return {**(_json("metadata", metadata) or {}), **record}


def _json(column: str, text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordRefusedError(f"its {column} is not JSON: {error}") from error
    if value is not None and not isinstance(value, Mapping):
        raise RecordRefusedError(f"its {column} is not a JSON object: {text[:100]}")
    return value


TABLES: Final = (
    V030Table(
        "system_metrics",
        "openfinops.system",
        (
            *("timestamp", "cluster_id", "node_id", "cpu_usage", "memory_usage", "disk_usage"),
            *("gpu_usage", "network_io", "throughput", "latency_p50", "latency_p95"),
            *("latency_p99", "error_rate", "cost_per_hour", "health_status"),
        ),
        partial(record_request, "system"),
        json=frozenset({"network_io"}),
    ),
    V030Table(
        "service_metrics",
        "openfinops.service",
        (
            *("timestamp", "service_name", "status", "uptime", "request_rate", "response_time"),
            *("success_rate", "training_jobs_active"),
        ),
        partial(record_request, "service"),
    ),
    V030Table(
        "alerts",
        "openfinops.alert",
        (
            *("timestamp", "alert_type", "severity", "cluster_id", "resource_id", "value"),
            *("description", "acknowledged", "resolved"),
        ),
        partial(record_request, "alert"),
        flags=frozenset({"acknowledged", "resolved"}),
        fields={"alert_type": "type"},
    ),
    V030Table(
        "cost_entries",
        "",
        (
            *("timestamp", "entry_id", "resource_id", "category", "amount", "currency", "region"),
            *("tags", "description", "billing_period"),
        ),
        cost_request,
        metadata="NULL",
        json=frozenset({"tags"}),
    ),
)
"""All tables of openfinops 0.3.0; a store may lack some."""
