"""What SQLite's errors mean for the caller: try again, or change something first."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exporter.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    ExporterError,
    RowRefusedError,
)

__all__ = [
    "MEMORY",
    "READING",
    "STORING",
    "is_lock",
    "is_sound_after",
    "this_user",
    "translated",
    "translating",
]

MEMORY: Final = "memory"  # where there is no path to name
READING: Final = "reading"
STORING: Final = "storing a batch"

_PRIMARY_CODE: Final = 0xFF
_LOCKS: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})

# Primary result code -> what to do about it. Codes that are in neither table are refusals whose
# message speaks for itself: mistakes in a statement, values that do not fit.
_TRY_AGAIN: Final = {
    sqlite3.SQLITE_BUSY: "another program holds the lock; `fuser -v {path}` or `lsof {path}` "
    "names it",
    sqlite3.SQLITE_LOCKED: "another connection of this process holds the lock",
    sqlite3.SQLITE_PROTOCOL: "several programs opened the file at the same moment",
    sqlite3.SQLITE_FULL: "{free} are free on its volume; make room there",
    sqlite3.SQLITE_IOERR: "the disk or the file system failed ({free} free); look at the "
    "system's log, at quotas and at file size limits",
    sqlite3.SQLITE_NOMEM: "the machine or the process is out of memory",
    sqlite3.SQLITE_INTERRUPT: "the store was closed meanwhile",
}
_CHANGE_SOMETHING: Final = {
    sqlite3.SQLITE_READONLY: "user {user} may not write the file or its folder, or the volume "
    "is mounted read-only; change that, or name another file",
    sqlite3.SQLITE_PERM: "user {user} may not use the file; change its owner or mode",
    sqlite3.SQLITE_NOTADB: "this is not a SQLite database and was left as it is; name another "
    "file, or one that does not exist yet",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; keep a copy, save what can be saved with "
    "`sqlite3 {path} .recover`, and move it out of the way",
}
# What the content of a row is refused with: constraints and triggers (RAISE is a constraint), a
# value too large, a value of another type. Python's own two are about values that SQLite cannot
# hold at all.
_CONTENT: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
)


@contextmanager
def translating(operation: str, location: str) -> Iterator[None]:
    """Turn errors of SQLite and of the file system inside the block into ours, cause kept.

    Args:
        operation: what was being done, such as "storing a batch".
        location: the file's absolute path, or MEMORY.
    """
    try:
        yield
    except (sqlite3.Error, OSError, OverflowError, UnicodeEncodeError) as error:
        raise translated(error, operation, location) from error


def is_lock(error: sqlite3.Error) -> bool:
    """Whether somebody else's lock was all that stood in the way: the connection is sound."""
    return _primary_code(error) in _LOCKS


def is_sound_after(error: sqlite3.Error) -> bool:
    """Whether the connection can be used again: a lock or a value was all that it was about."""
    return is_lock(error) or _is_about_content(error)


def translated(error: Exception, operation: str, location: str) -> ExporterError:
    """The error that says what happened, where, and what to do.

    Args:
        error: from sqlite3 or the file system, or about a value that SQLite cannot hold.
        operation: what was being done.
        location: the file's absolute path, or MEMORY.
    """
    if isinstance(error, OSError):
        return BackendRefusedError(
            f"sqlite {location}: {operation} failed: {error.strerror}; correct connection_string, "
            f"or give user {this_user()} the right to use the file and the folders above it"
        )
    code = _primary_code(error)
    if code == sqlite3.SQLITE_CANTOPEN:
        return _cannot_open(Path(location), operation)
    retryable = code in _TRY_AGAIN
    advice = _TRY_AGAIN.get(code or 0) or _CHANGE_SOMETHING.get(code or 0)
    if operation == READING and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY:
        advice = "only statements that read can be answered"
    text = f"{'' if location == MEMORY else 'sqlite '}{location}: {operation} failed: {error}"
    if name := getattr(error, "sqlite_errorname", None):
        text += f" ({name})"
    if advice:
        text += "; " + advice.format(path=location, user=this_user(), free=_free_space(location))
    if operation == STORING and _is_about_content(error):
        return RowRefusedError(text)
    return BackendUnavailableError(text) if retryable else BackendRefusedError(text)


def this_user() -> str:
    """Who needs a right that is missing: a number, or a phrase where users have none."""
    return str(os.geteuid()) if hasattr(os, "geteuid") else "of this process"


def _is_about_content(error: Exception) -> bool:
    return not isinstance(error, sqlite3.Error) or _primary_code(error) in _CONTENT


def _primary_code(error: Exception) -> int | None:
    # Python's own complaints (a closed connection, a wrong number of parameters) have no code.
    code = getattr(error, "sqlite_errorcode", None)
    return code & _PRIMARY_CODE if isinstance(code, int) else None


def _cannot_open(path: Path, operation: str) -> ExporterError:
    text = f"sqlite {path}: {operation} failed: "
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return BackendUnavailableError(f"{text}{error.strerror}; raise the limit (`ulimit -n`)")
    return BackendRefusedError(text + _obstacle(path))


def _obstacle(path: Path) -> str:
    """Why a file cannot be opened, as far as that can be seen from outside."""
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist or is not a folder; create it"
    if not path.exists():
        return "there is no such file; name one that the exporter has written"
    if not path.is_file():
        return "this is not a file; name a file in it"
    if not os.access(path, os.R_OK):
        return f"user {this_user()} may not read the file; change its owner or mode"
    if not os.access(path.parent, os.W_OK):
        return (
            f"user {this_user()} may not write in the folder {path.parent}, where SQLite keeps "
            "the -wal and -shm files beside the database; change its owner or mode, or copy the "
            "database to a folder of your own"
        )
    return "there can be no database here; name a file on a disk of this machine"


def _free_space(location: str) -> str:
    try:
        return f"{shutil.disk_usage(Path(location).parent).free} bytes"
    except OSError:
        return "unknown bytes"
