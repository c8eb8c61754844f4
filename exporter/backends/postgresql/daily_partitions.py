"""One partition a day for each fact table, created before the first row of the day is written."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final

import psycopg2
from psycopg2 import sql
from psycopg2.errors import LockNotAvailable

from exporter.backends.hypertable_catalog import Fetch
from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.cost_retention import close_streams, has_bills
from exporter.backends.postgresql.partitioning import FACT_TABLE_NAMES, LOCK_TIMEOUT_MILLISECONDS
from exporter.backends.postgresql.schema import require_privileges
from exporter.backends.postgresql.sizes import count_rows, read_sizes
from exporter.errors import OtherBackendError
from exporter.model import StoreSizes
from exporter.tables import COST_ENTRIES
from exporter.time_units import EPOCH, NANOSECONDS_PER_DAY, from_nanos

_log = logging.getLogger(__name__)

# Any number that no other program's advisory locks use: "OFOP" as ASCII.
PARTITION_LOCK: Final = 0x4F464F50
# The first serves queries for a series over time, the second for the newest rows of all series.
# What they cost, and the alternatives: docs/decisions/0003-postgresql-writes.md.
_INDEXES: Final = (
    'CREATE INDEX ON {child} (series_id, "timestamp")',
    'CREATE INDEX ON {child} ("timestamp")',
)
# The parent has indexes, one of them unique. ATTACH PARTITION creates the same on each partition.
_INDEXED_BY_PARENT: Final = COST_ENTRIES.name
# CREATE TABLE ... PARTITION OF locks the parent against readers and writers. ATTACH PARTITION takes
# SHARE UPDATE EXCLUSIVE, which blocks neither (PostgreSQL documentation, ALTER TABLE).
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
# Without schema_migrations the tables belong to another program, and the migration reports that.
# to_regclass() would not do: the session would cache that there is no schema_migrations, also while
# it waits for another program to create the tables, and then create them a second time.
_NOT_PARTITIONED: Final = """
    SELECT relname
    FROM pg_class
    WHERE relname = ANY (%s) AND relkind = 'r' AND pg_table_is_visible(oid) AND EXISTS (
        SELECT FROM pg_class AS record
        WHERE record.relname = 'schema_migrations' AND pg_table_is_visible(record.oid)
    )
    ORDER BY array_position(%s, relname::text)"""


class DailyPartitions:
    """The partitioning of the backend `postgresql`; implements `TimePartitioning`."""

    backend: Final = "postgresql"
    partition_clause: Final = 'PARTITION BY RANGE ("timestamp")'

    def __init__(self) -> None:
        self._known_days: dict[str, set[int]] = {}

    def before_migrations(self, connection: Connection, label: str) -> None:
        """Check that existing fact tables are not hypertables."""
        self.require_readable(connection, label)

    def after_migrations(self, connection: Connection, label: str) -> None:
        """Check that the role may create partitions."""
        require_privileges(connection, label)

    def require_readable(self, connection: Connection, label: str) -> None:
        """Check that existing fact tables are partitioned tables.

        Raises:
            OtherBackendError: the backend `timescaledb` has made them hypertables. An INSERT would
                succeed, but retention and queries would miss its chunks.
        """
        with transaction(connection) as cursor:
            cursor.execute(_NOT_PARTITIONED, (list(FACT_TABLE_NAMES), list(FACT_TABLE_NAMES)))
            others = [name for (name,) in cursor.fetchall()]
        if others:
            raise OtherBackendError(
                f"{label}: the backend timescaledb has made these tables "
                f"hypertables: {', '.join(others)}; they cannot be converted back: set "
                "backend: timescaledb, or name another database in connection_string",
                "timescaledb",
            )

    def ensure_partitions(self, connection: Connection, days: Mapping[str, set[int]]) -> None:
        """Create the missing partitions of each table."""
        for table, needed in days.items():
            if not needed <= self._known_days.get(table, set()):
                self._known_days[table] = create_partitions(connection, table, needed)

    def invalidate(self) -> None:
        """Discard the cached days."""
        self._known_days.clear()

    def copy_mode(self, _cursor: Cursor, _rows: int, /) -> AbstractContextManager[None]:
        """No settings."""
        return nullcontext()

    def delete_expired(self, connection: Connection, limits: Mapping[str, int]) -> int:
        """Drop the partitions of days that end by the limits; returns how many rows they had."""
        return sum(
            _drop_partitions(connection, table, limits[table] // NANOSECONDS_PER_DAY)
            for table in FACT_TABLE_NAMES
        )

    def count_expired(self, connection: Connection, limits: Mapping[str, int]) -> dict[str, int]:
        """Count the rows of the partitions that `delete_expired` would drop."""
        with transaction(connection) as cursor:
            return {
                table: sum(
                    count_rows(cursor, name)
                    for day, name in _partitions_of(cursor, table).items()
                    if day < limits[table] // NANOSECONDS_PER_DAY
                    and not _must_stay(cursor, table, name)
                )
                for table in FACT_TABLE_NAMES
            }

    def sizes(self, connection: Connection) -> StoreSizes:
        """The sizes of the fact tables; large partitions are estimated from the catalogue."""
        with transaction(connection) as cursor:
            return read_sizes(
                cursor, {table: _partitions_of(cursor, table) for table in FACT_TABLE_NAMES}
            )

    def hypertable_catalog(self, _fetch: Fetch) -> None:
        """None: partitions are not hypertables."""


def create_partitions(connection: Connection, table: str, days: Iterable[int]) -> set[int]:
    """Create the missing partitions of these days, each in its own transaction.

    Several programs may call it at once. They take turns, and each checks again before it creates a
    partition.

    Returns:
        The days, since 1970, of all partitions that the table has now.
    """
    with transaction(connection) as cursor:
        # A partition appears in the catalogue a moment before other sessions can insert into it.
        # Its creator releases this lock only after that moment.
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", (PARTITION_LOCK,))
        known = set(_partitions_of(cursor, table))
    for day in sorted(set(days) - known):
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (PARTITION_LOCK,))
            if day not in _partitions_of(cursor, table):
                _create_partition(cursor, table, day)
        known.add(day)
    return known


def _create_partition(cursor: Cursor, table: str, day: int) -> None:
    cursor.execute(_SCHEMA_OF, (table,))
    [(schema,)] = cursor.fetchall()
    parts: dict[str, sql.Composable] = {
        "parent": sql.Identifier(schema, table),
        "child": sql.Identifier(schema, f"{table}_p{_midnight(day):%Y%m%d}"),
        "begin": sql.Literal(_midnight(day)),
        "end": sql.Literal(_midnight(day + 1)),
    }
    indexes = () if table == _INDEXED_BY_PARENT else _INDEXES
    for statement in (_CREATE, *indexes, _ATTACH):
        cursor.execute(sql.SQL(statement).format(**parts))


def _drop_partitions(connection: Connection, table: str, before_day: int) -> int:
    """Drop the partitions of earlier days; returns how many rows they had.

    Rows that arrive during the count are not counted.
    """
    with transaction(connection) as cursor:
        partitions = _partitions_of(cursor, table)
    rows = 0
    for day, name in partitions.items():
        if day >= before_day:
            break
        try:
            rows += _drop_partition(connection, table, day, name)
        except LockNotAvailable:
            _log.warning(
                "a statement has used %s for longer than %d ms; its partitions from %s on are "
                "dropped at the next cleanup",
                table,
                LOCK_TIMEOUT_MILLISECONDS,
                _midnight(day).date(),
            )
            break  # Stop here: each further partition would block writers for one more timeout.
    return rows


def _drop_partition(connection: Connection, table: str, day: int, name: sql.Identifier) -> int:
    # Counting comes before the lock, because it takes a second for a large day.
    try:
        with transaction(connection) as cursor:
            if _must_stay(cursor, table, name):
                return 0
            rows = count_rows(cursor, name)
    except psycopg2.errors.UndefinedTable:
        return 0  # another program has dropped it
    # DROP must lock the parent, on which every reader and writer holds a lock. The timeout limits
    # how long writers queue behind it. DETACH CONCURRENTLY is no way out: until the longest reader
    # ends, the partition accepts no rows and no other partition of the day can be attached.
    with transaction(connection) as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (PARTITION_LOCK,))
        if day not in _partitions_of(cursor, table):
            return 0
        cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}")
        if table == COST_ENTRIES.name:
            close_streams(cursor, name)
        cursor.execute(sql.SQL("DROP TABLE {}").format(name))
    return rows


def _must_stay(cursor: Cursor, table: str, name: sql.Identifier) -> bool:
    return table == COST_ENTRIES.name and has_bills(cursor, name)


def _partitions_of(cursor: Cursor, table: str) -> dict[int, sql.Identifier]:
    """The partitions of a fact table by their day since 1970, oldest first."""
    cursor.execute(_PARTITIONS, (table,))
    found = {}
    for schema, name in cursor.fetchall():
        prefix, _, digits = name.rpartition("_p")
        if prefix == table and len(digits) == 8 and digits.isdecimal():
            found[_day(digits)] = sql.Identifier(schema, name)
    return dict(sorted(found.items()))


def _midnight(day: int) -> datetime:
    return from_nanos(day * NANOSECONDS_PER_DAY)


def _day(digits: str) -> int:
    return (datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC) - EPOCH).days
