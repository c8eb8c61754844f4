"""Three queries through `exporter.query`, against plain tables.

The plain tables have the same rows, one with a btree on (series_id, timestamp) and one with a btree
on (timestamp, series_id). The indexes are built after loading, which makes them smallest. Both
sides use a driver in this process and return the same dicts. All tables are vacuumed and analyzed,
as autovacuum would have done.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg2

from benchmarks.databases import POSTGRESQL, TIMESCALEDB, Database
from benchmarks.measure import Result
from benchmarks.options import Options
from benchmarks.query_cases import QUERY_CASES, QueryCase
from benchmarks.servers import fresh_store
from benchmarks.stored_rows import END_UNIX_NANO, SERIES, batches
from exporter.backends.base import Backend
from exporter.backends.postgresql.binary_copy import binary_copy_streams
from exporter.query import Reader

_Cursor = psycopg2.extensions.cursor

_ROUNDS: Final = 15
_TARGET: Final = 0.5
_PLAIN: Final = {
    "plain_by_series": '(series_id, "timestamp")',
    "plain_by_time": '("timestamp", series_id)',
}
_CREATE: Final = """
    CREATE TABLE {table} (
        "timestamp" timestamptz NOT NULL, series_id bigint NOT NULL, value double precision,
        start_timestamp timestamptz
    )"""
_COPY: Final = "COPY {table} FROM STDIN (FORMAT binary)"
_PARTITIONS: Final = """
    SELECT inhrelid::regclass::text FROM pg_inherits
    WHERE inhparent = 'system_metrics'::regclass ORDER BY 1"""
# The columnstore policy would have compressed every chunk except the newest.
_COMPRESS: Final = """
    SELECT compress_chunk(chunk)
    FROM show_chunks('system_metrics', older_than => to_timestamp(%s)) AS chunk"""


def run(options: Options) -> list[Result]:
    """Return three results for PostgreSQL, and six for TimescaleDB if a server is named."""
    results = _measure(POSTGRESQL, options.pg_dsn, options.rows)
    if options.timescaledb_dsn is not None:
        for database in TIMESCALEDB:
            results += _measure(database, options.timescaledb_dsn, options.rows)
    return results


def _measure(database: Database, server: str | None, rows: int) -> list[Result]:
    with fresh_store(database, server) as (backend, cursor):
        _load(backend, cursor, rows)
        if database.is_compressed:
            cursor.execute(_COMPRESS, (END_UNIX_NANO // 1_000_000_000 - 86_400,))
        _vacuum(cursor)
        return [_compare(database.name, question, backend, cursor) for question in QUERY_CASES]


def _load(backend: Backend, cursor: _Cursor, rows: int) -> None:
    for table in _PLAIN:
        cursor.execute(_CREATE.format(table=table))
    stored = 0
    for batch in batches(rows):
        stored += backend.write(batch).stored
        for table in _PLAIN:
            for rows_of_pattern in binary_copy_streams(batch.points):
                cursor.copy_expert(_COPY.format(table=table), rows_of_pattern)
    for table, columns in _PLAIN.items():
        cursor.execute(f"CREATE INDEX ON {table} {columns}")
    assert stored == rows


def _vacuum(cursor: _Cursor) -> None:
    # Autovacuum never processes the partitioned parent, so it is left out here as well.
    cursor.execute(_PARTITIONS)
    for table in [*(name for (name,) in cursor.fetchall()), *_PLAIN, "metric_series"]:
        cursor.execute(f"VACUUM ANALYZE {table}")


def _compare(name: str, question: QueryCase, backend: Backend, cursor: _Cursor) -> Result:
    reader = Reader(backend)

    definitions = _definitions(reader)

    def plain(table: str) -> Callable[[], list[dict[str, Any]]]:
        def ask() -> list[dict[str, Any]]:
            cursor.execute(question.plain.format(table=table), question.parameters)
            return [question.row(row, definitions) for row in cursor]

        return ask

    answer = _comparable(question.ask(reader))
    for table in _PLAIN:
        assert answer == _comparable(plain(table)())
    ours, *others = _medians([lambda: question.ask(reader), *map(plain, _PLAIN)])
    better = min(range(len(others)), key=others.__getitem__)
    label = f"{name}: {question.name}"
    return Result(label, len(answer), ours, list(_PLAIN)[better], others[better], _TARGET)


def _definitions(reader: Reader) -> dict[int, dict[str, Any]]:
    """series_id -> the fields that `query_historical_metrics` takes from the series."""
    names = set(reader.query_historical_metrics(limit=1)[0])
    everything = reader.list_series(limit=SERIES)
    return {one["series_id"]: {k: one[k] for k in one if k in names} for one in everything}


def _comparable(answer: Sequence[dict[str, Any]]) -> list[str]:
    """Rows in a fixed order, rounded: the last digits depend on the order of additions."""
    return sorted(repr(sorted((row | {"value": round(row["value"], 6)}).items())) for row in answer)


def _medians(asks: list[Callable[[], object]]) -> list[float]:
    """Median seconds of each; rounds alternate."""
    taken: list[list[float]] = [[] for _ in asks]
    for _ in range(_ROUNDS):
        for times, ask in zip(taken, asks, strict=True):
            began = time.perf_counter()
            ask()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in taken]
