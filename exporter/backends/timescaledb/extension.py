"""The TimescaleDB extension of a database: creates it if it is missing, and reads what it can do.

Without the extension nothing is stored: plain tables instead of hypertables would go unnoticed
until they are too large to convert.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Final

import psycopg2
from psycopg2 import sql

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.errors import BackendRefusedError

_log = logging.getLogger(__name__)

_OLDEST_MAJOR_VERSION: Final = 2
# Any number that no other program's advisory locks use: "OFOX" as ASCII. Without the lock, the
# second of two programs that create the extension at once fails on a unique index.
_EXTENSION_LOCK: Final = 0x4F464F58
# Features are detected by the names of functions and settings. Only a defect that a release fixed
# has to be detected by the version.
_CAPABILITIES: Final = """
    SELECT extension.extversion,
           schema.nspname,
           coalesce(current_setting('timescaledb.license', true), ''),
           EXISTS (SELECT FROM pg_proc
                   WHERE pronamespace = schema.oid AND proname = 'by_range'),
           EXISTS (SELECT FROM pg_proc
                   WHERE pronamespace = schema.oid AND proname = 'add_columnstore_policy'),
           EXISTS (SELECT FROM pg_settings
                   WHERE name = 'timescaledb.enable_direct_compress_copy')
    FROM pg_extension AS extension
    JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
    WHERE extension.extname = 'timescaledb'"""
_AVAILABLE_VERSION: Final = """
    SELECT current_database(),
           (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb')"""
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one installation of the extension offers.

    Attributes:
        version: the extension's version, such as "2.28.1".
        schema: where its functions are; not every role has that schema in search_path.
        license: "timescale" for the Community Edition, "apache" for builds without the columnstore,
            policies and continuous aggregates.
        has_by_range: `create_hypertable` accepts `by_range(...)` (2.13).
        has_columnstore_names: compression has the name columnstore (2.18).
        has_direct_compress_copy: COPY can write compressed rows (2.21).
    """

    version: str
    schema: str
    license: str
    has_by_range: bool
    has_columnstore_names: bool
    has_direct_compress_copy: bool

    @property
    def is_community(self) -> bool:
        """Whether there are a columnstore, policies and continuous aggregates."""
        return self.license == "timescale"

    @property
    def version_numbers(self) -> tuple[int, int]:
        """Major and minor version; (0, 0) if `version` does not begin with them."""
        found = _NUMBERS.match(self.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def function(self, name: str) -> sql.Identifier:
        """A function of the extension with its schema."""
        return sql.Identifier(self.schema, name)


def read_capabilities(cursor: Cursor) -> Capabilities | None:
    """What the extension of this database offers; None if the database does not have it."""
    cursor.execute(_CAPABILITIES)
    row = cursor.fetchone()
    return None if row is None else Capabilities(*row)


def require_extension(
    connection: Connection, label: str, *, may_create: bool = True
) -> Capabilities:
    """Create the extension if it is installed on the server and missing in the database.

    Args:
        connection: with no transaction open.
        label: the backend and the location of its database, for errors.
        may_create: whether to try CREATE EXTENSION.

    Returns:
        What the extension offers.

    Raises:
        BackendRefusedError: there is no usable extension; the message says who should run what.
        psycopg2.Error: a query failed.
    """
    with transaction(connection) as cursor:
        found = read_capabilities(cursor)
    if found is None:
        _create_extension(connection, label, may_create=may_create)
        with transaction(connection) as cursor:
            found = read_capabilities(cursor)
    if found is None:
        raise BackendRefusedError(
            f"{label}: CREATE EXTENSION timescaledb succeeded, but the database has "
            "no such extension; see the server's log"
        )
    if found.version_numbers[0] < _OLDEST_MAJOR_VERSION:
        raise BackendRefusedError(
            f"{label}: the extension has version {found.version}; update it to "
            f"{_OLDEST_MAJOR_VERSION}.0 or later: ALTER EXTENSION timescaledb UPDATE"
        )
    return found


def _create_extension(connection: Connection, label: str, *, may_create: bool) -> None:
    with transaction(connection) as cursor:
        cursor.execute(_AVAILABLE_VERSION)
        [(database, version)] = cursor.fetchall()
    if version is None:
        raise BackendRefusedError(
            f"{label}: this PostgreSQL server has no TimescaleDB; install it there "
            "and add it to shared_preload_libraries, then let a superuser run CREATE EXTENSION "
            f"timescaledb in the database {database}; or set backend: postgresql"
        )
    advice = (
        f"let a superuser, or a role with CREATE on the database, run CREATE EXTENSION timescaledb "
        f"in the database {database}"
    )
    if not may_create:
        raise BackendRefusedError(
            f"{label}: the database lacks the extension timescaledb, and it is "
            f"opened for reading only; {advice}"
        )
    try:
        with transaction(connection) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_EXTENSION_LOCK,))
            cursor.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg2.Error as error:
        if connection.closed:  # the connection failed, not the extension
            raise
        message = " ".join((error.diag.message_primary or str(error)).split())
        raise BackendRefusedError(
            f"{label}: creating the extension timescaledb {version} failed: {message}; {advice}"
        ) from error
    _log.info("%s: created the extension, version %s", label, version)
