"""Translates errors of SQLite and of the file system into the errors of a backend."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from exporter.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    ExporterError,
    RowRefusedError,
)
from exporter.sqlite_files import is_lock, is_retryable, primary_code, this_user, what_to_do

MEMORY: Final = "memory"
"""The location of a database that has no file."""

READING: Final = "reading"
STORING: Final = "storing a batch"

# Result codes for the content of a row: constraints and triggers (RAISE is a constraint), a value
# that is too large, a value of another type. Python itself raises OverflowError and
# UnicodeEncodeError for values that SQLite cannot hold.
_CONTENT: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
)


@contextmanager
def translate_errors(operation: str, location: str) -> Iterator[None]:
    """Raise a backend error for an error of SQLite or of the file system, with it as the cause.

    Args:
        operation: what was being done, such as "storing a batch".
        location: the file's absolute path, or MEMORY.
    """
    try:
        yield
    except (sqlite3.Error, OSError, OverflowError, UnicodeEncodeError) as error:
        raise _translated(error, operation, location) from error


def is_usable_after(error: sqlite3.Error) -> bool:
    """True for lock errors and errors about the content of a row.

    After these the connection can be used again.
    """
    return is_lock(error) or _is_about_content(error)


def _translated(error: Exception, operation: str, location: str) -> ExporterError:
    if isinstance(error, OSError):
        return BackendRefusedError(
            f"sqlite {location}: {operation} failed: {error.strerror}; correct connection_string, "
            f"or give user {this_user()} the right to use the file and the folders above it"
        )
    advice = what_to_do(error, location)
    if operation == READING and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY:
        advice = "only statements that read can be answered"
    text = f"{'' if location == MEMORY else 'sqlite '}{location}: {operation} failed: {error}"
    if name := getattr(error, "sqlite_errorname", None):
        text += f" ({name})"
    if advice:
        text += f"; {advice}"
    if operation == STORING and _is_about_content(error):
        return RowRefusedError(text)
    return BackendUnavailableError(text) if is_retryable(error) else BackendRefusedError(text)


def _is_about_content(error: Exception) -> bool:
    return not isinstance(error, sqlite3.Error) or primary_code(error) in _CONTENT
