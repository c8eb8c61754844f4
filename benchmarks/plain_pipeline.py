"""A straightforward pipeline: servicer, protobuf objects, dicts, execute_values.

It is as durable as ours: a request is answered when its rows are committed. It has one wide table
and the index that the first dashboard needs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import psycopg2
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from psycopg2.extras import Json, execute_values

PLAIN_TABLE: Final = "plain_metrics"
_CREATE: Final = f"""
    CREATE TABLE {PLAIN_TABLE} (
        "timestamp" timestamptz NOT NULL, metric_name text NOT NULL, metric_type text NOT NULL,
        unit text NOT NULL, value double precision, start_timestamp timestamptz,
        resource jsonb NOT NULL, attributes jsonb NOT NULL
    );
    CREATE INDEX ON {PLAIN_TABLE} (metric_name, "timestamp")"""
_INSERT: Final = f"INSERT INTO {PLAIN_TABLE} VALUES %s"  # noqa: S608
_TEMPLATE: Final = """(%(timestamp)s, %(metric_name)s, %(metric_type)s, %(unit)s, %(value)s,
    %(start_timestamp)s, %(resource)s, %(attributes)s)"""
_WORKERS: Final = 8
_NANOSECONDS: Final = 1_000_000_000


@contextmanager
def plain_pipeline(dsn: str) -> Iterator[str]:
    """Run the pipeline inside the block; yields its address."""
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(_CREATE)
    connection.close()
    server = grpc.server(futures.ThreadPoolExecutor(_WORKERS))
    add_MetricsServiceServicer_to_server(_Plain(dsn), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class _Plain(MetricsServiceServicer):
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connections = threading.local()

    def Export(  # noqa: N802 - the name in the protocol
        self, request: ExportMetricsServiceRequest, _: grpc.ServicerContext
    ) -> ExportMetricsServiceResponse:
        connection = self._connection()
        with connection, connection.cursor() as cursor:
            execute_values(cursor, _INSERT, _rows(request), _TEMPLATE, page_size=1_000)
        return ExportMetricsServiceResponse()

    def _connection(self) -> psycopg2.extensions.connection:
        if not hasattr(self._connections, "own"):
            self._connections.own = psycopg2.connect(self._dsn)
        own: psycopg2.extensions.connection = self._connections.own
        return own


def _rows(request: ExportMetricsServiceRequest) -> list[dict[str, Any]]:
    rows = []
    for resource_metrics in request.resource_metrics:
        resource = _attributes(resource_metrics.resource.attributes)
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                rows.extend(
                    {
                        "timestamp": _time(point.time_unix_nano),
                        "metric_name": metric.name,
                        "metric_type": kind,
                        "unit": metric.unit,
                        "value": getattr(point, point.WhichOneof("value")),
                        "start_timestamp": _time(point.start_time_unix_nano),
                        "resource": Json(resource),
                        "attributes": Json(_attributes(point.attributes)),
                    }
                    for point in getattr(metric, kind).data_points
                )
    return rows


def _attributes(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one) for one in attributes}


def _value(attribute: KeyValue) -> Any:
    return getattr(attribute.value, attribute.value.WhichOneof("value"))


def _time(unix_nano: int) -> datetime:
    return datetime.fromtimestamp(unix_nano / _NANOSECONDS, UTC)
