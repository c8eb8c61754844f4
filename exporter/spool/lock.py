"""The lock that keeps a second process from a spool."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from exporter.spool.errors import SpoolLockedError, translate_open_errors
from exporter.spool.schema import SPOOL_FILE
from exporter.sqlite_files import connect, is_lock


class ProcessLock:
    """An exclusive SQLite lock on an empty file in the spool's folder.

    The system releases it with the process, however the process ends. It also excludes a second
    user within one process. A lock on the database itself would exclude the spool's own second
    connection.

    Args:
        spool: path of the spool's file.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._path = spool.with_name(f"{spool.name}.lock")
        self._connection: sqlite3.Connection | None = None

    def acquire(self) -> None:
        """Acquire the lock; safe twice.

        Raises:
            SpoolLockedError: another user has it.
            SpoolRefusedError: its file cannot be created or opened.
        """
        if self._connection is not None:
            return
        SPOOL_FILE.create_private(self._path)
        with translate_open_errors(self._path):
            connection = connect(self._path, busy_timeout_seconds=0)
            try:
                self._lock(connection)
            except BaseException:
                connection.close()
                raise
        self._connection = connection

    def release(self) -> None:
        """Release the lock; safe twice.

        Its file stays, because removing it could race with another process that is starting.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _lock(self, connection: sqlite3.Connection) -> None:
        try:
            # On disk, the journal would be one more file in the folder.
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if not is_lock(error):
                raise
            raise SpoolLockedError(
                f"spool {self._spool}: another process uses it (`fuser -v {self._path}` names "
                "it); stop that one, or give this one a spool of its own"
            ) from error
