"""How much a PostgreSQL store holds, table by table; only reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.model import StoreSizes, TableSize
from exporter.time_units import NANOSECONDS_PER_DAY

_OTHER_TABLES: Final = (
    "metric_series",
    "cost_streams",
    "ingest_ledger",
    "schema_migrations",
)
# Some ten thousand rows, counted in milliseconds. The estimate is useless for very small tables:
# the planner assumes ten pages for a table with fewer.
_COUNTED_BYTES: Final = 1 << 20


def read_sizes(
    cursor: Cursor, partitions: Mapping[str, Mapping[int, sql.Identifier]]
) -> StoreSizes:
    """The sizes at about one moment.

    The rows of a small partition are counted. For a large partition the number is estimated: pages
    times rows per page. Rows per page come from the last vacuum, or from the width of a row. The
    oldest and newest times are the bounds of the outermost partitions with rows.

    Args:
        cursor: with a transaction open.
        partitions: of each fact table, by their day since 1970.
    """
    tables = [_table_size(cursor, table, days) for table, days in partitions.items()]
    return store_sizes(cursor, tables)


def store_sizes(cursor: Cursor, fact_tables: Sequence[TableSize]) -> StoreSizes:
    """The sizes of the fact tables, with the number of series and the bytes of the other tables."""
    others = sum(_total_bytes(cursor, table) for table in _OTHER_TABLES)
    return StoreSizes(
        tables=tuple(fact_tables),
        series=count_rows(cursor, sql.Identifier("metric_series")),
        total_bytes=others + sum(table.size_bytes or 0 for table in fact_tables),
    )


def count_rows(cursor: Cursor, name: sql.Identifier) -> int:
    """The rows of a table or partition, counted."""
    cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
    [(rows,)] = cursor.fetchall()
    return int(rows)


def _table_size(cursor: Cursor, table: str, partitions: Mapping[int, sql.Identifier]) -> TableSize:
    rows = {day: _rows(cursor, name) for day, name in partitions.items()}
    filled = [day for day, (number, _) in rows.items() if number]
    return TableSize(
        table=table,
        rows=sum(number for number, _ in rows.values()),
        rows_are_exact=all(exact for _, exact in rows.values()),
        size_bytes=sum(
            _total_bytes(cursor, name.as_string(cursor)) for name in partitions.values()
        ),
        oldest_unix_nano=min(filled) * NANOSECONDS_PER_DAY if filled else None,
        newest_unix_nano=(max(filled) + 1) * NANOSECONDS_PER_DAY - 1 if filled else None,
        times_are_exact=not filled,
        partitions=len(partitions),
    )


def _rows(cursor: Cursor, name: sql.Identifier) -> tuple[int, bool]:
    """How many rows a partition has, and whether they were counted."""
    cursor.execute("SELECT pg_relation_size(%s::regclass)", (name.as_string(cursor),))
    [(heap_bytes,)] = cursor.fetchall()
    if heap_bytes <= _COUNTED_BYTES:
        return count_rows(cursor, name), True
    cursor.execute(sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}").format(name))
    [(text,)] = cursor.fetchall()
    [explained] = json.loads(text)
    return int(explained["Plan"]["Plan Rows"]), False


def _total_bytes(cursor: Cursor, name: str) -> int:
    cursor.execute("SELECT pg_total_relation_size(%s::regclass)", (name,))
    [(total_bytes,)] = cursor.fetchall()
    return int(total_bytes)
