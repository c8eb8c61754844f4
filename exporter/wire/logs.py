"""OTLP log records, parsed with the official messages: requests with logs are few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from exporter.errors import DecodeError
from exporter.wire.attributes import InvalidAttributesError, attributes_to_dict
from exporter.wire.time_window import INT64_MAX

_EVENT_NAME: Final = "event.name"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log record.

    Attributes:
        name: the name of the event, "" if it has no name.
        time_unix_nano: when it happened; if that is not set, when it was observed; 0 if neither
            is set.
        attributes: as plain values.
        resource: the attributes of its resource, as plain values.
        record: as it was sent.
        scope: as it was sent.
        rejection_reason: why its attributes or its time cannot be stored, "" if they can.
    """

    name: str
    time_unix_nano: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    record: LogRecord = field(repr=False)
    scope: InstrumentationScope = field(repr=False)
    rejection_reason: str = ""

    @property
    def body_text(self) -> str:
        """The body, "" if it is not a text."""
        return self.record.body.string_value

    def content(self) -> bytes:
        """Record and scope without the record's attributes and observed time.

        The same bytes for the same content. A sender may observe a record that it repeats anew.
        """
        content = LogRecord()
        content.CopyFrom(self.record)
        content.ClearField("observed_time_unix_nano")
        content.ClearField("attributes")
        scope = self.scope.SerializeToString(deterministic=True)
        return scope + content.SerializeToString(deterministic=True)


def decode_logs(data: bytes) -> Iterator[LogEvent]:
    """The records of one serialized ExportLogsServiceRequest, in their order.

    Raises:
        DecodeError: the bytes are not an ExportLogsServiceRequest.
    """
    try:
        request = ExportLogsServiceRequest.FromString(data)
    except ProtobufDecodeError as exc:
        raise DecodeError(
            f"cannot decode {len(data)} bytes as an ExportLogsServiceRequest: {exc}; "
            "the receiver takes OTLP logs in protobuf encoding"
        ) from exc
    for resource_logs in request.resource_logs:
        resource, reason = _read_attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield _event(record, scope_logs.scope, resource, reason)


def _event(
    record: LogRecord,
    scope: InstrumentationScope,
    resource: Mapping[str, Any],
    resource_reason: str,
) -> LogEvent:
    attributes, reason = _read_attributes(record.attributes)
    time_unix_nano = record.time_unix_nano or record.observed_time_unix_nano
    if time_unix_nano > INT64_MAX:
        reason = "its time is later than the year 2262"
    # Before the field event_name existed, senders put the name into an attribute.
    attribute_name = attributes.get(_EVENT_NAME)
    name = record.event_name or (attribute_name if isinstance(attribute_name, str) else "")
    return LogEvent(
        name, time_unix_nano, attributes, resource, record, scope, reason or resource_reason
    )


def _read_attributes(attributes: Iterable[KeyValue]) -> tuple[Mapping[str, Any], str]:
    try:
        return attributes_to_dict(attributes), ""
    except InvalidAttributesError as exc:
        return {}, str(exc)
