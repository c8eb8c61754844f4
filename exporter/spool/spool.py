"""The spool: requests are appended, read back in order, and released when they are stored."""

from __future__ import annotations

import logging
import statistics
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from exporter.spool.compression import is_compressed
from exporter.spool.database import SpoolDatabase
from exporter.spool.entry import Entry
from exporter.spool.errors import SpoolFullError
from exporter.spool.spool_file import SpoolFile
from exporter.spool.state import SpoolState
from exporter.time_units import NANOSECONDS_PER_SECOND

_log = logging.getLogger(__name__)

_SYNCS_MEASURED: Final = 3


class Spool:
    """A durable queue of requests in one file, for one process.

    Any thread may call any method. `append`, `compact`, `start` and `close` wait for each other,
    and `read` for another `read`; `release` and the attributes of `state` never wait for a disk.

    Args:
        path: of the file; its folder must exist.
        max_bytes: `append` refuses when this many bytes are pending. A group is taken whole, so
            the last one may exceed the bound.
        retry_window_seconds: how long the digest of a stored request is kept.
        max_digests: how many digests are kept, of pending requests too, at about 240 bytes of
            memory each; beyond it the oldest are evicted before the window ends.

    Attributes:
        path: the file, absolute and without links.
        state: counts, watermarks and digests; only to be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: int,
        retry_window_seconds: float,
        max_digests: int = 200_000,
    ) -> None:
        self.path = Path(path).resolve()  # one lock for all names of the file
        self.state = SpoolState(max_bytes, max_digests)
        self._file = SpoolFile(self.path, self.state)
        self._max_bytes = max_bytes
        self._retry_window_nano = int(retry_window_seconds * NANOSECONDS_PER_SECOND)

    def start(self) -> None:
        """Open the file, or create it; safe twice.

        A damaged file is renamed to `<name>.corrupt-1` (or the next free number), what can be
        read of it is copied into a new one, and an error is logged.

        Raises:
            SpoolRefusedError: no such folder, no right to write, another program's file, a later
                version's, or another process uses it.
            SpoolUnavailableError: the disk is full or failed.
        """
        self._file.open()

    def append(self, entries: Sequence[Entry]) -> None:
        """Write a group of requests; it is synced to disk when this returns.

        Args:
            entries: in order, with sequences after the last one, `data` from `compress`.

        Raises:
            SpoolFullError: `max_bytes` are pending.
            SpoolUnavailableError: disk full, I/O error, or not open. As after SpoolFullError,
                nothing of the group is kept, and the same call may be made again.
            ValueError: a sequence is not larger than the one before, or `data` is not compressed.
        """
        if not entries:
            return
        state = self.state
        with self._file.writing:
            self._check(entries)
            bounds = state.released_sequence, state.digests.evicted_sequence
            self._file.change(lambda database: database.append(entries, *bounds))
            state.add(entries)

    def measure_sync_seconds(self) -> float:
        """What a sync takes on this disk: the median of three.

        Raises:
            SpoolUnavailableError: disk full, I/O error, or not open.
        """
        taken_seconds = []
        with self._file.writing:
            for _ in range(_SYNCS_MEASURED):
                began = time.perf_counter()
                self._file.change(SpoolDatabase.sync_without_change)
                taken_seconds.append(time.perf_counter() - began)
        return statistics.median(taken_seconds)

    def release(self, sequence: int) -> None:
        """The backend has stored everything up to this sequence.

        Counts at once; the rows are deleted from the file with the next `append` or `compact`.
        After a crash before that they are pending again, and the database's ledger tells that they
        are stored.

        Raises:
            ValueError: it is beyond the last sequence; see `advance_to`.
        """
        self.state.release(sequence)

    def mark_ledger_unreadable(self) -> None:
        """Note that requests from here on are taken although the ledger cannot be read.

        The note is on disk when this returns, and stays until `advance_to`, also over restarts.

        Raises:
            SpoolUnavailableError: disk full, I/O error, or not open.
        """
        with self._file.writing:
            if self._file.database.ledger_unreadable_after is None:
                last_sequence = self.state.last_sequence
                self._file.change(
                    lambda database: database.set_ledger_unreadable_after(last_sequence)
                )

    def advance_to(self, sequence: int) -> int:
        """The ledger says that everything up to this sequence is stored: continue after it.

        If an older copy of the file was restored, the ledger is ahead of the file. Requests
        accepted since `mark_ledger_unreadable` may then have sequences that other requests used
        before. They are not stored, and continue under another `receiver_id`.

        Returns:
            How many pending data points are stored.

        Raises:
            SpoolUnavailableError: disk full, I/O error, or not open; only after
                `mark_ledger_unreadable`.
        """
        with self._file.writing:
            ledger_unreadable_after = self._file.database.ledger_unreadable_after
            if ledger_unreadable_after is None:
                return self.state.advance_to(sequence)
            if sequence <= ledger_unreadable_after:
                self._file.change(lambda database: database.set_ledger_unreadable_after(None))
            else:
                self._change_receiver_id(sequence, ledger_unreadable_after)
            return self.state.advance_to(min(sequence, ledger_unreadable_after))

    def read(self, after_sequence: int, max_bytes: int) -> list[Entry]:
        """Pending requests after this sequence, in order, `data` decompressed.

        Args:
            after_sequence: of the last one that is not wanted; released ones are left out.
            max_bytes: bound of all `data` together; the first one is read even if it is larger.

        Returns:
            At least one if there is any. If the file turns out to be damaged: of those that could
            be copied into a new file.

        Raises:
            SpoolUnavailableError: I/O error, or not open.
        """
        state = self.state

        def read_rows(database: SpoolDatabase) -> list[Entry]:
            after = max(after_sequence, state.released_sequence)
            # Rows after last_sequence are committed and not counted yet: they have not been
            # acknowledged, and could be released too early.
            return database.read(after, state.last_sequence, max_bytes)

        return self._file.run(self._file.reading, read_rows)

    def compact(self, now_unix_nano: int) -> None:
        """Delete released requests, expire digests and return disk space; about once a second.

        Args:
            now_unix_nano: the time by the same clock as `received_unix_nano`.

        Raises:
            SpoolUnavailableError: disk full, I/O error, or not open. Nothing is lost by it.
        """
        state, file = self.state, self._file
        state.expire_digests(now_unix_nano - self._retry_window_nano)
        bounds = state.released_sequence, state.digests.evicted_sequence
        # The lock is released between two steps, so an append waits for one step at most.
        while file.run(file.writing, lambda database: database.delete_step(*bounds)):
            pass
        file.run(file.writing, SpoolDatabase.vacuum_step)
        file.run(file.reading, SpoolDatabase.checkpoint)

    def close(self) -> None:
        """Close the file; safe twice. Nothing is lost by a crash instead."""
        self._file.close()

    def _change_receiver_id(self, sequence: int, ledger_unreadable_after: int) -> None:
        receiver_id = str(uuid.uuid4())
        self._file.change(
            lambda database: database.change_receiver_id(receiver_id, ledger_unreadable_after)
        )
        _log.warning(
            "spool %s: the database has stored requests of it up to %d, and it had only %d when it "
            "was opened: an older copy of the file was put back; requests that came since "
            "continue under the name %s in ingest_ledger instead of %s",
            self.path,
            sequence,
            ledger_unreadable_after,
            receiver_id,
            self.state.receiver_id,
        )
        self.state.receiver_id = receiver_id

    def _check(self, entries: Sequence[Entry]) -> None:
        state = self.state
        if state.is_full:
            raise SpoolFullError(
                f"spool {self.path}: it is full, {state.pending_bytes} bytes of "
                f"{self._max_bytes} are pending; send again when the backend has stored some"
            )
        last = state.last_sequence
        for entry in entries:
            if entry.sequence <= last:
                raise ValueError(f"sequence {entry.sequence} comes after {last}")
            if not is_compressed(entry.data):
                raise ValueError(f"data of sequence {entry.sequence} does not come from compress")
            last = entry.sequence
