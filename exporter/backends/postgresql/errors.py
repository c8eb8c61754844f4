"""psycopg2's errors -> ours, in one place: may it work later, and what should somebody do?"""

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

__all__ = ["READING", "STORING", "is_missing_partition", "translating"]

READING: Final = "reading"
STORING: Final = "storing a batch"

_READ_ONLY: Final = "25006"
_LOST: Final = "08006"
_REFUSED_CONNECTION: Final = "28000"
_CANNOT_CONNECT_SO: Final = "08001"
_CHECK_VIOLATION: Final = "23514"  # "no partition of relation found for row" is one

# SQLSTATE or its class -> may trying again help, and what to do (PostgreSQL documentation,
# appendix A). What is not here is a refusal whose message speaks for itself.
_ADVICE: Final[dict[str, tuple[bool, str]]] = {
    _CANNOT_CONNECT_SO: (False, "correct connection_string, or the files that it names"),
    "08": (
        True,
        (
            "check that the server runs and can be reached from here; if it ended, as it does when "
            "its disk has no room for the write-ahead log, its log says why"
        ),
    ),
    _READ_ONLY: (
        True,
        (
            "the server is a standby, or default_transaction_read_only is on; name the primary in "
            "connection_string (several hosts with target_session_attrs=read-write find it), or, "
            "while a failover is under way, wait for its end"
        ),
    ),
    "28P01": (False, "correct the password in connection_string"),
    "28": (False, "let the role in: see pg_hba.conf, and whether the role exists and may log in"),
    "3D000": (False, "create the database (createdb NAME), or correct connection_string"),
    "3F000": (False, "create the schema that search_path names"),
    "40": (True, "another transaction was in the way"),
    "42501": (
        False,
        (
            "grant the role what it lacks: CREATE on the schema (GRANT CREATE ON SCHEMA public TO "
            "role), and let it own the tables"
        ),
    ),
    "42P07": (
        False,
        (
            "the database has a table of this name that is not ours; use a database of its own, or "
            "a schema of its own with ?options=-csearch_path%3Dname"
        ),
    ),
    "53100": (True, "the server's disk is full; make room there, or shorten retention_days"),
    "53300": (True, "raise max_connections, or put a pooler in front of the server"),
    "53": (True, "the server is short of a resource; see its log"),
    "55": (True, "another session holds a lock; pg_locks and pg_stat_activity name it"),
    "57014": (
        True,
        (
            "statement_timeout ended it; raise it for this role (ALTER ROLE name SET "
            "statement_timeout = '1min'), or ask for less"
        ),
    ),
    "57P03": (True, "the server is starting, stopping, or recovering; its log says why"),
    "57": (True, "the server is starting, stopping, or an administrator ended the session"),
    "58": (True, "the server has trouble with its files; see its log"),
    "XX": (False, "the server reports an internal error or damage; see its log"),
}
# What is wrong from the start ends the program. Once it has worked, somebody changed it, may
# change it back, and nothing is to be lost until then: passwords and rights are exchanged in turns.
_OURS_TO_WAIT_OUT: Final = ("28", "3D", "3F", "42501")
# What the content of a row is refused with: a value that a type cannot hold, a constraint, a view's
# check, a trigger, a limit such as that of a key in an index.
_CONTENT: Final = ("09", "22", "23", "27", "44", "54", "P0001")

# libpq tells no SQLSTATE of a connection that was refused, only the server's words.
_REFUSALS: Final = (
    (("password authentication failed",), "28P01"),
    (("no password supplied",), "28P01"),
    (("database", "does not exist"), "3D000"),
    (("role", "does not exist"), _REFUSED_CONNECTION),
    (("is not permitted to log in",), _REFUSED_CONNECTION),
    (("pg_hba.conf",), _REFUSED_CONNECTION),
    (("authentication failed",), _REFUSED_CONNECTION),
    (("permission denied for database",), "42501"),
    (("too many",), "53300"),
    (("the database system is",), "57P03"),
    # Of target_session_attrs, when no host is what was asked for.
    (("session is read-only",), _READ_ONLY),
    (("server is in hot standby mode",), _READ_ONLY),
    (("connection slots are reserved",), "53300"),
    # What no server will ever take, where waiting for one would not help.
    (("invalid", "value"), _CANNOT_CONNECT_SO),
    (("invalid port number",), _CANNOT_CONNECT_SO),
    (("could not match", "to", "hosts"), _CANNOT_CONNECT_SO),
    (("definition of service",), _CANNOT_CONNECT_SO),
    (("service file",), _CANNOT_CONNECT_SO),
    (("unrecognized configuration parameter",), _CANNOT_CONNECT_SO),
    (("does not support SSL",), _CANNOT_CONNECT_SO),
    (("certificate file",), _CANNOT_CONNECT_SO),
    (("private key file",), _CANNOT_CONNECT_SO),
    (("certificate verify failed",), _CANNOT_CONNECT_SO),
    (("server certificate for",), _CANNOT_CONNECT_SO),
)


@contextmanager
def translating(operation: str, place: str, *, worked_before: bool = False) -> Iterator[None]:
    """Turn what psycopg2 raises into BackendUnavailableError or BackendRefusedError, cause kept.

    Args:
        operation: what was being done, such as "storing a batch".
        place: the backend and where its database is, without secrets.
        worked_before: whether this backend was once started with success.
    """
    try:
        yield
    except UnicodeEncodeError as error:  # before a server was asked
        kind = RowRefusedError if operation == STORING else BackendRefusedError
        raise kind(f"{place}: {operation} failed: {error}") from error
    except psycopg2.Error as error:
        raise _translated(error, operation, place, worked_before=worked_before) from error


def is_missing_partition(error: psycopg2.Error) -> bool:
    """Whether a row found no partition: retention dropped the one that was there."""
    # What a user checks has a name.
    return error.pgcode == _CHECK_VIOLATION and error.diag.constraint_name is None


def _translated(
    error: psycopg2.Error, operation: str, place: str, *, worked_before: bool
) -> ExporterError:
    code = error.pgcode or _code_without_sqlstate(error)
    retryable, advice = _ADVICE.get(code) or _ADVICE.get(code[:2]) or (False, "")
    if error.pgcode == _READ_ONLY and operation == READING:
        retryable, advice = False, "only statements that read can be answered"
    if worked_before and code.startswith(_OURS_TO_WAIT_OUT):
        retryable = True
    text = f"{place}: {operation} failed: {_words(error)}"
    if code:
        text += f" [{code}]"
    if advice:
        text += f"; {advice}"
    if operation == STORING and code.startswith(_CONTENT) and not is_missing_partition(error):
        return RowRefusedError(text)
    return BackendUnavailableError(text) if retryable else BackendRefusedError(text)


def _words(error: psycopg2.Error) -> str:
    # The primary message only: DETAIL and CONTEXT quote rows, which are somebody's data.
    words = error.diag.message_primary if error.pgcode else None
    return words or " ".join(str(error).split())


def _code_without_sqlstate(error: psycopg2.Error) -> str:
    if isinstance(error, (psycopg2.ProgrammingError, psycopg2.DataError)):
        return ""  # the driver refuses a parameter; no server was asked
    text = str(error)
    for words, code in _REFUSALS:
        if all(word in text for word in words):
            return code
    return _LOST
