"""Temporary databases on any PostgreSQL-like server, created and dropped with SQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import psycopg2
from psycopg2 import sql

from engines.dsn import database_of, with_database
from engines.errors import EngineError

_CONNECT_TIMEOUT_SECONDS: Final = 60


class Databases:
    """Creates databases with random names on one server, and drops them.

    Args:
        dsn: of the maintenance database, with a role that may create databases.
    """

    def __init__(self, dsn: str) -> None:
        self.maintenance_dsn = dsn
        self._created: set[str] = set()

    def fetch_value(self, statement: str) -> str:
        """The first column of the first row that a statement returns, as text.

        Raises:
            EngineError: the server does not answer, or refuses.
        """
        with self._cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
        if row is None:
            raise EngineError(f"the test server returned no row for {statement!r}")
        return str(row[0])

    def create(self, template: str | None = None) -> str:
        """Create a database, a copy of `template` if given, and return its connection string.

        Raises:
            EngineError: the server does not answer, or refuses.
        """
        name = f"openfinops_test_{secrets.token_hex(6)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with self._cursor() as cursor:
            cursor.execute(statement)
        self._created.add(name)
        return with_database(self.maintenance_dsn, name)

    def drop(self, dsn: str) -> None:
        """Drop a database that `create` made, also while clients are connected to it.

        Raises:
            EngineError: the server does not answer, or refuses.
        """
        name = database_of(dsn)
        if name not in self._created:
            raise EngineError(
                f"refused to drop the database {name!r}: these tests did not create it"
            )
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with self._cursor() as cursor:
            cursor.execute(statement)
        self._created.discard(name)

    @contextmanager
    def fresh(self, template: str | None = None) -> Iterator[str]:
        """A new database for the length of a `with` statement."""
        dsn = self.create(template)
        try:
            yield dsn
        finally:
            self.drop(dsn)

    def drop_all(self) -> None:
        """Drop the remaining databases that `create` made."""
        for name in sorted(self._created):
            self.drop(with_database(self.maintenance_dsn, name))

    @contextmanager
    def _cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        try:
            with closing(self._connect()) as connection, connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            raise EngineError(f"the test server failed: {str(error).strip()}") from error

    def _connect(self) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(
            self.maintenance_dsn, connect_timeout=_CONNECT_TIMEOUT_SECONDS
        )
        connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
        return connection
