"""The pipeline on a real PostgreSQL: what it counts of what only that database does."""

from __future__ import annotations

import time

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.pipeline import build_pipeline

NOW = time.time_ns()


def request(name: str, node: str) -> bytes:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    for at in range(3):
        one = metric.gauge.data_points.add(time_unix_nano=NOW + at * 1_000_000, as_double=at)
        one.attributes.add(key="node").value.string_value = node
    return message.SerializeToString()


def test_texts_with_a_nul_are_counted_by_series_and_shown(postgresql_database: str) -> None:
    pipeline = build_pipeline(PostgreSQLBackend(postgresql_database), batch_size=1)
    pipeline.start()
    pipeline.submit(request("a", "b"))
    assert pipeline.flush()
    assert pipeline.stats().texts_altered == 0
    for _ in range(2):  # the second with no definition
        pipeline.submit(request("a\0", "b\0"))
        assert pipeline.flush()
    assert pipeline.stats().texts_altered == 2  # a name, and attributes
    assert " texts_altered=2 " in str(pipeline.stats())
    assert pipeline.shutdown()
