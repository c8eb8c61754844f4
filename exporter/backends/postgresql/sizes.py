"""How much a PostgreSQL store holds, table by table, from the catalogue; only reads.

Rows of a small partition are counted; those of a large one are what the planner takes them for:
its pages, by the rows that a page had when it was last vacuumed, or by the width of a row. The
oldest and newest times are the bounds of the outermost partitions that have rows.
"""

from __future__ import annotations

import json
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.partitions import FACT_TABLES, partitions_of
from exporter.model import StoreSizes, TableSize

__all__ = ["count_rows_before", "read_sizes"]

_NANOSECONDS_PER_DAY: Final = 86_400_000_000_000
_OTHER_TABLES: Final = ("metric_series", "cost_cursors", "ingest_ledger", "schema_migrations")
# Some ten thousand rows, counted in milliseconds. The planner takes less than ten pages for ten.
_COUNTED_BYTES: Final = 1 << 20


def read_sizes(connection: Connection) -> StoreSizes:
    """The sizes as of about one moment."""
    with transaction(connection) as cursor:
        tables = tuple(_table_size(cursor, table) for table in FACT_TABLES)
        others = sum(_total_bytes(cursor, table) for table in _OTHER_TABLES)
        cursor.execute("SELECT count(*) FROM metric_series")
        [(series,)] = cursor.fetchall()
    return StoreSizes(
        tables=tables,
        series=series,
        total_bytes=others + sum(table.size_bytes or 0 for table in tables),
    )


def count_rows_before(connection: Connection, before_day: int) -> dict[str, int]:
    """Rows in the partitions of earlier days, for each fact table."""
    with transaction(connection) as cursor:
        return {
            table: sum(
                _count(cursor, name)
                for day, name in partitions_of(cursor, table).items()
                if day < before_day
            )
            for table in FACT_TABLES
        }


def _table_size(cursor: Cursor, table: str) -> TableSize:
    partitions = partitions_of(cursor, table)
    rows = {day: _rows(cursor, name) for day, name in partitions.items()}
    filled = [day for day, (number, _) in rows.items() if number]
    return TableSize(
        table=table,
        rows=sum(number for number, _ in rows.values()),
        rows_are_exact=all(exact for _, exact in rows.values()),
        size_bytes=sum(
            _total_bytes(cursor, name.as_string(cursor)) for name in partitions.values()
        ),
        oldest_unix_nano=min(filled) * _NANOSECONDS_PER_DAY if filled else None,
        newest_unix_nano=(max(filled) + 1) * _NANOSECONDS_PER_DAY - 1 if filled else None,
        times_are_exact=not filled,
        partitions=len(partitions),
    )


def _rows(cursor: Cursor, name: sql.Identifier) -> tuple[int, bool]:
    """How many rows a partition has, and whether they were counted."""
    cursor.execute("SELECT pg_relation_size(%s::regclass)", (name.as_string(cursor),))
    [(heap_bytes,)] = cursor.fetchall()
    if heap_bytes <= _COUNTED_BYTES:
        return _count(cursor, name), True
    cursor.execute(sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}").format(name))
    [(text,)] = cursor.fetchall()
    [explained] = json.loads(text)
    return int(explained["Plan"]["Plan Rows"]), False


def _count(cursor: Cursor, name: sql.Identifier) -> int:
    cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
    [(rows,)] = cursor.fetchall()
    return int(rows)


def _total_bytes(cursor: Cursor, name: str) -> int:
    cursor.execute("SELECT pg_total_relation_size(%s::regclass)", (name,))
    [(total_bytes,)] = cursor.fetchall()
    return int(total_bytes)
