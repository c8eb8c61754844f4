"""Records as OTLP requests, so that they are spooled, stored and read like all telemetry. Pure.

A measurement becomes one gauge for each of its numbers (`openfinops.system.cpu_usage`), for
dashboards and SQL. It also becomes one point of a gauge for its kind (`openfinops.system`). The
exemplar of that point holds the whole record as JSON: every field is kept whatever its type, and a
changing value creates no series. A cost becomes a log record with the event name `openfinops.cost`.
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
from exporter.time_units import NANOSECONDS_PER_MICROSECOND

Record = Mapping[str, Any]
Kind = Literal["system", "service", "alert"]

LAST_MICROS: Final = ((1 << 63) - 1) // NANOSECONDS_PER_MICROSECOND
"""The latest time of a record, in microseconds since 1970: in the year 2262."""

_SCOPE: Final = "exporter.openfinops"
_RECORD: Final = "record"
_COST_EVENT: Final = "openfinops.cost"
_IDENTITY: Final[Mapping[Kind, tuple[str, ...]]] = {
    "system": ("cluster_id", "node_id"),
    "service": ("service_name",),
    "alert": ("type", "severity", "cluster_id", "resource_id"),
}
# cost_per_hour has no unit: a gauge in USD/h would be counted as a cost of its own.
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
    """The name of the metric whose exemplars hold the records of this kind."""
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
        resource.resource.attributes.append(_attribute("service.name", name))
    scope = resource.scope_metrics.add()
    scope.scope.name = _SCOPE
    identity = [
        _attribute(name, _plain_text(record[name]))
        for name in _IDENTITY[kind]
        if record.get(name) not in (None, "")
    ]
    exemplar = _add(scope, metric_of(kind), identity, time_unix_nano, 1.0).exemplars.add()
    exemplar.time_unix_nano = time_unix_nano
    exemplar.as_double = 1.0
    record_json = json.dumps(dict(record), default=_json_value)
    exemplar.filtered_attributes.append(_attribute(_RECORD, record_json))
    for name, key, value in _numbers(record):
        attributes = identity if key is None else [*identity, _attribute("key", key)]
        _add(scope, f"{metric_of(kind)}.{name}", attributes, time_unix_nano, value)
    return request.SerializeToString()


def record_in(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The record in the attributes of its exemplar."""
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
            # An empty map is written as well, so that the field reads back as an empty dict.
            tags.SetInParent()
            tags.values.extend(
                _attribute(key, _plain_text(tag)) for key, tag in (value or {}).items()
            )
        elif name != "timestamp" and value not in (None, ""):
            event.attributes.append(_attribute(name, _plain_text(value)))
    return request.SerializeToString()


def _time(record: Record, what: str) -> int:
    try:
        micros = time_micros(record.get("timestamp"), f"timestamp of a {what}")
    except QueryError as error:
        raise RecordRefusedError(str(error)) from error
    if not 0 < micros <= LAST_MICROS:
        raise RecordRefusedError(
            f"timestamp of a {what}: {record['timestamp']!r} is outside the years 1970 to 2262; "
            "pass epoch seconds"
        )
    return micros * NANOSECONDS_PER_MICROSECOND


def _add(
    scope: ScopeMetrics, name: str, attributes: list[KeyValue], time_unix_nano: int, value: float
) -> NumberDataPoint:
    metric = scope.metrics.add(name=name, unit=_UNITS.get(name.rpartition(".")[2], ""))
    return metric.gauge.data_points.add(
        time_unix_nano=time_unix_nano, as_double=value, attributes=attributes
    )


def _numbers(record: Record) -> Iterator[tuple[str, str | None, float]]:
    """(field, key within a mapping field or None, value) of every number of the record."""
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
        return math.inf  # the JSON record keeps all digits


def _json_value(value: Any) -> Any:
    """A value of a type that JSON lacks, as one that JSON has."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Number) and hasattr(value, "item"):
        return value.item()  # a numpy scalar
    return str(value)


def _plain_text(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    return value if isinstance(value, str) else str(value)


def _attribute(key: str, value: str) -> KeyValue:
    try:
        attribute = KeyValue(key=key)
        attribute.value.string_value = value
    except UnicodeEncodeError as error:  # a lone surrogate
        raise RecordRefusedError(f"{key!r}: {value!r} is not valid Unicode") from error
    return attribute
