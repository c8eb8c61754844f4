"""What can go wrong with the spool: SQLite's errors are translated here and nowhere else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exporter.errors import PermanentError, RetryableError

__all__ = [
    "SpoolDamagedError",
    "SpoolFullError",
    "SpoolLockedError",
    "SpoolRefusedError",
    "SpoolUnavailableError",
    "opening",
    "translating",
]

_PRIMARY_CODE: Final = 0xFF
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# While a file is opened, statements of ours that do not fit it ("no such table") are damage too.
_DAMAGE_AT_OPENING: Final = _DAMAGE | {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}

_REFUSED_AT_OPENING: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}
)
_WHAT_TO_DO: Final = {
    sqlite3.SQLITE_FULL: "make room on its volume",
    sqlite3.SQLITE_IOERR: "look at the system's log, at the free space of its volume, at quotas "
    "and at file size limits",
    sqlite3.SQLITE_READONLY: "its file or folder may not be written; change their owner or mode, "
    "or mount the volume for writing",
    sqlite3.SQLITE_PERM: "its file may not be used; change its owner or mode",
    sqlite3.SQLITE_CANTOPEN: "its file, -wal or -shm cannot be opened; look at the owner and mode "
    "of these and of their folder, and at the limit of open files",
    sqlite3.SQLITE_BUSY: "another program holds a lock on its file; `fuser -v` names it",
    sqlite3.SQLITE_NOMEM: "the machine or the process is out of memory",
}
_DEFAULT_ADVICE: Final = "look at the system's log"


class SpoolUnavailableError(RetryableError):
    """The spool cannot take or give data now: disk full, I/O error, not running."""


class SpoolFullError(RetryableError):
    """As much waits as may, because the backend is slower than the senders."""


class SpoolRefusedError(PermanentError):
    """The spool will not use this file: foreign, newer, locked, or in no usable place."""


class SpoolLockedError(SpoolRefusedError):
    """Another process uses this file; one of its own will do."""


class SpoolDamagedError(RetryableError):
    """The file does not read back as it was written; a fresh one takes its place."""


@contextmanager
def translating(operation: str, path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system inside the block into ours, cause kept.

    Args:
        operation: what was being done, such as "appending".
        path: the spool's file.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if _code(error) in _DAMAGE:
            raise SpoolDamagedError(f"spool {path}: {operation}: {error}") from error
        raise SpoolUnavailableError(_explained(error, operation, path)) from error


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """As `translating`, for the time when a file is looked at first."""
    operation = "opening the file"
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = _code(error)
        if code in _DAMAGE_AT_OPENING:
            raise SpoolDamagedError(f"spool {path}: {operation}: {error}") from error
        explained = _explained(error, operation, path)
        if isinstance(error, OSError) or code in _REFUSED_AT_OPENING:
            raise SpoolRefusedError(explained) from error
        raise SpoolUnavailableError(explained) from error


def _code(error: Exception) -> int | None:
    # Only errors that come from SQLite itself have a code.
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY_CODE


def _explained(error: Exception, operation: str, path: Path) -> str:
    advice = _WHAT_TO_DO.get(_code(error) or 0, _DEFAULT_ADVICE)
    return f"spool {path}: {operation}: {error}; {advice}"
