"""Refuses large requests that are made of next to nothing but messages.

A message of two bytes takes 240 once it is parsed: a request of 64 MiB could so take 8 GiB. The
count of metrics, and of what is around them, tells before anything is parsed. Inside of a metric
nothing grows that much: at most 60 times (docs/robustness.md).

Pure. Requests that are not large are not looked at, so that the usual ones pay nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exporter.errors import DecodeError
from exporter.wire.walk import BYTES, UnwalkableError, fields

__all__ = ["LARGE_BYTES", "check_shape"]

# A request of 1,000 points has 60 to 250 KB. What is smaller can take 60 MB at most.
LARGE_BYTES: Final = 256 * 1024
# A metric with one point and the shortest name has 34.
_LEAST_BYTES_OF_A_FIELD: Final = 24
# Field numbers of resource_metrics, of scope_metrics in it, and of metrics in that.
_PATH: Final = (1, 2)


def check_shape(data: bytes) -> None:
    """Check that a request, if it is large, has no more fields than its size makes plausible.

    Raises:
        DecodeError: it has more, or its fields cannot be told apart.
    """
    if len(data) <= LARGE_BYTES:
        return
    left = len(data) // _LEAST_BYTES_OF_A_FIELD
    try:
        for _ in _outer_fields(data, 0, len(data), _PATH):
            left -= 1
            if left < 0:
                raise DecodeError(
                    f"cannot take {len(data)} bytes: they hold a resource, scope or metric, or an "
                    f"unknown field, for every {_LEAST_BYTES_OF_A_FIELD} bytes; send less at once"
                )
    except UnwalkableError as exc:
        raise DecodeError(
            f"cannot decode {len(data)} bytes as an ExportMetricsServiceRequest: a field is cut "
            "off, or a group, which OTLP has nowhere"
        ) from exc


def _outer_fields(data: bytes, start: int, end: int, path: tuple[int, ...]) -> Iterator[None]:
    for field in fields(data, start, end):
        yield
        if path and field.number == path[0] and field.wire_type == BYTES:
            yield from _outer_fields(data, field.start, field.end, path[1:])
