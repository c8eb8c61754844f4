"""Status codes of the answers, and what tells clients when to come back. Pure.

Clients drop what they sent upon UNAUTHENTICATED, INVALID_ARGUMENT and UNKNOWN, and keep it upon
UNAVAILABLE (OTLP specification, "Failures"). RESOURCE_EXHAUSTED without RetryInfo means "drop"
as well, so overload is always answered with UNAVAILABLE.
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

__all__ = ["Refusal", "abort", "refusal"]

# Python SDKs give up at once when the asked delay is longer than what is left of their 10 s.
_RETRY_DELAY_SECONDS: Final = 1
# Status details travel in an HTTP/2 header, which peers bound at 8 KiB and more.
_MAX_DETAILS_CHARACTERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken: a status code, and a sentence for the client."""

    code: grpc.StatusCode
    details: str


def refusal(code: grpc.StatusCode, exc: Exception) -> Refusal:
    """A refusal for an exception; the words of one that is not ours stay inside."""
    text = str(exc) if isinstance(exc, ExporterError) else "internal error, see the receiver's log"
    return Refusal(code, text[:_MAX_DETAILS_CHARACTERS])


def abort(context: grpc.ServicerContext, refused: Refusal) -> NoReturn:
    """End a request with its refusal, and with RetryInfo where it may come back."""
    if refused.code is grpc.StatusCode.UNAVAILABLE:
        context.set_trailing_metadata(_retry_metadata(refused.details))
    context.abort(refused.code, refused.details)
    raise AssertionError("abort() raises")


def _retry_metadata(details: str) -> tuple[tuple[str, bytes], ...]:
    # The standard trailer is what Go reads; the Python SDK knows only the second.
    info = RetryInfo(retry_delay=Duration(seconds=_RETRY_DELAY_SECONDS))
    status = Status(code=UNAVAILABLE, message=details)
    status.details.add().Pack(info)
    return (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
    )
