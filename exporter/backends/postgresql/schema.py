"""Brings a PostgreSQL database to the schema of this version; safe when several programs do."""

from __future__ import annotations

from typing import Final

from exporter.backends.migrations import load, pending
from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.errors import BackendRefusedError, NothingStoredError

__all__ = ["migrate", "require_migrated", "require_rights"]

# Any number that no other program's advisory locks use: "OFOM" as ASCII.
_MIGRATION_LOCK: Final = 0x4F464F4D
_RECORD: Final = "INSERT INTO schema_migrations (version) VALUES (%s)"
_CREATE_RECORD: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version    integer PRIMARY KEY,
        applied_at timestamptz NOT NULL DEFAULT now()
    )"""
# Not to_regclass, which may answer from the session's cache: that the table was missing, as it was
# before the lock was waited for. A scan of the catalogue sees what is there now.
_IS_RECORDED: Final = """
    SELECT FROM pg_class
    WHERE relname = 'schema_migrations' AND relkind = 'r' AND pg_table_is_visible(oid)"""
_RIGHTS: Final = """
    SELECT current_user, space.nspname, pg_get_userbyid(parent.relowner),
           has_schema_privilege(space.oid, 'CREATE'), pg_has_role(parent.relowner, 'USAGE')
    FROM pg_class AS parent JOIN pg_namespace AS space ON space.oid = parent.relnamespace
    WHERE parent.oid = 'system_metrics'::regclass"""


def migrate(connection: Connection, place: str, *, partitioned: str) -> tuple[int, ...]:
    """Run what is pending, each migration and its record in one transaction.

    Args:
        connection: with no transaction open.
        place: the backend and where its database is, for errors.
        partitioned: the clause that cuts fact tables by time, or "".

    Returns:
        The versions that this call applied.

    Raises:
        BackendRefusedError: the schema is newer than this program.
    """
    known = load("postgresql")
    done: list[int] = []
    while True:
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            waiting = pending(known, _applied_versions(cursor), place)
            if not waiting:
                return tuple(done)
            cursor.execute(_CREATE_RECORD)
            cursor.execute(waiting[0].sql.replace("{{partitioned}}", partitioned))
            cursor.execute(_RECORD, (waiting[0].version,))
        done.append(waiting[0].version)


def require_migrated(connection: Connection, place: str) -> None:
    """Check, without a change, that the database has the schema of this version.

    Raises:
        BackendRefusedError: it has another, or none.
    """
    with transaction(connection) as cursor:
        applied = _applied_versions(cursor)
    waiting = pending(load("postgresql"), applied, place)
    if not waiting:
        return
    found = f"its schema lacks version {waiting[-1].version}" if applied else "there is nothing yet"
    kind = BackendRefusedError if applied else NothingStoredError
    raise kind(
        f"{place}: {found}, and it is opened for reading only; correct "
        "connection_string, or start the exporter on it once, which makes the tables"
    )


def require_rights(connection: Connection, location: str) -> None:
    """Check that the role may make partitions, and not only when midnight comes.

    Raises:
        BackendRefusedError: it may not.
    """
    with transaction(connection) as cursor:
        cursor.execute(_RIGHTS)
        [(role, schema, owner, may_create, may_attach)] = cursor.fetchall()
    if not may_create:
        raise BackendRefusedError(
            f"postgresql {location}: role {role} may not make partitions in the schema {schema}; "
            f'GRANT CREATE ON SCHEMA "{schema}" TO "{role}"'
        )
    if not may_attach:
        raise BackendRefusedError(
            f"postgresql {location}: role {role} may not add partitions to the tables, which "
            f'belong to {owner}; GRANT "{owner}" TO "{role}", or ALTER TABLE ... OWNER TO "{role}"'
        )


def _applied_versions(cursor: Cursor) -> list[int]:
    cursor.execute(_IS_RECORDED)
    if not cursor.fetchall():
        return []
    cursor.execute("SELECT version FROM schema_migrations ORDER BY version")
    return [version for (version,) in cursor.fetchall()]
