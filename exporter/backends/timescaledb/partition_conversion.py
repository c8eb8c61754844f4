"""Moves rows from the partitioned tables of the backend `postgresql` into hypertables.

PostgreSQL cannot convert a partitioned table to a hypertable. A new table takes its name, and each
partition is moved in one transaction, which copies its rows, compares the counts and drops it.
After an interruption, the next start moves the remaining partitions; no row is lost or duplicated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.sizes import count_rows
from exporter.errors import BackendRefusedError

_log = logging.getLogger(__name__)

_SAMPLES_VIEW: Final = "metric_samples"
# Any number that no other program's advisory locks use: "OFOC" as ASCII.
_CONVERSION_LOCK: Final = 0x4F464F43

# Newest first: until the conversion ends, queries miss the oldest rows.
_PARTITIONS: Final = """
    SELECT space.nspname, child.relname
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    JOIN pg_namespace AS space ON space.oid = child.relnamespace
    WHERE inhparent = to_regclass(%s)
    ORDER BY child.relname DESC"""
_DEPENDENT_VIEWS: Final = """
    SELECT DISTINCT rule.ev_class::regclass::text
    FROM pg_depend AS link
    JOIN pg_rewrite AS rule ON rule.oid = link.objid
    WHERE link.classid = 'pg_rewrite'::regclass AND link.refclassid = 'pg_class'::regclass
        AND link.refobjid IN (%s::regclass, to_regclass(%s))
        AND rule.ev_class NOT IN (link.refobjid, coalesce(to_regclass(%s), 0))
    ORDER BY 1"""
_GRANTS: Final = """
    SELECT format(
        'GRANT %%s ON %%I TO %%s %%s', acl.privilege_type, relname,
        CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END,
        CASE WHEN acl.is_grantable THEN 'WITH GRANT OPTION' END)
    FROM pg_class, aclexplode(relacl) AS acl
    WHERE pg_class.oid IN (%s::regclass, to_regclass(%s)) AND acl.grantee <> relowner"""
_COLUMNS: Final = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""


def is_partitioned(cursor: Cursor, table: str) -> bool:
    """Whether a table is a partitioned table of PostgreSQL."""
    cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)", (table,))
    return cursor.fetchone() == (True,)


def replace_partitioned(
    cursor: Cursor, table: str, create_hypertable: Callable[[], None], label: str
) -> None:
    """Rename a partitioned table, and create an empty hypertable with its name.

    The view `metric_samples` is created again on the new table, with the privileges on both.

    Args:
        cursor: with a transaction open.
        table: the partitioned table.
        create_hypertable: converts the plain table of that name to a hypertable.
        label: the backend and the location of its database, for errors.

    Raises:
        BackendRefusedError: a user's view reads the table, and would go on reading the old one.
    """
    cursor.execute(_DEPENDENT_VIEWS, (table, _SAMPLES_VIEW, _SAMPLES_VIEW))
    if views := [name for (name,) in cursor.fetchall()]:
        raise BackendRefusedError(
            f"{label}: {table} must be converted to a hypertable, and "
            f"{', '.join(views)} depends on it; drop that, start again, and create it again"
        )
    cursor.execute(_GRANTS, (table, _SAMPLES_VIEW))
    grants = [statement for (statement,) in cursor.fetchall()]
    view = _drop_view(cursor) if table == "system_metrics" else None
    names = {"table": sql.Identifier(table), "old": sql.Identifier(_old_name(table))}
    cursor.execute(sql.SQL("ALTER TABLE {table} RENAME TO {old}").format(**names))
    cursor.execute(
        sql.SQL(
            "CREATE TABLE {table} (LIKE {old} INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
            " INCLUDING STORAGE INCLUDING INDEXES)"
        ).format(**names)
    )
    create_hypertable()
    if view:
        cursor.execute(sql.SQL("CREATE VIEW {} AS ").format(sql.Identifier(_SAMPLES_VIEW)) + view)
    for grant in grants:
        cursor.execute(grant)


def move_partitions(connection: Connection, table: str, label: str) -> None:
    """Move the remaining partitions of a replaced table; there may be none.

    Args:
        connection: with no transaction open.
        table: the hypertable.
        label: the backend and the location of its database, for messages.

    Raises:
        BackendRefusedError: the hypertable received another number of rows than the partition has.
            The partition is unchanged.
    """
    old = _old_name(table)
    while True:
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_CONVERSION_LOCK,))
            cursor.execute(_PARTITIONS, (old,))
            left = cursor.fetchall()
            if not left:
                cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(old)))
                return
            moved = _move(cursor, table, sql.Identifier(*left[0]), label)
        _log.info(
            "%s: moved %d rows of %s into %s; %d partitions left",
            label,
            moved,
            left[0][1],
            table,
            len(left) - 1,
        )


def _move(cursor: Cursor, table: str, partition: sql.Identifier, label: str) -> int:
    cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(partition))
    rows = count_rows(cursor, partition)
    cursor.execute(_COLUMNS, (table,))
    columns = sql.SQL(", ").join(sql.Identifier(name) for (name,) in cursor.fetchall())
    cursor.execute(
        sql.SQL("INSERT INTO {table} ({columns}) SELECT {columns} FROM {partition}").format(
            table=sql.Identifier(table), columns=columns, partition=partition
        )
    )
    if cursor.rowcount != rows:
        name = ".".join(partition.strings)
        raise BackendRefusedError(
            f"{label}: moving {name} into {table} would turn {rows} rows into "
            f"{cursor.rowcount}; nothing was changed, check both tables for triggers and rules"
        )
    cursor.execute(sql.SQL("DROP TABLE {}").format(partition))
    return rows


def _drop_view(cursor: Cursor) -> sql.SQL | None:
    cursor.execute("SELECT pg_get_viewdef(to_regclass(%s))", (_SAMPLES_VIEW,))
    [(definition,)] = cursor.fetchall()
    if definition is None:
        return None
    cursor.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(_SAMPLES_VIEW)))
    return sql.SQL(definition)


def _old_name(table: str) -> str:
    return f"{table}_partitioned"
