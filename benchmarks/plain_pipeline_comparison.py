"""From gRPC to PostgreSQL, spool on, against a straightforward pipeline.

Both receive the same requests from the same client and write to the same server; the stored sums
must be equal.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from benchmarks.client import seconds_to_send
from benchmarks.databases import POSTGRESQL
from benchmarks.end_to_end import seconds_to_store
from benchmarks.measure import Result
from benchmarks.options import Options
from benchmarks.plain_pipeline import PLAIN_TABLE, plain_pipeline
from benchmarks.servers import postgresql_databases, session
from benchmarks.workload import SHAPES, steady_requests

_REQUESTS: Final = 400
_SENDERS: Final = 4
_BATCH_SIZE: Final = 20_000
_POINTS: Final = 1_000


def run(options: Options) -> list[Result]:
    """Return one result."""
    first, sent = steady_requests(SHAPES[0], _REQUESTS, senders=_SENDERS)
    count = len(sent) * _POINTS
    with postgresql_databases(options.pg_dsn) as databases, tempfile.TemporaryDirectory() as folder:
        with databases.fresh() as dsn:
            ours = seconds_to_store(
                POSTGRESQL.open(dsn),
                sent,
                points=count,
                batch_size=_BATCH_SIZE,
                first=first,
                spool=Path(folder) / "requests.spool",
            )
            stored = _stored(dsn, "system_metrics")
        with databases.fresh() as dsn:
            with plain_pipeline(dsn) as address:
                seconds_to_send(address, first)
                plain = seconds_to_send(address, sent)
            assert _stored(dsn, PLAIN_TABLE) == stored
    return [Result("gRPC to PostgreSQL", count, ours, "plain pipeline", plain, 8.0)]


def _stored(dsn: str, table: str) -> tuple[int, float]:
    with session(dsn) as cursor:
        cursor.execute(f"SELECT count(*), sum(value) FROM {table}")  # noqa: S608
        ((rows, total),) = cursor.fetchall()
    return rows, round(total, 3)
