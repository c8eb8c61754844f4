"""Connections to PostgreSQL: how they are opened, what they return, where a transaction ends.

Nothing here leans on the state of a session, so that a pooler such as pgbouncer may hand each
transaction to another one; what is set for a writing session only makes a failure shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
from psycopg2.extensions import (
    TRANSACTION_STATUS_INERROR,
    TRANSACTION_STATUS_INTRANS,
    new_type,
    parse_dsn,
    register_type,
)
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extras import register_default_json, register_default_jsonb

from exporter.errors import BackendRefusedError, BackendUnavailableError, ConfigError

__all__ = [
    "Connection",
    "Cursor",
    "answer",
    "connect",
    "connect_reader",
    "connect_writer",
    "describe_location",
    "dry_run_transaction",
    "parse_connection_string",
    "transaction",
]

_OLDEST_VERSION: Final = 140_000
_DEFAULTS: Final[Mapping[str, str | int]] = {
    "fallback_application_name": "openfinops-otel-exporter",
    "connect_timeout": 10,
    # A server that vanished without a word is given up after a minute, not after two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# The same the other way round: a session whose client vanished in the middle of a batch holds
# locks that the client's next session waits for.
_NOTICE_A_DEAD_CLIENT: Final = """
    SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"""

# Compiling pays for a statement that takes minutes. One that may read many partitions or chunks is
# compiled even where it leaves them all out, an expression for each: of the 300 ms of one that read
# a roll-up of 2 million costs that was 280.
_BEFORE_AN_ANSWER: Final = b"SET TRANSACTION READ ONLY; SET LOCAL jit = off; "
_STILL_OPEN: Final = (TRANSACTION_STATUS_INTRANS, TRANSACTION_STATUS_INERROR)

# The second is on in every transaction of a standby, and also where an administrator said so.
_ROLE_OF_THE_SERVER: Final = """
    SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"""


def parse_connection_string(connection_string: str, backend: str) -> dict[str, str]:
    """The parameters in a connection string, a URL or key=value pairs as libpq takes them.

    Args:
        connection_string: what was configured.
        backend: its name, for the error.

    Raises:
        ConfigError: it is neither; the message does not quote it, there may be a password in it.
    """
    try:
        return {name: str(value) for name, value in parse_dsn(connection_string).items()}
    except psycopg2.Error:
        # `from None`: the driver quotes pieces of what it could not read.
        raise ConfigError(
            f"backend {backend}: connection_string is not one that libpq understands; write "
            "postgresql://user:password@host:5432/database?sslmode=require with special "
            "characters percent-encoded, or host=... dbname=... user=... password=..."
        ) from None


def describe_location(parameters: Mapping[str, str]) -> str:
    """Where the database is, for people: host, port and name, nothing secret."""
    if "service" in parameters and "host" not in parameters:
        return f"service {parameters['service']}"
    hosts = (parameters.get("host") or parameters.get("hostaddr") or "localhost").split(",")
    ports = parameters.get("port", "5432").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    addresses = ",".join(f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=False))
    return f"{addresses}/{parameters.get('dbname') or parameters.get('user') or ''}"


def connect(parameters: Mapping[str, str], place: str) -> Connection:
    """A new connection to a database that can hold our text.

    Args:
        parameters: libpq's.
        place: the backend and where its database is, for errors.

    Raises:
        psycopg2.Error: there is none to be had.
        BackendRefusedError: the server is too old, or the database has another encoding.
    """
    chosen: dict[str, Any] = {**_DEFAULTS, **parameters, "client_encoding": "UTF8"}
    connection = psycopg2.connect(connection_factory=Connection, **chosen)
    try:
        _require_usable(connection, place)
    except BaseException:
        connection.close()
        raise
    register_default_json(connection, loads=str)
    register_default_jsonb(connection, loads=str)
    return connection


def connect_writer(parameters: Mapping[str, str], place: str) -> Connection:
    """A connection to write with; the same errors.

    Raises:
        BackendUnavailableError: the server takes no writes, and may again after a failover.
    """
    connection = connect(parameters, place)
    try:
        with transaction(connection) as cursor:
            cursor.execute(_NOTICE_A_DEAD_CLIENT)
            _require_primary(cursor, place)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(parameters: Mapping[str, str], place: str) -> Connection:
    """A connection whose transactions only read, and that answers as the other backends do.

    JSON and arrays come as JSON text, whole numbers of any size as int; the same errors.
    """
    connection = connect(parameters, place)
    connection.set_session(readonly=True)
    for reading_type in (_NUMBER, _NUMBERS, _DOUBLES):
        register_type(reading_type, connection)
    return connection


def _require_usable(connection: Connection, place: str) -> None:
    if connection.server_version < _OLDEST_VERSION:
        raise BackendRefusedError(
            f"{place}: the server has version {connection.server_version // 10_000}; "
            f"use {_OLDEST_VERSION // 10_000} or later"
        )
    encoding = connection.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        raise BackendRefusedError(
            f"{place}: the database has the encoding {encoding}, which cannot hold "
            "every text; create one with UTF8: createdb --template template0 --encoding UTF8 NAME"
        )


def _require_primary(cursor: Cursor, place: str) -> None:
    # A standby with all of our tables lets everything through that comes before the first row.
    cursor.execute(_ROLE_OF_THE_SERVER)
    [(is_standby, is_read_only)] = cursor.fetchall()
    if is_standby:
        raise BackendUnavailableError(
            f"{place}: the server is a hot standby, which takes no writes [25006]; name the "
            "primary in connection_string (several hosts with target_session_attrs=read-write find "
            "it); while a failover is under way, try again when one is promoted (pg_ctl promote)"
        )
    if is_read_only:
        raise BackendUnavailableError(
            f"{place}: default_transaction_read_only is on, so that nothing can be written "
            "[25006]; find out who set it and why (column source of pg_settings), or name the "
            "server that takes writes in connection_string"
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


def answer(connection: Connection, question: Callable[[Cursor], bytes]) -> list[tuple[Any, ...]]:
    """All rows of one statement in a transaction that only reads, in one round trip.

    BEGIN and COMMIT as statements of their own are two more, which is a third of the time of a
    short answer. Several statements in one message are a transaction for the server.

    Args:
        connection: one to read with.
        question: makes the statement, without a semicolon.
    """
    connection.autocommit = True
    with connection.cursor() as cursor:
        try:
            cursor.execute(_BEFORE_AN_ANSWER + question(cursor))
            return [] if cursor.description is None else cursor.fetchall()
        finally:
            if connection.info.transaction_status in _STILL_OPEN:  # the statement was a BEGIN
                cursor.execute("ROLLBACK")


@contextmanager
def dry_run_transaction(connection: Connection) -> Iterator[Cursor]:
    """A cursor whose statements are taken back, after the checks that wait for a commit."""
    try:
        with connection.cursor() as cursor:
            yield cursor
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    finally:
        _roll_back(connection)


def _roll_back(connection: Connection) -> None:
    try:
        connection.rollback()
    except psycopg2.Error:  # it is gone, and the first error says more about why
        connection.close()


def _number(text: str | bytes | None, _: Cursor) -> int | float | None:
    if not isinstance(text, str):
        return None
    return int(text) if text.removeprefix("-").isdecimal() else float(text)


def _json_array(text: str | bytes | None, _: Cursor) -> str | None:
    if not isinstance(text, str):
        return None
    return f"[{text[1:-1]}]"


def _json_array_of_doubles(text: str | bytes | None, _: Cursor) -> str | None:
    if not isinstance(text, str):
        return None
    items = text[1:-1].split(",") if text != "{}" else []
    return f"[{','.join(map(_json_number, items))}]"


def _json_number(text: str) -> str:
    # NaN and the infinities have none.
    return repr(float(text)) if text[-1].isdigit() else f'"{text}"'


# The numbers are of the types numeric, numeric[] and double precision[] in pg_type.
_NUMBER: Final = new_type((1700,), "NUMBER", _number)
_NUMBERS: Final = new_type((1231,), "NUMBERS", _json_array)
_DOUBLES: Final = new_type((1022,), "DOUBLES", _json_array_of_doubles)
