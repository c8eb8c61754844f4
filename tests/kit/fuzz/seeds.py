"""Sound requests that fuzzing begins with: captured ones, and made ones in the layouts of encoders.

Made ones are here so that fuzzing works without the captured ones, and has faults of the data
model in it that no encoder would send.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from kit.otlp.encode import LENGTH_DELIMITED, encode, varint
from kit.otlp.layouts import ENCODERS
from kit.otlp.strategies import request_of_all_types
from kit.otlp.violations import VIOLATIONS, nested

__all__ = ["captured", "made"]

_MOST_BYTES: Final = 64 * 1024
# Fields of AnyValue and of ArrayValue.
_ARRAY_VALUE: Final = 5
_VALUES: Final = 1
_FIRST_UNIX_NANO: Final = 1_763_900_000_000_000_000


def captured(corpus: Path | None) -> list[bytes]:
    """Every captured request that is not too large to try often; none where there is no corpus."""
    if corpus is None:
        return []
    paths = sorted(corpus.rglob("*.bin"))
    return [data for path in paths if len(data := path.read_bytes()) <= _MOST_BYTES]


def made() -> list[bytes]:
    """Requests of every type, as every encoder writes them, and with each fault."""
    requests = [
        ExportMetricsServiceRequest(),
        request_of_all_types(),
        _steady(),
        *_faulty(),
        *_deep(),
    ]
    return [*(encode(request, layout) for request in requests for layout in ENCODERS), *_too_deep()]


def _steady() -> ExportMetricsServiceRequest:
    """What a template is learned from: many points of one shape."""
    rng = random.Random(0)
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="host.name").value.string_value = "a"
    metrics = group.scope_metrics.add().metrics
    for name in ("requests", "latency"):
        data = metrics.add(name=name, unit="1").gauge
        for series in range(20):
            point = data.data_points.add(time_unix_nano=_FIRST_UNIX_NANO, as_double=rng.random())
            point.attributes.add(key="series").value.int_value = series
    return request


def _faulty() -> Iterator[ExportMetricsServiceRequest]:
    for fault in VIOLATIONS.values():
        request = request_of_all_types()
        fault(request, 0)
        yield request


def _deep() -> Iterator[ExportMetricsServiceRequest]:
    # The kit builds no deeper ones, because protobuf itself refuses them; `_too_deep` does.
    for levels in (10, 21, 30):
        request = request_of_all_types()
        attribute = request.resource_metrics[0].resource.attributes.add(key="deep")
        attribute.value.CopyFrom(nested(levels, kvlists=bool(levels % 2)))
        yield request


def _too_deep() -> Iterator[bytes]:
    """A resource's attribute with so many arrays, one inside the other."""
    for levels in (32, 48, 50, 90, 99, 101, 5_000):
        value = b"\x18\x01"
        for _ in range(levels):
            value = _delimited(_ARRAY_VALUE, _delimited(_VALUES, value))
        attribute = _delimited(1, _delimited(1, b"deep") + _delimited(2, value))
        yield _delimited(1, _delimited(1, attribute))


def _delimited(number: int, body: bytes) -> bytes:
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(body)) + body
