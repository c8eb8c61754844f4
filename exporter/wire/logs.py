"""OTLP bytes -> log records, through the official messages: there are few of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from exporter.errors import DecodeError
from exporter.wire.attributes import InvalidAttributesError, plain

__all__ = ["LogEvent", "decode_logs"]

_INT64_MAX: Final = (1 << 63) - 1
_EVENT_NAME: Final = "event.name"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log record.

    Attributes:
        name: of the event, "" where it has none.
        time_unix_nano: when it happened or, where that is not said, was observed; 0 for neither.
        attributes: as plain values.
        resource: likewise those of its resource.
        refusal: why its attributes or time cannot be kept, "" where they can.
    """

    name: str
    time_unix_nano: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    refusal: str = ""


def decode_logs(data: bytes) -> Iterator[LogEvent]:
    """The records of one serialized ExportLogsServiceRequest, in their order.

    Raises:
        DecodeError: it is not such a request.
    """
    try:
        request = ExportLogsServiceRequest.FromString(data)
    except ProtobufDecodeError as exc:
        raise DecodeError(
            f"cannot decode {len(data)} bytes as an ExportLogsServiceRequest: {exc}; "
            "the receiver takes OTLP logs in protobuf encoding"
        ) from exc
    for resource_logs in request.resource_logs:
        resource, refusal = _plain(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield _event(record, resource, refusal)


def _event(record: LogRecord, resource: Mapping[str, Any], refusal: str) -> LogEvent:
    attributes, own_refusal = _plain(record.attributes)
    time_unix_nano = record.time_unix_nano or record.observed_time_unix_nano
    if time_unix_nano > _INT64_MAX:
        own_refusal = "its time is later than the year 2262"
    named = attributes.get(_EVENT_NAME)
    name = record.event_name or (named if isinstance(named, str) else "")
    return LogEvent(name, time_unix_nano, attributes, resource, own_refusal or refusal)


def _plain(attributes: Any) -> tuple[Mapping[str, Any], str]:
    try:
        return plain(attributes), ""
    except InvalidAttributesError as exc:
        return {}, str(exc)
