"""What every file of SQLite's needs here, be it a store or the spool."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from exporter.errors import RetryableError

__all__ = ["FileIdentity", "transaction"]


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file stood at a path when it was opened.

    SQLite in WAL mode writes on into a file that was deleted or replaced under it, and every
    such write succeeds and is lost. Comparing costs 2 us a write.

    Attributes:
        path: where it stands.
        device: of the file system.
        inode: of the file.
        purpose: what the file is, as messages begin.
        error: what `check_in_place` raises.
    """

    path: Path
    device: int
    inode: int
    purpose: str
    error: type[RetryableError]

    @classmethod
    def of(cls, path: Path, purpose: str, error: type[RetryableError]) -> Self:
        """The identity of the file that is there now."""
        status = path.stat()
        return cls(path, status.st_dev, status.st_ino, purpose, error)

    def check_in_place(self) -> None:
        """Raise the error unless the same file is still there."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            found = "removed"
        else:
            if (status.st_dev, status.st_ino) == (self.device, self.inode):
                return
            found = "replaced by another file"
        raise self.error(
            f"{self.purpose} {self.path}: the file was {found} while it was open, so what is "
            "written now would be lost with it; put the file back, or restart to begin with what "
            "is there"
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing; takes the write lock first, so that it cannot be lost midway.

    A transaction that begins with reading would have to be thrown away when another program
    writes between its first read and its first write (SQLITE_BUSY_SNAPSHOT).
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
