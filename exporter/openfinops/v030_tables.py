"""The tables that openfinops 0.3.0 itself keeps: their rows as the records that it was given.

Each row has a column for every usual field and the rest as JSON in `metadata`. Times are Unix
seconds. Its PostgreSQL has two of the four tables, and of them stores some columns only
(docs/openfinops.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from exporter.errors import RecordRefusedError
from exporter.openfinops.otlp_requests import cost_request, record_request

__all__ = ["TABLES", "V030Table", "Values"]

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class V030Table:
    """One of its tables.

    Attributes:
        name: of the table.
        metrics: the names of ours that its records become begin with it; "" where they are costs.
        columns: fields of a record, as far as they have a column.
        request: a record as an OTLP request.
        others: the column with fields that have none of their own, as SQL.
        json: which columns hold JSON.
        flags: which hold 0 or 1 for a truth value.
        fields: what a column is called in a record, where that differs.
    """

    name: str
    metrics: str
    columns: tuple[str, ...]
    request: Callable[[Mapping[str, Any]], bytes]
    others: str = "metadata"
    json: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    fields: Mapping[str, str] = field(default_factory=dict)

    def record(self, values: Values) -> dict[str, Any]:
        """The record that a row was made of.

        Args:
            values: of `columns` and of `others`.


        Raises:
            RecordRefusedError: what should be JSON is none.
        """
        *own, others = values
        record = dict(zip(self.columns, own, strict=True))
        record.update((column, _json(column, record[column])) for column in self.json)
        record.update((column, bool(record[column])) for column in self.flags)
        for column, name in self.fields.items():
            record[name] = record.pop(column)
        return {**(_json("metadata", others) or {}), **record}


def _json(column: str, text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordRefusedError(f"its {column} is no JSON: {error}") from error
    if value is not None and not isinstance(value, Mapping):
        raise RecordRefusedError(f"its {column} is no JSON object: {text[:100]}")
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
        others="NULL",
        json=frozenset({"tags"}),
    ),
)
"""All of them; a store need not have each."""
