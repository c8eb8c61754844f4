"""Refuses large requests with too many messages, before anything is parsed. Pure.

A two-byte message takes 240 bytes once it is parsed, so a request of 64 MiB could take 8 GiB of
memory. The number of metrics, and of the messages around them, is therefore counted first. Inside
a metric memory grows by a factor of 60 at most (docs/robustness.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exporter.errors import DecodeError
from exporter.wire.protobuf_reader import LENGTH_DELIMITED, MalformedMessageError, iter_fields

# A request of 1,000 points has 60 to 250 KB. Smaller requests take at most 60 MB once parsed and
# are not checked, so that usual requests pay nothing.
MAX_UNCHECKED_BYTES: Final = 256 * 1024
# A metric with one point and the shortest possible name has 34 bytes.
_MIN_BYTES_PER_MESSAGE: Final = 24
# Field numbers from the request down to a Metric: resource_metrics = 1, scope_metrics = 2.
_PATH_TO_METRICS: Final = (1, 2)


def check_message_count(data: bytes) -> None:
    """Check that a large request has no more messages than its size makes plausible.

    Raises:
        DecodeError: it has more, or its fields cannot be read.
    """
    if len(data) <= MAX_UNCHECKED_BYTES:
        return
    remaining = len(data) // _MIN_BYTES_PER_MESSAGE
    try:
        for _ in _outer_fields(data, 0, len(data), _PATH_TO_METRICS):
            remaining -= 1
            if remaining < 0:
                raise DecodeError(
                    f"cannot take {len(data)} bytes: they contain a resource, scope, metric or "
                    f"unknown field for every {_MIN_BYTES_PER_MESSAGE} bytes; send smaller requests"
                )
    except MalformedMessageError as exc:
        raise DecodeError(
            f"cannot decode {len(data)} bytes as an ExportMetricsServiceRequest: a field is "
            "truncated, or is a group, which OTLP does not use"
        ) from exc


def _outer_fields(data: bytes, start: int, end: int, path: tuple[int, ...]) -> Iterator[None]:
    for field in iter_fields(data, start, end):
        yield
        if path and field.number == path[0] and field.wire_type == LENGTH_DELIMITED:
            yield from _outer_fields(data, field.start, field.end, path[1:])
