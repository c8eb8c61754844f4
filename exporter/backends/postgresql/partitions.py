"""One partition a day for each fact table, made by the writer when a time needs it.

`CREATE TABLE ... PARTITION OF` locks the parent against readers and writers; a table made apart
and attached takes SHARE UPDATE EXCLUSIVE, beside which both go on (PostgreSQL documentation,
ALTER TABLE, ATTACH PARTITION).

Dropping one cannot do without locking the parent for a moment: whoever reads or writes holds a
lock on it, and DETACH CONCURRENTLY would leave a partition that takes no rows and bars the way to
a new one for as long as the longest reader reads. So the drop waits for the lock, while writers
wait behind it, for `LOCK_TIMEOUT_MILLISECONDS` at most, and is left to the next cleanup then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

import psycopg2
from psycopg2 import sql
from psycopg2.errors import LockNotAvailable

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.errors import OtherBackendError

__all__ = [
    "FACT_TABLES",
    "LOCK_TIMEOUT_MILLISECONDS",
    "create_partitions",
    "drop_partitions",
    "partitions_of",
    "require_partitioned",
]

_log = logging.getLogger(__name__)

FACT_TABLES: Final = (
    "system_metrics",
    "metric_histograms",
    "metric_summaries",
    "metric_exemplars",
    "cost_entries",
)
LOCK_TIMEOUT_MILLISECONDS: Final = 500
_EPOCH: Final = date(1970, 1, 1)
# Any number that no other program's advisory locks use: "OFOP" as ASCII.
_PARTITION_LOCK: Final = 0x4F464F50
# One for a series over time, one for the newest rows of all. What each costs, and what the others
# that were tried cannot do: docs/decisions/0003-postgresql-writes.md.
_BY_SERIES: Final = 'CREATE INDEX ON {child} (series_id, "timestamp")'
_BY_TIME: Final = 'CREATE INDEX ON {child} ("timestamp")'
# Its parent has indexes, one of them unique, and each partition gets the same when it is attached.
_INDEXED_BY_PARENT: Final = "cost_entries"
_CREATE: Final = """
    CREATE TABLE {child}
    (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"""
_ATTACH: Final = """
    ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES FROM ({begin}) TO ({end})"""
_PARTITIONS: Final = """
    SELECT space.nspname, child.relname
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    JOIN pg_namespace AS space ON space.oid = child.relnamespace
    WHERE inhparent = %s::regclass"""
_SCHEMA_OF: Final = """
    SELECT space.nspname FROM pg_class AS parent
    JOIN pg_namespace AS space ON space.oid = parent.relnamespace
    WHERE parent.oid = %s::regclass"""

# Without the record of migrations the tables are somebody else's, and the migration says so. Not by
# to_regclass(): the session would remember that there is no schema_migrations, also while it waits
# for another program that makes the tables, and then make them again.
_NOT_PARTITIONED: Final = """
    SELECT relname
    FROM pg_class
    WHERE relname = ANY (%s) AND relkind = 'r' AND pg_table_is_visible(oid) AND EXISTS (
        SELECT FROM pg_class AS record
        WHERE record.relname = 'schema_migrations' AND pg_table_is_visible(record.oid)
    )
    ORDER BY array_position(%s, relname::text)"""


def require_partitioned(connection: Connection, location: str) -> None:
    """Check that the fact tables, where they are there, are partitioned tables.

    Raises:
        OtherBackendError: the backend `timescaledb` has made hypertables of them. Rows would go
            in, but nothing would know of their chunks, and retention would never find them.
    """
    with transaction(connection) as cursor:
        cursor.execute(_NOT_PARTITIONED, (list(FACT_TABLES), list(FACT_TABLES)))
        others = [name for (name,) in cursor.fetchall()]
    if others:
        raise OtherBackendError(
            f"postgresql {location}: not partitioned by day, but hypertables as the backend "
            f"timescaledb makes them: {', '.join(others)}; set backend: timescaledb, or name "
            "another database in connection_string, because there is no way back",
            "timescaledb",
        )


def partitions_of(cursor: Cursor, table: str) -> dict[int, sql.Identifier]:
    """The partitions of a fact table, by their day counted from 1970, in order."""
    cursor.execute(_PARTITIONS, (table,))
    found = {}
    for schema, name in cursor.fetchall():
        prefix, _, digits = name.rpartition("_p")
        if prefix == table and len(digits) == 8 and digits.isdecimal():
            found[_day(digits)] = sql.Identifier(schema, name)
    return dict(sorted(found.items()))


def create_partitions(connection: Connection, table: str, days: Iterable[int]) -> set[int]:
    """Make the partitions of these days where they are missing, each in its own transaction.

    Safe when several programs do: one at a time, and each looks again before it makes one.

    Returns:
        The days of all partitions that there are now.
    """
    with transaction(connection) as cursor:
        # A partition is in the catalogue a moment before sessions are told of it, and until they
        # are, they find none for its rows. Locks are let go of only after that.
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_PARTITION_LOCK,))
        known = set(partitions_of(cursor, table))
    for day in sorted(set(days) - known):
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_PARTITION_LOCK,))
            if day not in partitions_of(cursor, table):
                _create(cursor, table, day)
        known.add(day)
    return known


def _create(cursor: Cursor, table: str, day: int) -> None:
    cursor.execute(_SCHEMA_OF, (table,))
    [(schema,)] = cursor.fetchall()
    parts: dict[str, sql.Composable] = {
        "parent": sql.Identifier(schema, table),
        "child": sql.Identifier(schema, f"{table}_p{_date(day):%Y%m%d}"),
        "begin": sql.Literal(_midnight(day)),
        "end": sql.Literal(_midnight(day + 1)),
    }
    indexes = () if table == _INDEXED_BY_PARENT else (_BY_SERIES, _BY_TIME)
    for statement in (_CREATE, *indexes, _ATTACH):
        cursor.execute(sql.SQL(statement).format(**parts))


def drop_partitions(connection: Connection, table: str, before_day: int) -> int:
    """Drop every partition of an earlier day; returns how many rows went with them.

    Rows that arrive while theirs are counted go uncounted.
    """
    with transaction(connection) as cursor:
        old = {day: name for day, name in partitions_of(cursor, table).items() if day < before_day}
    deleted = 0
    for day, name in old.items():
        try:
            deleted += _drop(connection, table, day, name)
        except LockNotAvailable:
            _log.warning(
                "%s is in use by a statement that takes longer than %d ms; its partitions from %s "
                "on are left to the next cleanup",
                table,
                LOCK_TIMEOUT_MILLISECONDS,
                _date(day),
            )
            break  # each of the others would make writers wait as long
    return deleted


def _drop(connection: Connection, table: str, day: int, name: sql.Identifier) -> int:
    # Counted before the lock is taken, because counting a large day takes a second.
    try:
        with transaction(connection) as cursor:
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
            [(rows,)] = cursor.fetchall()
    except psycopg2.errors.UndefinedTable:
        return 0  # another program's cleanup was here first
    with transaction(connection) as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_PARTITION_LOCK,))
        if day not in partitions_of(cursor, table):
            return 0
        cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}")
        cursor.execute(sql.SQL("DROP TABLE {}").format(name))
    return int(rows)


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def _midnight(day: int) -> datetime:
    return datetime.combine(_date(day), datetime.min.time(), UTC)


def _day(digits: str) -> int:
    return (datetime.strptime(f"{digits}Z", "%Y%m%d%z").date() - _EPOCH).days
