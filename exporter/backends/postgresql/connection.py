"""Connections to PostgreSQL: how they are opened, what types they return, transactions on them.

Nothing here depends on the state of a session, so a pooler such as pgbouncer may run each
transaction in another session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
import psycopg2.extensions
from psycopg2.extensions import (
    TRANSACTION_STATUS_INERROR,
    TRANSACTION_STATUS_INTRANS,
    new_type,
    parse_dsn,
    register_type,
)
from psycopg2.extras import register_default_json, register_default_jsonb

from exporter.errors import BackendRefusedError, BackendUnavailableError, ConfigError

Connection = psycopg2.extensions.connection
Cursor = psycopg2.extensions.cursor

_OLDEST_VERSION: Final = 140_000
_DEFAULTS: Final[Mapping[str, str | int]] = {
    "fallback_application_name": "openfinops-otel-exporter",
    "connect_timeout": 10,
    # These detect a server that vanished within a minute; the system's defaults take two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# The server must detect a vanished client as fast: its session keeps the locks of an open
# transaction, and the client's next session waits for them.
_SERVER_KEEPALIVES: Final = """
    SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"""

# JIT compilation pays only for statements that take minutes. The server compiles an expression for
# each partition or chunk that a statement might read, also for those that it then skips: that was
# 280 of the 300 ms of a statement over a roll-up of 2 million costs.
_READ_PREFIX: Final = b"SET TRANSACTION READ ONLY; SET LOCAL jit = off; "
_STILL_OPEN: Final = (TRANSACTION_STATUS_INTRANS, TRANSACTION_STATUS_INERROR)

# `transaction_read_only` is on in every transaction of a standby, and also where an administrator
# set default_transaction_read_only.
_SERVER_ROLE: Final = """
    SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"""


def parse_connection_string(connection_string: str, backend: str) -> dict[str, str]:
    """Split a connection string, a URL or key=value pairs, into libpq's parameters.

    Args:
        connection_string: the configured value.
        backend: the backend's name, for the error.

    Raises:
        ConfigError: libpq cannot parse it. The message does not quote the string, which may
            contain a password.
    """
    try:
        return {name: str(value) for name, value in parse_dsn(connection_string).items()}
    except psycopg2.Error:
        # `from None`, because the driver's error quotes parts of the string.
        raise ConfigError(
            f"backend {backend}: connection_string is not valid for libpq; write "
            "postgresql://user:password@host:5432/database?sslmode=require with special "
            "characters percent-encoded, or host=... dbname=... user=... password=..."
        ) from None


def describe_location(parameters: Mapping[str, str]) -> str:
    """Host, port and name of the database, for messages; nothing secret."""
    if "service" in parameters and "host" not in parameters:
        return f"service {parameters['service']}"
    hosts = (parameters.get("host") or parameters.get("hostaddr") or "localhost").split(",")
    ports = parameters.get("port", "5432").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    addresses = ",".join(f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=False))
    return f"{addresses}/{parameters.get('dbname') or parameters.get('user') or ''}"


def connect(parameters: Mapping[str, str], label: str) -> Connection:
    """Open a connection to a database with the encoding UTF8.

    Args:
        parameters: libpq's parameters.
        label: the backend and the location of its database, for errors.

    Raises:
        psycopg2.Error: the connection failed.
        BackendRefusedError: the server is too old, or the database has another encoding.
    """
    merged: dict[str, Any] = {**_DEFAULTS, **parameters, "client_encoding": "UTF8"}
    connection = psycopg2.connect(connection_factory=Connection, **merged)
    try:
        _check_version_and_encoding(connection, label)
    except BaseException:
        connection.close()
        raise
    register_default_json(connection, loads=str)
    register_default_jsonb(connection, loads=str)
    return connection


def connect_writer(parameters: Mapping[str, str], label: str) -> Connection:
    """Open a connection for writing; raises what `connect` raises.

    Raises:
        BackendUnavailableError: the server accepts no writes now, but may after a failover.
    """
    connection = connect(parameters, label)
    try:
        with transaction(connection) as cursor:
            cursor.execute(_SERVER_KEEPALIVES)
            _require_primary(cursor, label)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(parameters: Mapping[str, str], label: str) -> Connection:
    """Open a connection for reading; raises what `connect` raises.

    It returns the types that the other backends return: JSON and arrays as JSON text, whole
    numbers of any size as int.
    """
    connection = connect(parameters, label)
    connection.set_session(readonly=True)
    for type_caster in (_NUMERIC, _NUMERIC_ARRAY, _DOUBLE_ARRAY):
        register_type(type_caster, connection)
    return connection


def _check_version_and_encoding(connection: Connection, label: str) -> None:
    if connection.server_version < _OLDEST_VERSION:
        raise BackendRefusedError(
            f"{label}: the server has version {connection.server_version // 10_000}; "
            f"use {_OLDEST_VERSION // 10_000} or later"
        )
    encoding = connection.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        raise BackendRefusedError(
            f"{label}: the database has the encoding {encoding}, which cannot store "
            "every text; create one with UTF8: createdb --template template0 --encoding UTF8 NAME"
        )


def _require_primary(cursor: Cursor, label: str) -> None:
    # Check this at start: on a standby that has our tables, the first error would otherwise be the
    # first INSERT.
    cursor.execute(_SERVER_ROLE)
    [(is_standby, is_read_only)] = cursor.fetchall()
    if is_standby:
        raise BackendUnavailableError(
            f"{label}: the server is a hot standby and accepts no writes [25006]; name the "
            "primary in connection_string (several hosts with target_session_attrs=read-write find "
            "it); during a failover, try again when a standby is promoted (pg_ctl promote)"
        )
    if is_read_only:
        raise BackendUnavailableError(
            f"{label}: default_transaction_read_only is on, so nothing can be written "
            "[25006]; find out where it was set (column source of pg_settings), or name a "
            "server that accepts writes in connection_string"
        )


@contextmanager
def transaction(connection: Connection) -> Iterator[Cursor]:
    """A cursor whose statements commit together at the end of the block, or not at all."""
    connection.autocommit = False
    try:
        with connection.cursor() as cursor:
            yield cursor
        connection.commit()
    except BaseException:
        _roll_back(connection)
        raise


def fetch_all(connection: Connection, render: Callable[[Cursor], bytes]) -> list[tuple[Any, ...]]:
    """Run one statement in a read-only transaction, in one round trip, and return all rows.

    Args:
        connection: from `connect_reader`.
        render: returns the statement with its parameters bound, without a semicolon.
    """
    # The server runs several statements of one message as one transaction. BEGIN and COMMIT sent
    # separately are two more round trips, a third of the time of a short answer.
    connection.autocommit = True
    with connection.cursor() as cursor:
        try:
            cursor.execute(_READ_PREFIX + render(cursor))
            return [] if cursor.description is None else cursor.fetchall()
        finally:
            if connection.info.transaction_status in _STILL_OPEN:  # the statement was a BEGIN
                cursor.execute("ROLLBACK")


@contextmanager
def dry_run_transaction(connection: Connection) -> Iterator[Cursor]:
    """A cursor whose statements are rolled back, after the constraints deferred to the commit."""
    try:
        with connection.cursor() as cursor:
            yield cursor
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    finally:
        _roll_back(connection)


def _roll_back(connection: Connection) -> None:
    try:
        connection.rollback()
    except psycopg2.Error:  # the connection is lost; the first error says why
        connection.close()


def _to_number(text: str | bytes | None, _: Cursor) -> int | float | None:
    if not isinstance(text, str):
        return None
    return int(text) if text.removeprefix("-").isdecimal() else float(text)


def _to_json_array(text: str | bytes | None, _: Cursor) -> str | None:
    if not isinstance(text, str):
        return None
    return f"[{text[1:-1]}]"


def _to_json_double_array(text: str | bytes | None, _: Cursor) -> str | None:
    if not isinstance(text, str):
        return None
    items = text[1:-1].split(",") if text != "{}" else []
    return f"[{','.join(map(_json_number, items))}]"


def _json_number(text: str) -> str:
    # JSON has no NaN and no infinities, so these become text.
    return repr(float(text)) if text[-1].isdigit() else f'"{text}"'


# The numbers are the ids of the types numeric, numeric[] and double precision[] in pg_type.
_NUMERIC: Final = new_type((1700,), "NUMERIC", _to_number)
_NUMERIC_ARRAY: Final = new_type((1231,), "NUMERIC_ARRAY", _to_json_array)
_DOUBLE_ARRAY: Final = new_type((1022,), "DOUBLE_ARRAY", _to_json_double_array)
