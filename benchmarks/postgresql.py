"""PostgreSQL and TimescaleDB: from gRPC to committed rows, against a bare binary COPY.

The baselines copy the same rows, sorted and encoded beforehand, into tables with the same
migrations and indexes. One baseline uses transactions of `batch_size` rows, like the pipeline. The
other sorts everything and copies it at once, so that each index page is visited once; no receiver
can do that. Every commit is durable.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.bare_copy import seconds_to_copy
from benchmarks.databases import POSTGRESQL, TIMESCALEDB, Database
from benchmarks.decoded_batches import batches_of
from benchmarks.end_to_end import seconds_to_store
from benchmarks.measure import Result
from benchmarks.options import Options
from benchmarks.servers import Databases, postgresql_databases, session, started
from benchmarks.workload import SHAPES, steady_requests
from exporter.backends.postgresql.binary_copy import binary_copy_streams
from exporter.model import Points

_REQUESTS: Final = 1_600
_SENDERS: Final = 4
_ROUNDS: Final = 2
_SUMS: Final = """
    SELECT count(*), sum(value), count(DISTINCT series_id) FROM system_metrics
    WHERE "timestamp" >= to_timestamp(%s)"""


def run(options: Options) -> list[Result]:
    """Return three results for PostgreSQL, and six for TimescaleDB if a server is named."""
    work = _Work.prepare()
    with postgresql_databases(options.pg_dsn) as databases:
        results = work.measure(POSTGRESQL, databases)
    if options.timescaledb_dsn is not None:
        with postgresql_databases(options.timescaledb_dsn) as databases:
            results += [
                result for database in TIMESCALEDB for result in work.measure(database, databases)
            ]
    return results


@dataclass(frozen=True, slots=True)
class _Work:
    """The requests, and the same points for a COPY.

    The first two requests of each sender are stored before the measured time: they register the
    series, which a COPY does not do.
    """

    first: Sequence[bytes]
    sent: Sequence[bytes]
    points: Points

    @classmethod
    def prepare(cls) -> _Work:
        first, sent = steady_requests(SHAPES[0], _REQUESTS, senders=_SENDERS)
        batches = batches_of(sent, POSTGRESQL.batch_size)
        return cls(first, sent, Points.concatenate(batch.points for batch in batches))

    def measure(self, database: Database, databases: Databases) -> list[Result]:
        ways = (self._durable, self._end_to_end, self._copy_batches)
        best = [math.inf] * len(ways)
        for _ in range(_ROUNDS):
            for at, way in enumerate(ways):
                best[at] = min(best[at], self._in_fresh(databases, database, way))
        name, count = f"gRPC to {database.name}", len(self.points)
        durable, whole, in_batches = best
        at_once = self._in_fresh(
            databases, database, self._copy_at_once
        )  # one round: it has no target
        target = database.end_to_end_target
        return [
            Result(name, count, durable, "COPY, same batches", in_batches, target),
            Result(f"{name}, spool off", count, whole, "COPY, same batches", in_batches, target),
            Result(f"{name}, spool off", count, whole, "COPY, all at once", at_once, 0.0),
        ]

    def _in_fresh(
        self, databases: Databases, database: Database, way: Callable[[str, Database], float]
    ) -> float:
        with databases.fresh() as dsn:
            seconds = way(dsn, database)
            self._require_all(dsn)
        return seconds

    def _durable(self, dsn: str, database: Database) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return self._end_to_end(dsn, database, Path(folder) / "requests.spool")

    def _end_to_end(self, dsn: str, database: Database, spool: Path | None = None) -> float:
        return seconds_to_store(
            database.open(dsn),
            self.sent,
            points=len(self.points),
            batch_size=database.batch_size,
            first=self.first,
            spool=spool,
        )

    def _copy_batches(self, dsn: str, database: Database) -> float:
        batches = batches_of(self.sent, database.batch_size)
        return self._copy(dsn, database, [batch.points for batch in batches])

    def _copy_at_once(self, dsn: str, database: Database) -> float:
        return self._copy(dsn, database, [self.points])

    def _copy(self, dsn: str, database: Database, parts: Sequence[Points]) -> float:
        with started(database.open(dsn)) as backend:  # creates the tables and the partition
            for batch in batches_of(self.first, database.batch_size):
                backend.write(batch)
        streams = [rows.read() for points in parts for rows in binary_copy_streams(points)]
        with session(dsn) as cursor:
            cursor.execute(database.copy_settings)
            return seconds_to_copy(cursor, streams)

    def _require_all(self, dsn: str) -> None:
        with session(dsn) as cursor:
            cursor.execute(_SUMS, (int(self.points.time_unix_nano.min()) / 1e9,))
            [(rows, total, series)] = cursor.fetchall()
        assert rows == len(self.points)
        assert math.isclose(total, self.points.value.sum(), rel_tol=1e-9)
        assert series == len(np.unique(self.points.series_id))
