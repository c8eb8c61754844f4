"""The status of a refused request, with RetryInfo if the client may send it again. Pure.

Clients drop what they sent upon UNAUTHENTICATED, INVALID_ARGUMENT and UNKNOWN, and keep it upon
UNAVAILABLE (OTLP specification, "Failures"). RESOURCE_EXHAUSTED without RetryInfo makes them drop
it too, so overload is always answered with UNAVAILABLE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import UNAVAILABLE
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from exporter.errors import ExporterError

# Python SDKs give up at once if this is longer than what is left of their timeout of 10 s.
_RETRY_DELAY_SECONDS: Final = 1
# Status details travel in an HTTP/2 header; peers limit it to 8 KiB or more.
_MAX_DETAILS_CHARACTERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken: a status code, and a sentence for the client."""

    code: grpc.StatusCode
    details: str


def refusal_of(code: grpc.StatusCode, exc: Exception) -> Refusal:
    """A refusal for an exception; only the text of an ExporterError reaches the client."""
    text = str(exc) if isinstance(exc, ExporterError) else "internal error, see the receiver's log"
    return Refusal(code, text[:_MAX_DETAILS_CHARACTERS])


def abort(context: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    """End a request with its refusal, and with RetryInfo if it is retryable."""
    if refusal.code is grpc.StatusCode.UNAVAILABLE:
        context.set_trailing_metadata(_retry_metadata(refusal.details))
    context.abort(refusal.code, refusal.details)
    raise AssertionError("abort() raises")


def _retry_metadata(details: str) -> tuple[tuple[str, bytes], ...]:
    # Go reads the standard trailer; the Python SDK knows only the second.
    info = RetryInfo(retry_delay=Duration(seconds=_RETRY_DELAY_SECONDS))
    status = Status(code=UNAVAILABLE, message=details)
    status.details.add().Pack(info)
    return (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
    )
