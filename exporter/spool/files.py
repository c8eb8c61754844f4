"""The spool's place on disk: private, used by one process, moved away when it is damaged.

Never opens the database itself: closing a descriptor drops every lock that this process holds on
the file, those of SQLite included (sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from exporter.spool.errors import (
    SpoolLockedError,
    SpoolRefusedError,
    opening,
)

__all__ = ["Lock", "create_private", "set_aside", "set_wal_aside"]

_WAL_HEADER_BYTES: Final = 32
_WAL_MAGICS: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def create_private(path: Path) -> None:
    """Make an empty file that only its owner can read, unless it is there already.

    SQLite gives -wal and -shm the mode of the database, whatever the umask, so this covers all.

    Raises:
        SpoolRefusedError: its folder is missing, or is none, or may not be written.
    """
    if not path.parent.is_dir():
        raise SpoolRefusedError(
            f"spool {path}: the folder {path.parent} does not exist or is not a folder; create "
            "it, or name another place"
        )
    if path.exists() and not path.is_file():
        raise SpoolRefusedError(f"spool {path}: this is not a file; name a file in a folder")
    with opening(path):
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except FileExistsError:
            return
        try:
            os.fchmod(descriptor, 0o600)  # a umask may have taken the owner's rights as well
        finally:
            os.close(descriptor)


class Lock:
    """Keeps a second process off the spool for as long as this one lives.

    An exclusive lock of SQLite's on an empty file beside the spool: the system drops it with the
    process, however that ends, and it holds between two users within one process as well.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._path = spool.with_name(f"{spool.name}.lock")
        self._connection: sqlite3.Connection | None = None

    def take(self) -> None:
        """Take the lock, unless it is ours already.

        Raises:
            SpoolLockedError: somebody has it.
        """
        if self._connection is not None:
            return
        create_private(self._path)
        with opening(self._path):
            connection = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            with opening(self._path):
                self._lock(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def release(self) -> None:
        """Give the lock back; safe twice. The file stays: removing it could race with a start."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _lock(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("PRAGMA journal_mode = MEMORY")  # else there is a -journal too
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise SpoolLockedError(
                f"spool {self._spool}: another process uses it (`fuser -v {self._path}` names "
                "it); stop that one, or give this one a spool of its own"
            ) from error


def set_aside(path: Path) -> Path:
    """Rename the file with its -wal and -shm, under a number that is free; its new path."""
    aside = _free_name(path)
    with opening(path):
        # The -wal first: without its database it does no harm, the other way round it is lost.
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    return aside


def set_wal_aside(path: Path) -> Path | None:
    """Rename a -wal that is none, which SQLite would write over without a word; its new path.

    Zeros are left: a power cut leaves them where nothing had been synced.
    """
    wal = path.with_name(f"{path.name}-wal")
    if not wal.is_file():
        return None
    with opening(path):
        with wal.open("rb") as file:
            header = file.read(_WAL_HEADER_BYTES)
        if len(header) < _WAL_HEADER_BYTES or not any(header) or header.startswith(_WAL_MAGICS):
            return None
        aside = _free_name(path)
        moved = aside.with_name(f"{aside.name}-wal")
        wal.rename(moved)
    return moved


def _free_name(path: Path) -> Path:
    taken = {one.name for one in path.parent.iterdir()}
    number = 1
    while any(f"{path.name}.corrupt-{number}{suffix}" in taken for suffix in ("", "-wal", "-shm")):
        number += 1
    return path.with_name(f"{path.name}.corrupt-{number}")
