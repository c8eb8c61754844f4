"""Cost queries: the report of a month and others, against a plain table.

The plain table has the same rows and a btree on the time, built after loading; SQL computes the
same sums from it. Our side uses `exporter.query`, and for the report the function of the command
`report`. The roll-ups of TimescaleDB are refreshed, as its jobs would have done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import psycopg2

from benchmarks.databases import POSTGRESQL, TIMESCALEDB, Database
from benchmarks.measure import Result, side_by_side
from benchmarks.options import Options
from benchmarks.servers import fresh_store
from benchmarks.stored_rows import END_UNIX_NANO
from exporter.backends.base import Backend
from exporter.backends.timescaledb.rollups import ROLLUPS
from exporter.cli.report import cost_report
from exporter.model import Batch, CostEntry
from exporter.query import Reader

_Cursor = psycopg2.extensions.cursor
# The answer of either side: groups and their sums.
_Sums = set[tuple[Any, ...]]

_ROUNDS: Final = 5
_TARGET: Final = 0.5
_DAY: Final = 86_400
_DAYS: Final = 60
_END: Final = END_UNIX_NANO // 1_000_000_000 // _DAY * _DAY
_START: Final = _END - 30 * _DAY
_NEWEST: Final = 1_000
_RESOURCES: Final = 500
_CATEGORY: Final = "category-3"
_COLUMNS: Final = """
    "timestamp", entry_id, resource_id, category, amount, currency, region, cluster_id, node_id,
    service_name, tags, description, billing_period, source, source_name, period_end"""
_FILL: Final = f"""
    INSERT INTO cost_entries ({_COLUMNS})
    SELECT to_timestamp(%(end)s - %(length)s::float * (%(rows)s - at) / %(rows)s), 'entry-' || at,
        'resource-' || of, 'category-' || of %% 7, (at::bigint * 37 %% 10007) / 1000.0, 'USD',
        'region-' || of %% 3, 'cluster-' || of %% 5, 'node-' || of %% 50, 'checkout',
        jsonb_build_object('team', 'team-' || of %% 20), '', '2023-11', 'api', '',
        to_timestamp(%(end)s - %(length)s::float * (%(rows)s - at) / %(rows)s)
    FROM generate_series(0, %(rows)s - 1) AS at,
        LATERAL (SELECT at %% %(resources)s AS of) AS spread
"""  # noqa: S608 - names that are written above
_PLAIN: Final = f"""
    CREATE TABLE plain_costs AS SELECT {_COLUMNS} FROM cost_entries;
    CREATE INDEX ON plain_costs ("timestamp")"""  # noqa: S608 - names that are written above
_ANALYZE: Final = "VACUUM ANALYZE plain_costs"
_TABLES: Final = """
    SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'cost_entries'::regclass"""
_WITHIN: Final = '"timestamp" >= to_timestamp(%s) AND "timestamp" < to_timestamp(%s)'


@dataclass(frozen=True, slots=True)
class _CostQuery:
    """One query in both forms; both return the same answer.

    Attributes:
        name: shown in the results.
        ask: runs it with the reader.
        ask_plain: runs it as SQL.
    """

    name: str
    ask: Callable[[Reader], _Sums]
    ask_plain: Callable[[_Cursor], _Sums]


def run(options: Options) -> list[Result]:
    """Return three results for PostgreSQL, and three for TimescaleDB if a server is named."""
    results = _measure(POSTGRESQL, options.pg_dsn, options.entries)
    if options.timescaledb_dsn is not None:
        results += _measure(TIMESCALEDB[1], options.timescaledb_dsn, options.entries)
    return results


def _measure(database: Database, server: str | None, entries: int) -> list[Result]:
    with fresh_store(database, server) as (backend, cursor):
        _load(backend, cursor, entries)
        if database.is_compressed:
            for rollup in ROLLUPS:
                cursor.execute("CALL refresh_continuous_aggregate(%s, NULL, NULL)", (rollup,))
        return [_compare(database.name, one, backend, cursor, entries) for one in _COST_QUERIES]


def _load(backend: Backend, cursor: _Cursor, entries: int) -> None:
    backend.dry_run(Batch(costs=tuple(_a_day())))  # creates the partitions of the days
    values = {"end": _END, "length": _DAYS * _DAY, "rows": entries, "resources": _RESOURCES}
    cursor.execute(_FILL, values)
    cursor.execute(_PLAIN)
    cursor.execute(_TABLES)
    for (table,) in cursor.fetchall():
        cursor.execute(f"VACUUM ANALYZE {table}")
    cursor.execute(_ANALYZE)


def _a_day() -> Iterable[CostEntry]:
    for day in range(_DAYS + 1):
        time_unix_nano = (_END - day * _DAY) * 1_000_000_000
        yield CostEntry(f"day-{day}", time_unix_nano, "", "", Decimal(1), "USD")


def _compare(
    name: str, question: _CostQuery, backend: Backend, cursor: _Cursor, entries: int
) -> Result:
    reader = Reader(backend)
    assert question.ask(reader) == question.ask_plain(cursor) != set()
    ours, plain = side_by_side(
        lambda: question.ask(reader), lambda: question.ask_plain(cursor), rounds=_ROUNDS
    )
    label = f"{name}: {question.name}"
    return Result(label, entries, ours, "plain table", plain, _TARGET, f"{ours * 1000:.0f} ms")


def _report(reader: Reader) -> _Sums:
    [report] = cost_report(reader, _START, _END, None, top=10_000, filters={}).currencies
    return {
        ("total", report.total),
        ("before", report.previous_total),
        *(("day", int(start), amount) for start, amount in report.buckets),
        *(("category", share.name, share.amount) for share in report.categories),
        *(("resource", share.name, share.amount) for share in report.resources),
    }


def _plain_report(cursor: _Cursor) -> _Sums:
    before = _sums(cursor, "'before'", _START - 30 * _DAY, _START)
    day = "floor(date_part('epoch', \"timestamp\") / 86400)::bigint * 86400"
    days = _sums(cursor, day, label="day")
    categories = _sums(cursor, "category", label="category")
    resources = _sums(cursor, "resource_id", label="resource")
    return before | days | categories | resources | {("total", sum(row[-1] for row in days))}


def _by_tag(reader: Reader) -> _Sums:
    rows = reader.cost_totals(_START, _END, group_by=["team"])
    return {(row["team"], row["amount"]) for row in rows}


def _newest(reader: Reader) -> _Sums:
    rows = reader.query_historical_costs(category=_CATEGORY, limit=_NEWEST)
    return {(row["entry_id"], row["resource_id"], row["amount"]) for row in rows}


def _plain_newest(cursor: _Cursor) -> _Sums:
    cursor.execute(
        f"SELECT {_COLUMNS} FROM plain_costs WHERE category = %s"  # noqa: S608 - as above
        ' ORDER BY "timestamp" DESC, entry_id LIMIT %s',
        (_CATEGORY, _NEWEST),
    )
    return {(row[1], row[2], float(row[4])) for row in cursor}


def _sums(
    cursor: _Cursor, group: str, start: int = _START, end: int = _END, *, label: str = ""
) -> _Sums:
    cursor.execute(
        f"SELECT {group}, sum(amount) FROM plain_costs WHERE {_WITHIN} GROUP BY 1",  # noqa: S608 - literals of this module
        (start, end),
    )
    return {(label, *row) if label else row for row in cursor}


_COST_QUERIES: Final = (
    _CostQuery("cost report of 30 days", _report, _plain_report),
    _CostQuery("costs of 30 days by a tag", _by_tag, lambda cursor: _sums(cursor, "tags->>'team'")),
    _CostQuery("newest 1,000 of a category", _newest, _plain_newest),
)
