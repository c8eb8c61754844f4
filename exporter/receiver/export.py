"""The OTLP services: bytes -> submit, outcome -> status code. Knows nothing of what is stored.

Every outcome is a status that clients understand: an exception that escaped would become UNKNOWN,
upon which they drop the data (OTLP specification, "Failures").
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from exporter.errors import ExporterError, PermanentError
from exporter.receiver.arrivals import Arrivals
from exporter.receiver.replies import Refusal, abort, refusal
from exporter.wire import Rejections

__all__ = ["METRICS_SERVICE", "Behaviour", "metrics_method", "other_methods"]

Behaviour = Callable[[Iterator[bytes], grpc.ServicerContext], bytes]

_log = logging.getLogger(__name__)

_COLLECTOR: Final = "opentelemetry.proto.collector"
METRICS_SERVICE: Final = f"{_COLLECTOR}.metrics.v1.MetricsService"
_OTHER_SERVICES: Final = {
    "logs": f"{_COLLECTOR}.logs.v1.LogsService",
    "traces": f"{_COLLECTOR}.trace.v1.TraceService",
}


def metrics_method(
    submit: Callable[[bytes], Rejections], arrivals: Arrivals
) -> Mapping[str, Behaviour]:
    """The method that takes metrics, by its path."""

    def export(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        outcome = _answer(submit, arrivals.message(messages, context))
        if isinstance(outcome, Refusal):
            abort(context, outcome)
        return outcome

    return {f"/{METRICS_SERVICE}/Export": export}


def other_methods() -> Mapping[str, Refusal]:
    """What the methods for other signals are answered, by path."""
    return {
        f"/{service}/Export": Refusal(
            grpc.StatusCode.UNIMPLEMENTED,
            f"this receiver takes metrics; point the exporter for {signal} elsewhere",
        )
        for signal, service in _OTHER_SERVICES.items()
    }


def _answer(submit: Callable[[bytes], Rejections], request: bytes) -> bytes | Refusal:
    try:
        rejections = submit(request)
    except PermanentError as exc:
        return refusal(grpc.StatusCode.INVALID_ARGUMENT, exc)
    except ExporterError as exc:
        return refusal(grpc.StatusCode.UNAVAILABLE, exc)
    except Exception as exc:  # noqa: BLE001 - an escaped one becomes UNKNOWN
        # A fault of ours: retryable, so that the sender keeps what it has.
        _log.exception("a request of %d bytes could not be taken", len(request))
        return refusal(grpc.StatusCode.UNAVAILABLE, exc)
    return _success(rejections)


def _success(rejections: Rejections) -> bytes:
    if not rejections.counts:
        return b""  # an empty response: partial_success must stay unset
    return ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(
            rejected_data_points=rejections.total, error_message=rejections.message()
        )
    ).SerializeToString()
