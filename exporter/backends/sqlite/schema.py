"""Brings a SQLite database to the schema of this version; safe when several programs do at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from exporter.backends.migrations import Migration, pending
from exporter.backends.sqlite.file import APPLICATION_ID
from exporter.errors import BackendRefusedError
from exporter.sqlitefiles import transaction

__all__ = ["applied_versions", "mark_as_ours", "migrate", "statements_in"]


def mark_as_ours(connection: sqlite3.Connection, location: str) -> None:
    """Write our application_id into a vacant file, before WAL is on and before the first table.

    So it is in the main file, where a look from outside finds it whatever the -wal holds.

    Raises:
        BackendRefusedError: another program made tables in it a moment ago.
    """
    # Lets the space of deleted rows be given back; must precede the first table.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with transaction(connection):
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (entries,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if entries and application_id != APPLICATION_ID:
            raise BackendRefusedError(
                f"sqlite {location}: another program began to use this file at the same moment; "
                "name another file"
            )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def applied_versions(connection: sqlite3.Connection) -> list[int]:
    """The versions that the database records; none if it has no schema yet."""
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

    What is pending is asked again under the write lock, because another program may have started
    at the same moment. Even if nothing is pending, this proves that the file can be written.

    Returns:
        The versions that this call applied.

    Raises:
        BackendRefusedError: the schema is newer than `known`; nothing was changed.
        sqlite3.Error: as it came; what had been applied before it stays.
    """
    done: list[int] = []
    while True:
        with transaction(connection):
            waiting = pending(known, applied_versions(connection), location)
            if not waiting:
                _prove_writable(connection)
                return tuple(done)
            for statement in statements_in(waiting[0].sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migrations (version) VALUES (?)", (waiting[0].version,)
            )
        done.append(waiting[0].version)


def _prove_writable(connection: sqlite3.Connection) -> None:
    # On a file without write permission BEGIN IMMEDIATE succeeds, as a reading transaction.
    connection.execute("DELETE FROM schema_migrations WHERE version < 1")


def statements_in(sql: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit before the first."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
