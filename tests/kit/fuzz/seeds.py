"""Valid requests that fuzzing starts from: captured ones, and generated ones in every layout.

Generated requests make fuzzing work without the captured ones, and contain violations of the data
model that no encoder sends.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from kit.otlp.encode import encode, length_delimited
from kit.otlp.layouts import ENCODERS
from kit.otlp.messages import nested_value, request_of_all_types
from kit.otlp.violations import VIOLATIONS

_MAX_BYTES: Final = 64 * 1024
# Tags of AnyValue.array_value and ArrayValue.values.
_ARRAY_VALUE: Final = 0x2A
_VALUES: Final = 0x0A
_FIRST_UNIX_NANO: Final = 1_763_900_000_000_000_000


def captured_requests(corpus: Path | None) -> list[bytes]:
    """The captured requests that are small enough to repeat often; none without a corpus."""
    if corpus is None:
        return []
    paths = sorted(corpus.rglob("*.bin"))
    return [data for path in paths if len(data := path.read_bytes()) <= _MAX_BYTES]


def generated_requests() -> list[bytes]:
    """Requests with every type of metric and with each violation, in every layout."""
    requests = [
        ExportMetricsServiceRequest(),
        request_of_all_types(),
        _steady(),
        *_violating(),
        *_deep(),
    ]
    return [*(encode(request, layout) for request in requests for layout in ENCODERS), *_too_deep()]


def _steady() -> ExportMetricsServiceRequest:
    """A request that gets a template: many number points."""
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


def _violating() -> Iterator[ExportMetricsServiceRequest]:
    for violation in VIOLATIONS.values():
        request = request_of_all_types()
        violation(request, 0)
        yield request


def _deep() -> Iterator[ExportMetricsServiceRequest]:
    # Protobuf refuses to build deeper messages; `_too_deep` encodes them by hand.
    for levels in (10, 21, 30):
        request = request_of_all_types()
        attribute = request.resource_metrics[0].resource.attributes.add(key="deep")
        attribute.value.CopyFrom(nested_value(levels, kvlists=bool(levels % 2)))
        yield request


def _too_deep() -> Iterator[bytes]:
    """A resource attribute with so many nested arrays."""
    for levels in (32, 48, 50, 90, 99, 101, 5_000):
        value = b"\x18\x01"
        for _ in range(levels):
            value = length_delimited(_ARRAY_VALUE, length_delimited(_VALUES, value))
        pair = length_delimited(0x0A, b"deep") + length_delimited(0x12, value)
        resource = length_delimited(0x0A, pair)
        yield length_delimited(0x0A, length_delimited(0x0A, resource))
