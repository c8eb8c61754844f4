"""What the spool and the backend `sqlite` share about SQLite files; holds no state of its own.

Each of the two describes its file once as a `FileKind` and translates errors in one place. Opens a
descriptor of an existing database only through SQLite: closing any other one drops the locks that
this process holds on the file (sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from exporter.errors import PermanentError, RetryableError

__all__ = [
    "DURABLE",
    "READ_ONLY",
    "SMALLEST_PAGE_BYTES",
    "FileIdentity",
    "FileKind",
    "connect",
    "count_free_pages",
    "is_lock",
    "is_retryable",
    "primary_code",
    "this_user",
    "transaction",
    "vacuum_pages",
    "what_to_do",
]

SMALLEST_PAGE_BYTES: Final = 512
"""SQLite takes a shorter file for an empty database, whatever it contains."""

DURABLE: Final = (
    # NORMAL, the usual choice with WAL, may lose the last commits in a power cut, and those have
    # been acknowledged to clients.
    "synchronous = FULL",
    # A long read keeps the -wal from being reused, so it grows; afterwards it shrinks to this.
    f"journal_size_limit = {64 * 1024 * 1024}",
)
"""Pragmas of a connection whose commits survive a power cut."""

READ_ONLY: Final = ("query_only = ON",)
"""Pragmas of a connection that cannot change data."""

_CACHED_STATEMENTS: Final = 256
_TABLES_SHOWN: Final = 3

_PRIMARY_CODE: Final = 0xFF
_LOCKS: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_RETRYABLE: Final = _LOCKS | {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
}
# By primary result code. A code that is missing here is a mistake in a statement or a value that
# does not fit, and SQLite's own message says which.
_WHAT_TO_DO: Final = {
    sqlite3.SQLITE_BUSY: "another program holds the lock; `fuser -v {path}` or `lsof {path}` "
    "names it",
    sqlite3.SQLITE_LOCKED: "another connection of this process holds the lock",
    sqlite3.SQLITE_PROTOCOL: "several programs opened the file at the same moment",
    sqlite3.SQLITE_FULL: "{free} are free on its volume; make room there",
    sqlite3.SQLITE_IOERR: "the disk or the file system failed ({free} free); look at the "
    "system's log, at quotas and at file size limits",
    sqlite3.SQLITE_NOMEM: "the machine or the process is out of memory",
    sqlite3.SQLITE_INTERRUPT: "the file was closed during the statement",
    sqlite3.SQLITE_READONLY: "user {user} may not write the file or its folder, or the volume "
    "is mounted read-only; change that, or name another file",
    sqlite3.SQLITE_PERM: "user {user} may not use the file; change its owner or mode",
    sqlite3.SQLITE_NOTADB: "this is not a SQLite database and was left as it is; name another "
    "file, or one that does not exist yet",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; keep a copy, save what can be saved with "
    "`sqlite3 {path} .recover`, and move it out of the way",
}


@dataclass(frozen=True, slots=True)
class FileKind:
    """One of the kinds of SQLite file that this package writes.

    Attributes:
        label: how messages about such a file begin.
        application_id: bytes 68 to 71 of the database header, which tell our files from those of
            other programs.
        setting: what a user changes to name another path.
        refused: raised when the file or its path cannot be used without a change by the user.
    """

    label: str
    application_id: int
    setting: str
    refused: type[PermanentError]

    def create_private(self, path: Path) -> None:
        """Create an empty file that only its owner can read, unless the file exists.

        SQLite gives -wal and -shm the mode of the database, so this covers all three. They are
        private because the attributes of metrics name hosts, users and customers.

        Raises:
            PermanentError: `refused`: the folder is missing or cannot be written, or the path is
                not that of a regular file.
        """
        try:
            if path.exists():
                if not path.is_file():
                    raise self.refused(
                        f"{self.label} {path}: this is a folder or device, not a file; name a "
                        "file in it"
                    )
                return
            if not path.parent.is_dir():
                raise self.refused(
                    f"{self.label} {path}: the folder {path.parent} does not exist or is not a "
                    f"folder; create it, or correct {self.setting}"
                )
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except FileExistsError:
            return  # another process has just created it, with the same mode
        except OSError as error:
            raise self.refused(
                f"{self.label} {path}: cannot create the file: {error.strerror}; give user "
                f"{this_user()} the right to write in {path.parent}, or correct {self.setting}"
            ) from error
        try:
            # A umask can take away the owner's rights as well. Some file systems have no modes.
            with suppress(PermissionError):
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)

    def is_vacant(self, connection: sqlite3.Connection, path: Path) -> bool:
        """Whether the database has no content yet (True), or is one of this kind (False).

        If the application_id is ours, the tables are not checked, because a connection that ignores
        the -wal may not see them.

        Raises:
            PermanentError: `refused`: the file belongs to another program. It was not changed.
        """
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if application_id == self.application_id:
            return False
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
        tables = [name for (name,) in found]
        if application_id == 0 and not tables:
            return True
        raise self.foreign(path, application_id, tables)

    def foreign(self, path: Path, application_id: int, tables: Sequence[str]) -> PermanentError:
        """The error for a file of another program, to be raised by the caller."""
        shown = ", ".join(tables[:_TABLES_SHOWN]) + (", ..." if tables[_TABLES_SHOWN:] else "")
        return self.refused(
            f"{self.label} {path}: this file belongs to another program (application_id "
            f"{application_id}, tables: {shown or 'none'}) and was left as it is; name another "
            "file, or one that does not exist yet"
        )


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """The device and inode that a path had when its file was opened.

    SQLite in WAL mode continues to write into a file that was deleted or replaced under it. Every
    such write succeeds and is lost. The comparison costs 2 us a write.

    Attributes:
        path: of the file.
        device: of the file system.
        inode: of the file.
        label: how messages about such a file begin.
        error: what `check_in_place` raises.
    """

    path: Path
    device: int
    inode: int
    label: str
    error: type[RetryableError]

    @classmethod
    def of(cls, path: Path, label: str, error: type[RetryableError]) -> Self:
        """The identity of the file that the path names now."""
        status = path.stat()
        return cls(path, status.st_dev, status.st_ino, label, error)

    def check_in_place(self) -> None:
        """Raise the error unless the path still names the same file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            found = "removed"
        else:
            if (status.st_dev, status.st_ino) == (self.device, self.inode):
                return
            found = "replaced by another file"
        raise self.error(
            f"{self.label} {self.path}: the file was {found} while it was open, so what is "
            "written now would be lost with it; put the file back, or restart to begin with what "
            "is there"
        )


def connect(
    path: Path,
    *,
    busy_timeout_seconds: float = 5.0,
    pragmas: Sequence[str] = (),
    parameters: str = "mode=rw",
) -> sqlite3.Connection:
    """A connection in autocommit mode to an existing file.

    Args:
        path: absolute.
        busy_timeout_seconds: how long a statement waits for a lock of another connection.
        pragmas: run in this order, each without the word PRAGMA.
        parameters: of the URI. With the default a file that has vanished is an error, and no empty
            one is created in its place.

    Raises:
        sqlite3.Error: the file cannot be opened; no connection stays open.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?{parameters}",
        uri=True,
        timeout=busy_timeout_seconds,
        isolation_level=None,  # only `transaction` and explicit statements begin and commit
        check_same_thread=False,  # the caller's locks keep two threads from using it at once
        cached_statements=_CACHED_STATEMENTS,
    )
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything in the block, or nothing; takes the write lock first.

    A transaction that begins with reading fails (SQLITE_BUSY_SNAPSHOT) when another program writes
    between its first read and its first write.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself after some errors
            with suppress(sqlite3.Error):  # the first error is the one that explains
                connection.execute("ROLLBACK")
        raise


def count_free_pages(connection: sqlite3.Connection) -> int:
    """How many pages of the file hold no data."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(free)


def vacuum_pages(connection: sqlite3.Connection, max_pages: int) -> None:
    """Truncate the file by free pages; without effect on a file made without auto_vacuum."""
    # execute would stop after the first page, because each is a row without columns.
    connection.executescript(f"PRAGMA incremental_vacuum({max_pages})")


def primary_code(error: Exception) -> int | None:
    """SQLite's primary result code; None for an error that does not come from SQLite itself."""
    # Python's own complaints (a closed connection, a wrong number of parameters) have no code.
    code = getattr(error, "sqlite_errorcode", None)
    return code & _PRIMARY_CODE if isinstance(code, int) else None


def is_lock(error: Exception) -> bool:
    """Whether another connection's lock was the only reason; the connection can be used again."""
    return primary_code(error) in _LOCKS


def is_retryable(error: Exception) -> bool:
    """Whether the same call may succeed later without a change by the user."""
    code = primary_code(error)
    return code in _RETRYABLE or (code == sqlite3.SQLITE_CANTOPEN and _no_descriptor() is not None)


def what_to_do(error: Exception, path: str | Path) -> str | None:
    """What a user can do about an error of SQLite's, for the end of a message.

    Args:
        error: from sqlite3.
        path: of the database.

    Returns:
        None where nothing is known beyond the error's own message.
    """
    code = primary_code(error)
    if code == sqlite3.SQLITE_CANTOPEN:
        return _no_descriptor() or _open_failure_reason(Path(path))
    advice = _WHAT_TO_DO.get(code or 0)
    return advice and advice.format(path=path, user=this_user(), free=_free_space(path))


def this_user() -> str:
    """The user that needs a missing right: a number, or a phrase where users have none."""
    return str(os.geteuid()) if hasattr(os, "geteuid") else "of this process"


def _no_descriptor() -> str | None:
    # SQLite reports a process at its limit of open files as SQLITE_CANTOPEN.
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return f"{error.strerror}; raise the limit (`ulimit -n`)"
    return None


def _open_failure_reason(path: Path) -> str:
    """Why a file cannot be opened, as far as that can be seen from outside."""
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist or is not a folder; create it"
    if not path.exists():
        return "there is no such file; name one that the exporter has written"
    for part in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if part.exists() and not part.is_file():
            return f"{part} is not a file; name a database in a folder"
        if part.exists() and not os.access(part, os.R_OK):
            return f"user {this_user()} may not read the file {part}; change its owner or mode"
    if not os.access(path.parent, os.W_OK):
        return (
            f"user {this_user()} may not write in the folder {path.parent}, where SQLite keeps "
            "the -wal and -shm files beside the database; change its owner or mode, or copy the "
            "database to a folder of your own"
        )
    return "there can be no database here; name a file on a disk of this machine"


def _free_space(path: str | Path) -> str:
    try:
        return f"{shutil.disk_usage(Path(path).parent).free} bytes"
    except OSError:
        return "unknown bytes"
