"""The spool's file while it is in use: locked, opened, changed, and replaced after damage."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from exporter.spool.database import SpoolDatabase
from exporter.spool.errors import SpoolDamagedError, SpoolRefusedError, SpoolUnavailableError
from exporter.spool.lock import ProcessLock
from exporter.spool.recovery import recover, rename_damaged, rename_invalid_wal
from exporter.spool.schema import Watermarks
from exporter.spool.state import SpoolState

_log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


class SpoolFile:
    """One file, and the database in it.

    Two locks let a read run during a commit. A thread that needs both acquires `writing` first.

    Args:
        path: of the file, absolute.
        state: loaded from the file when it is opened, and corrected when the file is replaced.

    Attributes:
        path: see Args.
        writing: held by a thread that changes the file.
        reading: held by a thread that reads it.
    """

    def __init__(self, path: Path, state: SpoolState) -> None:
        self.path = path
        self.writing = threading.Lock()
        self.reading = threading.Lock()
        self._state = state
        self._process_lock = ProcessLock(path)
        self._database: SpoolDatabase | None = None

    @property
    def database(self) -> SpoolDatabase:
        """The open database, with one of the locks held.

        Raises:
            SpoolUnavailableError: it is not open.
        """
        if self._database is None:
            raise SpoolUnavailableError(f"spool {self.path}: it is not open; start it")
        return self._database

    def open(self) -> None:
        """Open the file, or create it, or replace it where it is damaged; safe twice.

        Raises:
            SpoolRefusedError: it belongs to another program, or cannot be used.
            SpoolUnavailableError: the disk is full or failed.
        """
        with self.writing, self.reading:
            if self._database is not None:
                return
            self._process_lock.acquire()
            try:
                self._open()
            except BaseException:
                self._process_lock.release()
                raise

    def close(self) -> None:
        """Close it; safe twice."""
        with self.writing, self.reading:
            database, self._database = self._database, None
            try:
                if database is not None:
                    database.close()
            finally:
                self._process_lock.release()

    def change(self, change: Callable[[SpoolDatabase], None]) -> None:
        """Change the database, with `writing` held; after damage the file is replaced.

        Raises:
            SpoolUnavailableError: the disk is full or failed, or the file was replaced. Nothing is
                changed.
        """
        database = self.database
        try:
            change(database)
        except SpoolDamagedError as damage:
            with self.reading:
                self._replace(database, damage)
            raise SpoolUnavailableError(f"{damage}; send again") from damage

    def run(self, lock: threading.Lock, step: Callable[[SpoolDatabase], _Answer]) -> _Answer:
        """Run a step with this lock held; after damage, again on the file that replaces it.

        Args:
            lock: `writing` or `reading`; not held by the caller.
            step: takes the database.

        Raises:
            SpoolUnavailableError: the disk failed, the new file is damaged as well, or the spool is
                not open. If the damaged file cannot be replaced, nothing is open until the next
                `open`.
        """
        # Not without limit: each damaged file is kept as a copy, and a disk that damages every new
        # file would fill up. The callers wait before they try again.
        for _ in range(2):
            with lock:
                database = self.database
                try:
                    return step(database)
                except SpoolDamagedError as error:
                    damage = error
            with self.writing, self.reading:
                if self._database is database:  # else another thread has replaced or closed it
                    self._replace(database, damage)
        raise SpoolUnavailableError(f"{damage}, and the file that replaced it is damaged as well")

    def _open(self) -> None:
        renamed = rename_invalid_wal(self.path)
        if renamed is not None:
            self._state.damaged_files += 1
            _log.error(
                "spool %s: its -wal is not a WAL file and was moved to %s; requests that were in "
                "it are missing",
                self.path,
                renamed,
            )
        try:
            self._use(SpoolDatabase.open(self.path), self._load)
        except SpoolDamagedError as damage:
            self._recover(damage, None, self._load)

    def _replace(self, database: SpoolDatabase, damage: SpoolDamagedError) -> None:
        # If this fails nothing is open, and every call says so until the next `open`.
        self._database = None
        try:
            database.close()
        except (SpoolDamagedError, SpoolUnavailableError) as error:
            _log.warning("%s; the file is replaced anyway", error)
        state = self._state
        # Use the watermarks from memory; they may be unreadable in the damaged file.
        watermarks = Watermarks(
            database.receiver_id,
            state.released_sequence,
            database.ledger_unreadable_after,
            state.last_sequence,
        )
        try:
            self._recover(damage, watermarks, self._load_pending)
        except SpoolRefusedError as error:
            raise SpoolUnavailableError(f"{error}; then restart") from error

    def _recover(
        self,
        damage: SpoolDamagedError,
        watermarks: Watermarks | None,
        load: Callable[[SpoolDatabase], None],
    ) -> None:
        renamed = rename_damaged(self.path)
        _log.error("%s; the file was moved to %s and a new one is created", damage, renamed)
        self._use(recover(self.path, renamed, watermarks), load)
        self._state.damaged_files += 1
        _log.error(
            "spool %s: %d pending requests (%d data points) were copied from %s",
            self.path,
            self._state.pending_requests,
            self._state.pending_entries,
            renamed,
        )

    def _use(self, database: SpoolDatabase, load: Callable[[SpoolDatabase], None]) -> None:
        try:
            load(database)
        except BaseException as error:
            database.close()
            if isinstance(error, TypeError | OverflowError):
                raise SpoolDamagedError(
                    f"spool {self.path}: a value of a wrong type: {error}"
                ) from error
            raise
        self._database = database

    def _load(self, database: SpoolDatabase) -> None:
        self._state.load(
            database.receiver_id,
            database.released_sequence,
            database.digests(),
            database.pending(),
        )

    def _load_pending(self, database: SpoolDatabase) -> None:
        self._state.replace_pending(database.pending())
