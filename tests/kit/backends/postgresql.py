"""A started `PostgreSQLBackend`, SQL on a connection beside it, and roles with few privileges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from engines.databases import Databases
from engines.dsn import database_of
from engines.statements import Connection, execute

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.errors import BackendRefusedError, ExporterError


@contextmanager
def started(dsn: str, **options: Any) -> Iterator[PostgreSQLBackend]:
    """A started backend, closed at the end."""
    with closing(PostgreSQLBackend(dsn, **options)) as backend:
        backend.start()
        yield backend


@contextmanager
def autocommitting(dsn: str) -> Iterator[Connection]:
    """A connection that commits each statement."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        yield connection


def run(dsn: str, *statements: str) -> list[Any]:
    """Run statements on a new connection; returns the rows of the last."""
    with autocommitting(dsn) as connection:
        return [execute(connection, statement) for statement in statements][-1]


def start_error(
    backend: PostgreSQLBackend,
    kind: type[ExporterError] = BackendRefusedError,
    match: str | None = None,
) -> str:
    """The message with which `start` fails."""
    with closing(backend), pytest.raises(kind, match=match) as caught:
        backend.start()
    return str(caught.value)


@contextmanager
def login_role(server: Databases, dsn: str) -> Iterator[str]:
    """A role that may log in, with the password "right", and nothing else."""
    name = f"role_of_{database_of(dsn)}"
    run(dsn, f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    yield name
    run(dsn, f"DROP OWNED BY {name} CASCADE")
    run(server.maintenance_dsn, f"DROP ROLE {name}")


def with_role(dsn: str, role: str, password: str = "right") -> str:  # noqa: S107 - of a test's role
    """The connection string for another role."""
    parts = urlsplit(dsn)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{address}"))


def with_option(dsn: str, name: str, value: str) -> str:
    """The connection string with a setting of the session."""
    return f"{dsn}{'&' if '?' in dsn else '?'}options=-c{name}%3D{value}"
