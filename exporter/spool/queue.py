"""The spool: requests appended, read back in order, and released when they are stored."""

from __future__ import annotations

import logging
import statistics
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from exporter.spool.compression import is_compressed
from exporter.spool.entry import Entry
from exporter.spool.errors import SpoolDamagedError, SpoolFullError
from exporter.spool.keeper import Keeper
from exporter.spool.store import Store
from exporter.spool.tally import Tally

__all__ = ["Spool"]

_log = logging.getLogger(__name__)

_NANOSECONDS_PER_SECOND: Final = 1_000_000_000


class Spool:
    """A durable queue of requests in one file, for one process.

    Any thread may call any method. `append`, `tidy`, `start` and `close` wait for each other, and
    `read` for another `read`; numbers, `known` and `release` never wait for a disk.

    Args:
        path: of the file; its folder must exist.
        max_bytes: when this much waits, nothing more is taken. A group is taken whole, so the
            last one may pass the bound.
        retry_window_seconds: how long the digest of a stored request is remembered.
        max_digests: how many digests are remembered, of waiting requests too, at about 240
            bytes of memory each; beyond it the oldest are forgotten before their time.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: int,
        retry_window_seconds: float,
        max_digests: int = 200_000,
    ) -> None:
        self._file = Keeper(path, max_digests)
        self._max_bytes = max_bytes
        self._retry_window_nano = int(retry_window_seconds * _NANOSECONDS_PER_SECOND)

    def start(self) -> None:
        """Open the file, or make it; safe twice.

        A damaged file is renamed to `<name>.corrupt-1` (or the next free number), what can be
        read of it is copied into a fresh one, and an error is logged.

        Raises:
            SpoolRefusedError: no such folder, no right to write, another program's file, a later
                version's, or another process uses it.
            SpoolUnavailableError: the disk is full or failed.
        """
        self._file.open()

    @property
    def path(self) -> Path:
        """The file, absolute and without links."""
        return self._file.path

    @property
    def receiver_id(self) -> str:
        """The random name of this spool in the database's ledger; made with the file."""
        return self._file.receiver_id

    @property
    def last_sequence(self) -> int:
        """The largest sequence that was ever appended, 0 when none was; never falls."""
        return self._tally.last_sequence

    @property
    def waiting_requests(self) -> int:
        """Requests that are not released."""
        return self._tally.requests

    @property
    def waiting_entries(self) -> int:
        """Data points in them."""
        return self._tally.entries

    @property
    def waiting_bytes(self) -> int:
        """Their size: compressed data, and 128 bytes each for row and digest."""
        return self._tally.bytes

    @property
    def oldest_received_unix_nano(self) -> int | None:
        """When the first of them arrived, None when none waits."""
        return self._tally.oldest_received_unix_nano

    @property
    def full(self) -> bool:
        """Whether `append` would refuse because as much waits as may."""
        return self._tally.bytes >= self._max_bytes

    @property
    def files_set_aside(self) -> int:
        """How many damaged files were renamed."""
        return self._file.files_set_aside

    @property
    def lost_entries(self) -> int:
        """Data points that waited and could not be read again after damage.

        Of a file that is found damaged by `start`, nobody knows how many it had.
        """
        return self._file.lost_entries

    def known(self, digest: bytes) -> bool:
        """Whether a request with this digest waits, or was stored within the retry window.

        A request whose `append` has not returned is not known yet.
        """
        return digest in self._tally.digests

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep a group of requests: on disk, synced, when this returns.

        Args:
            entries: in order, with sequences after `last_sequence`, `data` from `compress`.

        Raises:
            SpoolFullError: as much waits as may.
            SpoolUnavailableError: disk full, I/O error, or not open. As after SpoolFullError,
                nothing of the group is kept, and the same call may be made again.
            ValueError: a sequence is not larger than the one before, or `data` is not compressed.
        """
        if not entries:
            return
        with self._file.writing:
            self._file.store()
            self._check(entries)
            tally = self._tally
            reached = tally.released_sequence, tally.digests.forgotten_sequence
            self._file.change(lambda store: store.append(entries, *reached))
            tally.add(entries)

    def seconds_to_sync(self) -> float:
        """What a sync takes on this disk: the middle of three.

        Raises:
            SpoolUnavailableError: disk full, I/O error, or not open.
        """
        taken = []
        with self._file.writing:
            for _ in range(3):
                began = time.perf_counter()
                self._file.change(Store.touch)
                taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    def release(self, sequence: int) -> None:
        """The backend has stored everything up to this sequence.

        Counts at once; the rows leave the file with the next `append` or `tidy`. After a crash
        before that they wait again, and the database's ledger tells that they are stored.

        Raises:
            ValueError: it is beyond `last_sequence`; see `advance_to`.
        """
        self._tally.release(sequence)

    def accept_unasked(self) -> None:
        """From here on requests are taken although the ledger cannot be asked: keep that in mind.

        On disk when this returns, and until `advance_to`, also over restarts.

        Raises:
            SpoolUnavailableError: disk full, I/O error, or not open.
        """
        with self._file.writing:
            if self._file.store().unasked_after is None:
                after = self._tally.last_sequence
                self._file.change(lambda store: store.note_unasked(after))

    def advance_to(self, sequence: int) -> int:
        """The ledger says that everything up to this sequence is stored: go on after it.

        It is ahead of `last_sequence` where the file was put back from an older copy. Then what was
        taken since `accept_unasked` has sequences that the ledger had given out before: it is not
        stored, and goes on under another `receiver_id`, of which the ledger knows nothing.

        Returns:
            How many data points that waited are stored.

        Raises:
            SpoolUnavailableError: after `accept_unasked`: disk full, I/O error, or not open.
        """
        with self._file.writing:
            unasked_after = self._file.store().unasked_after
            if unasked_after is None:
                return self._tally.advance_to(sequence)
            if sequence <= unasked_after:
                self._file.change(lambda store: store.note_unasked(None))
            else:
                self._rename(sequence, unasked_after)
            return self._tally.advance_to(min(sequence, unasked_after))

    def read(self, after_sequence: int, max_bytes: int) -> list[Entry]:
        """Waiting requests after this sequence, in order, `data` decompressed.

        Args:
            after_sequence: of the last one that is not wanted; released ones never come.
            max_bytes: bound of all `data` together; one is read whatever its size.

        Returns:
            At least one if there is any. Where the file turns out to be damaged: of what could
            be saved.

        Raises:
            SpoolUnavailableError: I/O error, or not open.
        """
        while True:
            with self._file.reading:
                store = self._file.store()
                after = max(after_sequence, self._tally.released_sequence)
                # Not what an append has committed and not counted yet: it could be released too
                # early, and it has not been acknowledged.
                last = self._tally.last_sequence
                try:
                    return store.read(after, last, max_bytes)
                except SpoolDamagedError as error:
                    damage = error
            self._file.replace(store, damage)

    def tidy(self, now_unix_nano: int) -> None:
        """Delete what is released, forget old digests, give space back; once a second or so.

        Args:
            now_unix_nano: the time by the same clock as `received_unix_nano`.

        Raises:
            SpoolUnavailableError: disk full, I/O error, or not open. Nothing is lost by it.
        """
        store = self._file.store()
        self._tally.forget_digests(now_unix_nano - self._retry_window_nano)
        try:
            while self._discard_step(store):
                pass  # an append may come between two steps
            with self._file.writing:
                self._file.still(store).shrink()
            with self._file.reading:
                self._file.still(store).checkpoint()
        except SpoolDamagedError as damage:
            self._file.replace(store, damage)

    def close(self) -> None:
        """Close the file; safe twice. A crash instead costs nothing."""
        self._file.close()

    @property
    def _tally(self) -> Tally:
        return self._file.tally

    def _rename(self, sequence: int, unasked_after: int) -> None:
        receiver_id = str(uuid.uuid4())
        self._file.change(lambda store: store.rename(receiver_id, unasked_after))
        _log.warning(
            "spool %s: the database has requests of it up to %d, and it had only %d when it was "
            "opened: an older copy of the file was put back; what came since goes on under the "
            "name %s in ingest_ledger instead of %s",
            self.path,
            sequence,
            unasked_after,
            receiver_id,
            self.receiver_id,
        )
        self._file.receiver_id = receiver_id

    def _check(self, entries: Sequence[Entry]) -> None:
        if self.full:
            raise SpoolFullError(
                f"spool {self.path}: {self.waiting_bytes} bytes wait, and {self._max_bytes} may; "
                "send again when the backend has stored some"
            )
        last = self.last_sequence
        for entry in entries:
            if entry.sequence <= last:
                raise ValueError(f"sequence {entry.sequence} comes after {last}")
            if not is_compressed(entry.data):
                raise ValueError(f"data of sequence {entry.sequence} does not come from compress")
            last = entry.sequence

    def _discard_step(self, store: Store) -> bool:
        # Whether there is more to delete.
        released = self._tally.released_sequence
        forgotten = self._tally.digests.forgotten_sequence
        with self._file.writing:
            self._file.still(store)
            if released <= store.released_sequence and forgotten <= store.forgotten_sequence:
                return False
            return store.discard(released, forgotten)
