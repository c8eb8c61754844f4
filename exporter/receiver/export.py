"""The OTLP services: the bytes of a message to `submit`, its outcome to a status.

Every outcome is a status that clients understand. An exception that escaped would become UNKNOWN,
upon which they drop the data (OTLP specification, "Failures").
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, TypeVar

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from exporter.errors import ExporterError, PermanentError
from exporter.receiver.message_timeout import MessageDeadlines
from exporter.receiver.refusals import Refusal, abort, refusal_of
from exporter.wire import Rejections

Submit = Callable[[bytes], Rejections]
# Entered before a message is received; raises an ExporterError if there is no room for one.
Admit = Callable[[], AbstractContextManager[None]]
Method = Callable[[Iterator[bytes], grpc.ServicerContext], bytes]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_COLLECTOR: Final = "opentelemetry.proto.collector"
METRICS_SERVICE: Final = f"{_COLLECTOR}.metrics.v1.MetricsService"
LOGS_SERVICE: Final = f"{_COLLECTOR}.logs.v1.LogsService"
_TRACE_SERVICE: Final = f"{_COLLECTOR}.trace.v1.TraceService"


def export_methods(
    submit: Submit | None, submit_logs: Submit | None, admit: Admit, deadlines: MessageDeadlines
) -> dict[str, Method]:
    """The methods of the signals that are taken, by path.

    Args:
        submit: takes the messages of metrics; None if they are not taken.
        submit_logs: takes the messages of logs; None if they are not taken.
        admit: makes room for a message.
        deadlines: receives the message of a request.
    """
    signals = (
        (METRICS_SERVICE, submit, _metrics_response),
        (LOGS_SERVICE, submit_logs, _logs_response),
    )
    return {
        f"/{service}/Export": _export(submit_message, admit, deadlines, response)
        for service, submit_message, response in signals
        if submit_message is not None
    }


def refused_methods(*, takes_metrics: bool, takes_logs: bool) -> dict[str, Refusal]:
    """What the methods of signals that are not taken are answered, by path."""
    taken = " and ".join(["metrics"] * takes_metrics + ["cost events"] * takes_logs)
    refused = {"traces": (_TRACE_SERVICE, "")}
    if not takes_metrics:
        remedy = "add a pipeline for metrics to its configuration, or "
        refused["metrics"] = (METRICS_SERVICE, remedy)
    if not takes_logs:
        refused["logs"] = (LOGS_SERVICE, "")
    return {
        f"/{service}/Export": Refusal(
            grpc.StatusCode.UNIMPLEMENTED,
            f"this receiver takes {taken}; {remedy}point the exporter for {signal} elsewhere",
        )
        for signal, (service, remedy) in refused.items()
    }


def _export(
    submit: Submit,
    admit: Admit,
    deadlines: MessageDeadlines,
    response: Callable[[Rejections], bytes],
) -> Method:
    def export(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        admitted = _call_or_refuse(admit, 0)
        if isinstance(admitted, Refusal):
            abort(context, admitted)
        with admitted:
            message = deadlines.message(messages, context)
            outcome = _call_or_refuse(partial(submit, message), len(message))
        if isinstance(outcome, Refusal):
            abort(context, outcome)
        # Empty if nothing is rejected: partial_success must stay unset.
        return response(outcome) if outcome.counts else b""

    return export


def _call_or_refuse(step: Callable[[], _T], message_bytes: int) -> _T | Refusal:
    try:
        return step()
    except PermanentError as exc:
        return refusal_of(grpc.StatusCode.INVALID_ARGUMENT, exc)
    except ExporterError as exc:
        return refusal_of(grpc.StatusCode.UNAVAILABLE, exc)
    except Exception as exc:  # noqa: BLE001 - an escaped one becomes UNKNOWN
        # A bug of ours: retryable, so that the sender keeps its data.
        _log.exception("a request of %d bytes could not be taken", message_bytes)
        return refusal_of(grpc.StatusCode.UNAVAILABLE, exc)


def _metrics_response(rejections: Rejections) -> bytes:
    return ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(
            rejected_data_points=rejections.total, error_message=rejections.message()
        )
    ).SerializeToString()


def _logs_response(rejections: Rejections) -> bytes:
    return ExportLogsServiceResponse(
        partial_success=ExportLogsPartialSuccess(
            rejected_log_records=rejections.total, error_message=rejections.message()
        )
    ).SerializeToString()
