"""The errors of the spool; SQLite's errors are translated here and nowhere else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from exporter.errors import PermanentError, RetryableError
from exporter.sqlite_files import primary_code, what_to_do

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# While a file is opened, a statement that does not fit its tables ("no such table") means damage.
_DAMAGE_AT_OPEN: Final = _DAMAGE | {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}

_REFUSED_AT_OPEN: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}
)
_DEFAULT_ADVICE: Final = "look at the system's log"


class SpoolUnavailableError(RetryableError):
    """The spool cannot take or give data now: disk full, I/O error, not open."""


class SpoolFullError(RetryableError):
    """The spool is full, because the backend is slower than the senders."""


class SpoolRefusedError(PermanentError):
    """The spool cannot use this file: foreign, newer, locked, or not at a usable path."""


class SpoolLockedError(SpoolRefusedError):
    """Another process uses this file."""


class SpoolDamagedError(RetryableError):
    """The file does not read back as it was written; a new one replaces it."""


@contextmanager
def translate_errors(operation: str, path: Path, *, is_opening: bool = False) -> Iterator[None]:
    """Raise the error of this module for one of SQLite or of the file system, cause kept.

    Args:
        operation: what was being done, such as "appending".
        path: the spool's file.
        is_opening: whether the file is being opened; more errors then mean damage or a refusal.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = primary_code(error)
        message = f"spool {path}: {operation}: {error}"
        if code in (_DAMAGE_AT_OPEN if is_opening else _DAMAGE):
            raise SpoolDamagedError(message) from error
        message += f"; {what_to_do(error, path) or _DEFAULT_ADVICE}"
        if is_opening and (isinstance(error, OSError) or code in _REFUSED_AT_OPEN):
            raise SpoolRefusedError(message) from error
        raise SpoolUnavailableError(message) from error


def translate_open_errors(path: Path) -> AbstractContextManager[None]:
    """`translate_errors` for a file that is being opened."""
    return translate_errors("opening the file", path, is_opening=True)
