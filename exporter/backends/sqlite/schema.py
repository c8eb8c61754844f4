"""Migrates a SQLite database to the schema of this version.

Several programs may do this at the same time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from exporter.backends.migration_files import Migration, pending
from exporter.sqlite_files import transaction


def applied_versions(connection: sqlite3.Connection) -> list[int]:
    """The versions that the database records; empty without a schema."""
    exists = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'"
    ).fetchone()[0]
    if not exists:
        return []
    rows = connection.execute("SELECT version FROM schema_migrations ORDER BY version")
    return [version for (version,) in rows]


def migrate(
    connection: sqlite3.Connection, known: tuple[Migration, ...], location: str
) -> tuple[int, ...]:
    """Run what is pending, each migration and its record in one transaction.

    Reads the applied versions again under the write lock, because another program may migrate at
    the same time. Without a pending migration this still proves that the file can be written.

    Returns:
        The versions that this call applied.

    Raises:
        BackendRefusedError: the schema is newer than `known`; nothing was changed.
        sqlite3.Error: of a migration; those before it stay applied.
    """
    done: list[int] = []
    while True:
        with transaction(connection):
            remaining = pending(known, applied_versions(connection), location)
            if not remaining:
                # On a file without write permission BEGIN IMMEDIATE succeeds, and only a
                # statement that writes fails.
                connection.execute("DELETE FROM schema_migrations WHERE version < 1")
                return tuple(done)
            for statement in split_statements(remaining[0].sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migrations (version) VALUES (?)", (remaining[0].version,)
            )
        done.append(remaining[0].version)


def split_statements(sql: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit before the first."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
