"""Translates psycopg2's errors to the exporter's: whether to retry, and what the user should do.

No other module of the backend decides that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg2

from exporter.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    ExporterError,
    RowRefusedError,
)

READING: Final = "reading"
STORING: Final = "storing a batch"

_READ_ONLY_TRANSACTION: Final = "25006"
_CONNECTION_FAILURE: Final = "08006"
_INVALID_AUTHORIZATION: Final = "28000"
_CANNOT_CONNECT: Final = "08001"
_CHECK_VIOLATION: Final = "23514"  # "no partition of relation found for row" is one

# SQLSTATE or its class -> whether a retry may help, and what the user should do (PostgreSQL
# documentation, appendix A). Other codes are not retryable, and their message needs no advice.
_ADVICE: Final[dict[str, tuple[bool, str]]] = {
    _CANNOT_CONNECT: (False, "correct connection_string, or the files that it names"),
    "08": (
        True,
        (
            "check that the server runs and can be reached from here; if it stopped, as it does "
            "when its disk has no room for the write-ahead log, its log says why"
        ),
    ),
    _READ_ONLY_TRANSACTION: (
        True,
        (
            "the server is a standby, or default_transaction_read_only is on; name the primary in "
            "connection_string (several hosts with target_session_attrs=read-write find it), or "
            "wait for a failover to end"
        ),
    ),
    "28P01": (False, "correct the password in connection_string"),
    "28": (False, "check pg_hba.conf, and whether the role exists and may log in"),
    "3D000": (False, "create the database (createdb NAME), or correct connection_string"),
    "3F000": (False, "create the schema that search_path names"),
    "40": (True, "another transaction conflicted with it"),
    "42501": (
        False,
        (
            "grant the role what it lacks: CREATE on the schema (GRANT CREATE ON SCHEMA public TO "
            "role), and ownership of the tables"
        ),
    ),
    "42P07": (
        False,
        (
            "another program owns a table of this name; use a separate database, or "
            "a separate schema with ?options=-csearch_path%3Dname"
        ),
    ),
    "53100": (True, "the server's disk is full; free space there, or shorten retention_days"),
    "53300": (True, "raise max_connections, or put a pooler in front of the server"),
    "53": (True, "the server is short of a resource; see its log"),
    "55": (True, "another session holds a lock; pg_locks and pg_stat_activity name it"),
    "57014": (
        True,
        (
            "statement_timeout cancelled it; raise it for this role (ALTER ROLE name SET "
            "statement_timeout = '1min'), or query less"
        ),
    ),
    "57P03": (True, "the server is starting, stopping, or recovering; its log says why"),
    "57": (True, "the server is starting, stopping, or an administrator ended the session"),
    "58": (True, "the server failed to access its files; see its log"),
    "XX": (False, "the server reports an internal error or damage; see its log"),
}
# Wrong credentials, databases and privileges end the program at its start. After a successful
# start they are retried: when passwords and grants are rotated, one side changes first.
_RETRYABLE_AFTER_START: Final = ("28", "3D", "3F", "42501")
# Errors about the content of a row: a value out of a type's range, a constraint, a view's check
# option, a trigger, a limit such as the size of an index key.
_ROW_CONTENT: Final = ("09", "22", "23", "27", "44", "54", "P0001")

# psycopg2 gives no SQLSTATE when a connection fails. The first line whose words all occur in the
# message decides.
_CONNECTION_ERRORS: Final = (
    (("password authentication failed",), "28P01"),
    (("no password supplied",), "28P01"),
    (("database", "does not exist"), "3D000"),
    (("role", "does not exist"), _INVALID_AUTHORIZATION),
    (("is not permitted to log in",), _INVALID_AUTHORIZATION),
    (("pg_hba.conf",), _INVALID_AUTHORIZATION),
    (("authentication failed",), _INVALID_AUTHORIZATION),
    (("permission denied for database",), "42501"),
    (("too many",), "53300"),
    (("the database system is",), "57P03"),
    # No host has the state that target_session_attrs asks for.
    (("session is read-only",), _READ_ONLY_TRANSACTION),
    (("server is in hot standby mode",), _READ_ONLY_TRANSACTION),
    (("connection slots are reserved",), "53300"),
    # No server would accept these, so a retry cannot help.
    (("invalid", "value"), _CANNOT_CONNECT),
    (("invalid port number",), _CANNOT_CONNECT),
    (("could not match", "to", "hosts"), _CANNOT_CONNECT),
    (("definition of service",), _CANNOT_CONNECT),
    (("service file",), _CANNOT_CONNECT),
    (("unrecognized configuration parameter",), _CANNOT_CONNECT),
    (("does not support SSL",), _CANNOT_CONNECT),
    (("certificate file",), _CANNOT_CONNECT),
    (("private key file",), _CANNOT_CONNECT),
    (("certificate verify failed",), _CANNOT_CONNECT),
    (("server certificate for",), _CANNOT_CONNECT),
)


@contextmanager
def translate_errors(operation: str, label: str, *, has_started: bool = False) -> Iterator[None]:
    """Translate what psycopg2 raises, and keep it as the cause.

    Args:
        operation: what the block does, such as "storing a batch".
        label: the backend and the location of its database, without secrets.
        has_started: whether `start` of this backend has succeeded before.

    Raises:
        BackendUnavailableError: a retry may succeed.
        RowRefusedError: the content of a row of the batch is refused.
        BackendRefusedError: anything else.
    """
    try:
        yield
    except UnicodeEncodeError as error:  # the driver raises it before it sends anything
        kind = RowRefusedError if operation == STORING else BackendRefusedError
        raise kind(f"{label}: {operation} failed: {error}") from error
    except psycopg2.Error as error:
        raise _translated(error, operation, label, has_started=has_started) from error


def is_missing_partition(error: psycopg2.Error) -> bool:
    """Whether the partition of a row does not exist; retention may have dropped it."""
    # The error has the code of a CHECK constraint, but only a constraint has a name.
    return error.pgcode == _CHECK_VIOLATION and error.diag.constraint_name is None


def _translated(
    error: psycopg2.Error, operation: str, label: str, *, has_started: bool
) -> ExporterError:
    code = error.pgcode or _code_without_sqlstate(error)
    retryable, advice = _ADVICE.get(code) or _ADVICE.get(code[:2]) or (False, "")
    if error.pgcode == _READ_ONLY_TRANSACTION and operation == READING:
        retryable, advice = False, "only statements that read are allowed"
    if has_started and code.startswith(_RETRYABLE_AFTER_START):
        retryable = True
    text = f"{label}: {operation} failed: {_message(error)}"
    if code:
        text += f" [{code}]"
    if advice:
        text += f"; {advice}"
    if operation == STORING and code.startswith(_ROW_CONTENT) and not is_missing_partition(error):
        return RowRefusedError(text)
    return BackendUnavailableError(text) if retryable else BackendRefusedError(text)


def _message(error: psycopg2.Error) -> str:
    # The primary message only, because DETAIL and CONTEXT quote rows, which may be confidential.
    primary = error.diag.message_primary if error.pgcode else None
    return primary or " ".join(str(error).split())


def _code_without_sqlstate(error: psycopg2.Error) -> str:
    if isinstance(error, (psycopg2.ProgrammingError, psycopg2.DataError)):
        return ""  # the driver refused a parameter and sent nothing
    text = str(error)
    for words, code in _CONNECTION_ERRORS:
        if all(word in text for word in words):
            return code
    return _CONNECTION_FAILURE
