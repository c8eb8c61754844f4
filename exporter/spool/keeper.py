"""The file of a spool while it is in use: opened, changed, and replaced where it is damaged.

Two locks, so that reading runs beside a commit: `writing` for all that changes the file, `reading`
for the connection that reads. Where both are held, `writing` was taken first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from exporter.spool.digests import Digests
from exporter.spool.errors import SpoolDamagedError, SpoolRefusedError, SpoolUnavailableError
from exporter.spool.files import Lock
from exporter.spool.loading import open_or_replace, replace
from exporter.spool.salvage import Place
from exporter.spool.store import Store
from exporter.spool.tally import Tally
from exporter.spool.waiting import Waiting

__all__ = ["Keeper"]

_log = logging.getLogger(__name__)


class Keeper:
    """Keeps one file open, and what is known of it.

    Args:
        path: of the file.
        max_digests: see `Digests`.

    Attributes:
        path: the file, absolute and without links.
        writing: held by who changes the file.
        reading: held by who reads it.
        tally: what is known without asking the file; another object after each `open`.
        receiver_id: the random name of the spool, made with the file.
        files_set_aside: how many damaged files were renamed.
        lost_entries: data points that waited and could not be read again after damage.
    """

    def __init__(self, path: str | Path, max_digests: int) -> None:
        self.path = Path(path).resolve()  # one lock for all names of the file
        self.writing = threading.Lock()
        self.reading = threading.Lock()
        self.tally = Tally(Waiting(), Digests(max_digests))
        self.receiver_id = ""
        self.files_set_aside = 0
        self.lost_entries = 0
        self._max_digests = max_digests
        self._lock = Lock(self.path)
        self._store: Store | None = None

    def open(self) -> None:
        """Open the file, or make it, or replace it where it is damaged; safe twice.

        Raises:
            SpoolRefusedError: it is not ours, or cannot be used.
            SpoolUnavailableError: the disk is full or failed.
        """
        with self.writing, self.reading:
            if self._store is not None:
                return
            self._lock.take()
            try:
                loaded = open_or_replace(self.path, self._max_digests)
            except BaseException:
                self._lock.release()
                raise
            store = loaded.store
            self.tally = Tally(
                loaded.waiting, loaded.digests, loaded.last_sequence, store.released_sequence
            )
            self.receiver_id = store.receiver_id
            self.files_set_aside += loaded.files_set_aside
            self._store = store

    def close(self) -> None:
        """Close it; safe twice."""
        with self.writing, self.reading:
            store, self._store = self._store, None
            try:
                if store is not None:
                    store.close()
            finally:
                self._lock.release()

    def store(self) -> Store:
        """The open file; another thread may replace it, unless the caller holds a lock.

        Raises:
            SpoolUnavailableError: it is not open.
        """
        if self._store is None:
            raise SpoolUnavailableError(f"spool {self.path}: it is not open; start it")
        return self._store

    def still(self, store: Store) -> Store:
        """The same, where it is the one that the caller had before.

        Raises:
            SpoolUnavailableError: it is not.
        """
        if self._store is not store:
            raise SpoolUnavailableError(f"spool {self.path}: closed or replaced meanwhile")
        return store

    def change(self, change: Callable[[Store], None]) -> None:
        """Change the file, with `writing` held; replaces it where that shows that it is damaged.

        Raises:
            SpoolUnavailableError: the disk is full or failed, or it was replaced. Nothing is
                changed.
        """
        store = self.store()
        try:
            change(store)
        except SpoolDamagedError as damage:
            with self.reading:
                self._replace(store, damage)
            raise SpoolUnavailableError(f"{damage}; send again") from damage

    def replace(self, store: Store, damage: SpoolDamagedError) -> None:
        """Begin a fresh file with what this one still has, with no lock held.

        Raises:
            SpoolUnavailableError: that failed; nothing is open until the next `open`.
        """
        with self.writing, self.reading:
            if self._store is store:  # else another thread has replaced or closed it
                self._replace(store, damage)

    def _replace(self, store: Store, damage: SpoolDamagedError) -> None:
        # Where this fails nothing is open, and every call says so until the next `open`.
        self._store = None
        try:
            store.close()
        except (SpoolDamagedError, SpoolUnavailableError) as error:
            _log.warning("%s; the file is replaced anyway", error)
        place = Place(
            self.receiver_id,
            self.tally.released_sequence,
            self.tally.last_sequence,
            store.unasked_after,
        )
        try:
            loaded = replace(self.path, damage, self._max_digests, place)
        except SpoolRefusedError as error:
            raise SpoolUnavailableError(f"{error}; then restart") from error
        self.lost_entries += self.tally.recount(loaded.waiting)
        self.files_set_aside += loaded.files_set_aside
        self._store = loaded.store
