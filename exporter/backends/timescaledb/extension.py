"""Sees to it that the database has the extension; without it, nothing is stored there.

Plain tables in the place of hypertables would go unnoticed until they are too large to change.
"""

from __future__ import annotations

import logging
from typing import Final

import psycopg2

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.timescaledb.capabilities import Capabilities, read_capabilities
from exporter.errors import BackendRefusedError

__all__ = ["require_extension"]

_log = logging.getLogger(__name__)

_OLDEST_MAJOR_VERSION: Final = 2
# Any number that no other program's advisory locks use: "OFOX" as ASCII. Without the lock, the
# second of two programs that create the extension at once fails on a unique index.
_EXTENSION_LOCK: Final = 0x4F464F58


def require_extension(
    connection: Connection, location: str, *, may_create: bool = True
) -> Capabilities:
    """What the extension can do, after creating it where it is installed and missing.

    Args:
        connection: one with no transaction open.
        location: where the database is, for errors.
        may_create: whether to try CREATE EXTENSION.

    Raises:
        BackendRefusedError: there is none, and who is to run what.
        psycopg2.Error: the database cannot be asked.
    """
    with transaction(connection) as cursor:
        found = read_capabilities(cursor)
        missing = None if found else _describe_missing(cursor)
    if missing:
        _create(connection, location, missing, may_create=may_create)
        with transaction(connection) as cursor:
            found = read_capabilities(cursor)
    if found is None:
        raise BackendRefusedError(
            f"timescaledb {location}: CREATE EXTENSION timescaledb left no extension behind; see "
            "the server's log"
        )
    if found.version_numbers[0] < _OLDEST_MAJOR_VERSION:
        raise BackendRefusedError(
            f"timescaledb {location}: the extension has version {found.version}; update it to "
            f"{_OLDEST_MAJOR_VERSION}.0 or later: ALTER EXTENSION timescaledb UPDATE"
        )
    return found


def _describe_missing(cursor: Cursor) -> tuple[str, str | None]:
    """The database's name and the version that the server could create there, if any."""
    cursor.execute(
        "SELECT current_database(), (SELECT default_version FROM pg_available_extensions"
        " WHERE name = 'timescaledb')"
    )
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return row[0], row[1]


def _create(
    connection: Connection, location: str, missing: tuple[str, str | None], *, may_create: bool
) -> None:
    database, available = missing
    if available is None:
        raise BackendRefusedError(
            f"timescaledb {location}: this PostgreSQL server has no TimescaleDB; install it there "
            "and add it to shared_preload_libraries, then let a superuser run CREATE EXTENSION "
            f"timescaledb in the database {database}; or set backend: postgresql"
        )
    advice = (
        f"let a superuser, or a role with CREATE on the database, run CREATE EXTENSION timescaledb "
        f"in the database {database}"
    )
    if not may_create:
        raise BackendRefusedError(
            f"timescaledb {location}: the database lacks the extension timescaledb, and it is "
            f"opened for reading only; {advice}"
        )
    try:
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_EXTENSION_LOCK,))
            cursor.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg2.Error as error:
        if connection.closed:  # the server went away, and said nothing of the extension
            raise
        words = " ".join((error.diag.message_primary or str(error)).split())
        raise BackendRefusedError(
            f"timescaledb {location}: creating the extension timescaledb {available} failed: "
            f"{words}; {advice}"
        ) from error
    _log.info("timescaledb %s: created the extension, version %s", location, available)
