"""Migrates a PostgreSQL database to the schema of this version.

Several programs may do this at the same time.
"""

from __future__ import annotations

from typing import Final

from exporter.backends.migration_files import load_migrations, pending
from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.errors import BackendRefusedError, NothingStoredError

# Any number that no other program's advisory locks use: "OFOM" as ASCII.
_MIGRATION_LOCK: Final = 0x4F464F4D
_RECORD: Final = "INSERT INTO schema_migrations (version) VALUES (%s)"
_CREATE_RECORD: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version    integer PRIMARY KEY,
        applied_at timestamptz NOT NULL DEFAULT now()
    )"""
# Not to_regclass(), which may answer from the session's cache that the table is missing, as it was
# before the session waited for the lock. A scan of the catalogue sees the current state.
_IS_RECORDED: Final = """
    SELECT FROM pg_class
    WHERE relname = 'schema_migrations' AND relkind = 'r' AND pg_table_is_visible(oid)"""
_PRIVILEGES: Final = """
    SELECT current_user, space.nspname, pg_get_userbyid(parent.relowner),
           has_schema_privilege(space.oid, 'CREATE'), pg_has_role(parent.relowner, 'USAGE')
    FROM pg_class AS parent JOIN pg_namespace AS space ON space.oid = parent.relnamespace
    WHERE parent.oid = 'system_metrics'::regclass"""


def migrate(connection: Connection, label: str, *, partition_clause: str) -> tuple[int, ...]:
    """Run the pending migrations, each in one transaction with its record.

    Args:
        connection: with no transaction open.
        label: the backend and the location of its database, for errors.
        partition_clause: the clause that partitions fact tables by time, or "".

    Returns:
        The versions that this call applied.

    Raises:
        BackendRefusedError: the schema is newer than this program.
    """
    known = load_migrations("postgresql")
    done: list[int] = []
    while True:
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            waiting = pending(known, _applied_versions(cursor), label)
            if not waiting:
                return tuple(done)
            cursor.execute(_CREATE_RECORD)
            cursor.execute(waiting[0].sql.replace("{{partitioned}}", partition_clause))
            cursor.execute(_RECORD, (waiting[0].version,))
        done.append(waiting[0].version)


def require_migrated(connection: Connection, label: str) -> None:
    """Check, without a change, that the database has the schema of this version.

    Raises:
        NothingStoredError: it has no schema yet.
        BackendRefusedError: its schema is older or newer.
    """
    with transaction(connection) as cursor:
        applied = _applied_versions(cursor)
    waiting = pending(load_migrations("postgresql"), applied, label)
    if not waiting:
        return
    found = f"its schema lacks version {waiting[-1].version}" if applied else "there is nothing yet"
    kind = BackendRefusedError if applied else NothingStoredError
    raise kind(
        f"{label}: {found}, and it is opened for reading only; correct "
        "connection_string, or start the exporter on it once, which creates the tables"
    )


def require_privileges(connection: Connection, label: str) -> None:
    """Check that the role may create partitions.

    Without this check the first write after midnight would fail.

    Raises:
        BackendRefusedError: the role lacks a privilege; the message says which.
    """
    with transaction(connection) as cursor:
        cursor.execute(_PRIVILEGES)
        [(role, schema, owner, may_create, may_attach)] = cursor.fetchall()
    if not may_create:
        raise BackendRefusedError(
            f"{label}: role {role} may not create partitions in the schema {schema}; "
            f'GRANT CREATE ON SCHEMA "{schema}" TO "{role}"'
        )
    if not may_attach:
        raise BackendRefusedError(
            f"{label}: role {role} may not attach partitions to the tables, "
            f'which belong to {owner}; GRANT "{owner}" TO "{role}", or'
            f' ALTER TABLE ... OWNER TO "{role}"'
        )


def _applied_versions(cursor: Cursor) -> list[int]:
    cursor.execute(_IS_RECORDED)
    if not cursor.fetchall():
        return []
    cursor.execute("SELECT version FROM schema_migrations ORDER BY version")
    return [version for (version,) in cursor.fetchall()]
