"""The OTLP services: bytes -> submit, outcome -> status code. Knows nothing of what is stored.

Every outcome is a status that clients understand: an exception that escaped would become UNKNOWN,
upon which they drop the data (OTLP specification, "Failures").
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
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
from exporter.receiver.deadlines import MessageDeadlines
from exporter.receiver.replies import Refusal, abort, refusal
from exporter.wire import Rejections

__all__ = [
    "LOGS_SERVICE",
    "METRICS_SERVICE",
    "Admit",
    "Behaviour",
    "Submit",
    "logs_method",
    "metrics_method",
    "other_methods",
]

Submit = Callable[[bytes], Rejections]
# Entered before a message is received; raises an ExporterError where there is no room for one.
Admit = Callable[[], AbstractContextManager[None]]
Behaviour = Callable[[Iterator[bytes], grpc.ServicerContext], bytes]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_COLLECTOR: Final = "opentelemetry.proto.collector"
METRICS_SERVICE: Final = f"{_COLLECTOR}.metrics.v1.MetricsService"
LOGS_SERVICE: Final = f"{_COLLECTOR}.logs.v1.LogsService"
_TRACE_SERVICE: Final = f"{_COLLECTOR}.trace.v1.TraceService"
_ADD_A_PIPELINE: Final = "add a pipeline for metrics to its configuration"


def metrics_method(
    submit: Submit, admit: Admit, deadlines: MessageDeadlines
) -> Mapping[str, Behaviour]:
    """The method that takes metrics, by its path."""
    return {f"/{METRICS_SERVICE}/Export": _export(submit, admit, deadlines, _metrics_success)}


def logs_method(
    submit: Submit, admit: Admit, deadlines: MessageDeadlines
) -> Mapping[str, Behaviour]:
    """The method that takes logs, by its path."""
    return {f"/{LOGS_SERVICE}/Export": _export(submit, admit, deadlines, _logs_success)}


def other_methods(*, takes_metrics: bool = True, takes_logs: bool) -> Mapping[str, Refusal]:
    """What the methods for signals that are not taken are answered, by path."""
    taken = " and ".join(["metrics"] * takes_metrics + ["cost events"] * takes_logs)
    others = {"traces": (_TRACE_SERVICE, "")}
    if not takes_metrics:
        others["metrics"] = (METRICS_SERVICE, f"{_ADD_A_PIPELINE}, or ")
    if not takes_logs:
        others["logs"] = (LOGS_SERVICE, "")
    return {
        f"/{service}/Export": Refusal(
            grpc.StatusCode.UNIMPLEMENTED,
            f"this receiver takes {taken}; {remedy}point the exporter for {signal} elsewhere",
        )
        for signal, (service, remedy) in others.items()
    }


def _export(
    submit: Submit,
    admit: Admit,
    deadlines: MessageDeadlines,
    success: Callable[[Rejections], bytes],
) -> Behaviour:
    def export(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        admitted = _attempt(admit, 0)
        if isinstance(admitted, Refusal):
            abort(context, admitted)
        with admitted:
            message = deadlines.message(messages, context)
            outcome = _attempt(partial(submit, message), len(message))
        if isinstance(outcome, Refusal):
            abort(context, outcome)
        # An empty response where all is well: partial_success must stay unset.
        return success(outcome) if outcome.counts else b""

    return export


def _attempt(step: Callable[[], _T], message_bytes: int) -> _T | Refusal:
    try:
        return step()
    except PermanentError as exc:
        return refusal(grpc.StatusCode.INVALID_ARGUMENT, exc)
    except ExporterError as exc:
        return refusal(grpc.StatusCode.UNAVAILABLE, exc)
    except Exception as exc:  # noqa: BLE001 - an escaped one becomes UNKNOWN
        # A fault of ours: retryable, so that the sender keeps what it has.
        _log.exception("a request of %d bytes could not be taken", message_bytes)
        return refusal(grpc.StatusCode.UNAVAILABLE, exc)


def _metrics_success(rejections: Rejections) -> bytes:
    return ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(
            rejected_data_points=rejections.total, error_message=rejections.message()
        )
    ).SerializeToString()


def _logs_success(rejections: Rejections) -> bytes:
    return ExportLogsServiceResponse(
        partial_success=ExportLogsPartialSuccess(
            rejected_log_records=rejections.total, error_message=rejections.message()
        )
    ).SerializeToString()
