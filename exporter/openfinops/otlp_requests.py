"""Records as OTLP requests, so that they are spooled, stored and read like everything else.

A measurement becomes one gauge for each of its numbers (`openfinops.system.cpu_usage`), for
dashboards and SQL, and one point of a gauge for its kind (`openfinops.system`) whose exemplar holds
the record itself as JSON: so no field is lost, whatever its type, and no series is made for a
value that changes. A cost becomes a log record with the event name `openfinops.cost`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from numbers import Number, Real
from typing import Any, Final, Literal

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint, ScopeMetrics

from exporter.errors import QueryError, RecordRefusedError
from exporter.query.times import time_micros

__all__ = ["LAST_MICRO", "Kind", "cost_request", "metric_of", "record_in", "record_request"]

Record = Mapping[str, Any]
Kind = Literal["system", "service", "alert"]

LAST_MICRO: Final = ((1 << 63) - 1) // 1_000
"""The latest time of a record, in microseconds since 1970: in the year 2262."""

_SCOPE: Final = "exporter.openfinops"
_RECORD: Final = "record"
_COST_EVENT: Final = "openfinops.cost"
_IDENTITY: Final[Mapping[Kind, tuple[str, ...]]] = {
    "system": ("cluster_id", "node_id"),
    "service": ("service_name",),
    "alert": ("type", "severity", "cluster_id", "resource_id"),
}
# None for money: a gauge in USD/h would be taken for a cost of its own.
_UNITS: Final = {
    "cpu_usage": "%",
    "memory_usage": "%",
    "disk_usage": "%",
    "gpu_usage": "%",
    "error_rate": "%",
    "success_rate": "%",
    "latency_p50": "ms",
    "latency_p95": "ms",
    "latency_p99": "ms",
    "response_time": "ms",
    "uptime": "s",
    "temperature": "Cel",
    "power_consumption": "W",
}


def metric_of(kind: Kind) -> str:
    """The metric whose exemplars hold the records."""
    return f"openfinops.{kind}"


def record_request(kind: Kind, record: Record) -> bytes:
    """A serialized ExportMetricsServiceRequest.

    Raises:
        RecordRefusedError: it has no usable timestamp.
    """
    time_unix_nano = _time(record, kind)
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    if kind == "service":
        name = str(record.get("service_name", ""))
        resource.resource.attributes.append(_text("service.name", name))
    scope = resource.scope_metrics.add()
    scope.scope.name = _SCOPE
    identity = [
        _text(name, _plain_text(record[name]))
        for name in _IDENTITY[kind]
        if record.get(name) not in (None, "")
    ]
    noted = _add(scope, metric_of(kind), identity, time_unix_nano, 1.0).exemplars.add()
    noted.time_unix_nano = time_unix_nano
    noted.as_double = 1.0
    noted.filtered_attributes.append(_text(_RECORD, json.dumps(dict(record), default=_plain)))
    for name, key, value in _numbers(record):
        attributes = identity if key is None else [*identity, _text("key", key)]
        _add(scope, f"{metric_of(kind)}.{name}", attributes, time_unix_nano, value)
    return request.SerializeToString()


def record_in(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The record that an exemplar with these attributes holds."""
    record: dict[str, Any] = json.loads(attributes[_RECORD])
    return record


def cost_request(entry: Record) -> bytes:
    """A serialized ExportLogsServiceRequest with one cost event.

    Raises:
        RecordRefusedError: it has no usable timestamp.
    """
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    scope.scope.name = _SCOPE
    event = scope.log_records.add(event_name=_COST_EVENT, time_unix_nano=_time(entry, "cost entry"))
    for name, value in entry.items():
        if name == "tags":
            tags = event.attributes.add(key=name).value.kvlist_value
            # An empty map is written too: the field is there, and holds nothing.
            tags.SetInParent()
            tags.values.extend(_text(key, _plain_text(tag)) for key, tag in (value or {}).items())
        elif name != "timestamp" and value not in (None, ""):
            event.attributes.append(_text(name, _plain_text(value)))
    return request.SerializeToString()


def _time(record: Record, what: str) -> int:
    try:
        micros = time_micros(record.get("timestamp"), f"timestamp of a {what}")
    except QueryError as error:
        raise RecordRefusedError(str(error)) from error
    if not 0 < micros <= LAST_MICRO:
        raise RecordRefusedError(
            f"timestamp of a {what}: {record['timestamp']!r} is not after 1970 and before 2262; "
            "give epoch seconds"
        )
    return micros * 1_000


def _add(
    scope: ScopeMetrics, name: str, attributes: list[KeyValue], time_unix_nano: int, value: float
) -> NumberDataPoint:
    metric = scope.metrics.add(name=name, unit=_UNITS.get(name.rpartition(".")[2], ""))
    return metric.gauge.data_points.add(
        time_unix_nano=time_unix_nano, as_double=value, attributes=attributes
    )


def _numbers(record: Record) -> Iterator[tuple[str, str | None, float]]:
    """Names, keys within a mapping, and values of what is a number."""
    for name, value in record.items():
        members = value.items() if isinstance(value, Mapping) else [(None, value)]
        for key, member in members:
            number = _number(member)
            if name != "timestamp" and number is not None:
                yield name, None if key is None else str(key), number


def _number(value: object) -> float | None:
    if not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf  # the record has all of its digits


def _plain(value: Any) -> Any:
    """A value that JSON has no word for, as one that it has."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Number) and hasattr(value, "item"):
        return value.item()  # numpy's
    return str(value)


def _plain_text(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    return value if isinstance(value, str) else str(value)


def _text(key: str, value: str) -> KeyValue:
    try:
        attribute = KeyValue(key=key)
        attribute.value.string_value = value
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise RecordRefusedError(f"{key!r}: {value!r} is not valid Unicode") from error
    return attribute
