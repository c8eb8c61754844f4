"""One open spool file: rows in, rows out, rows gone. Nothing is counted or remembered here.

Two connections, so that reading runs beside writing: a call that writes needs one lock of the
caller's, a call that reads another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from exporter.spool.compression import decompress, size_bytes
from exporter.spool.entry import Entry, Signal
from exporter.spool.errors import SpoolDamagedError, SpoolUnavailableError, opening, translating
from exporter.spool.files import create_private
from exporter.spool.layout import COLUMNS, connect, create, is_vacant, upgrade, watermark_columns
from exporter.sqlitefiles import FileIdentity, transaction

__all__ = ["Store", "entry_of", "name_and_watermarks"]

_ROWS_BETWEEN: Final = (
    f"SELECT {COLUMNS} FROM requests WHERE sequence > ? AND sequence <= ? ORDER BY sequence"  # noqa: S608 - constant
)
_DIGEST_BYTES: Final = 16
_DATA: Final = 6
_SIGNALS: Final[tuple[Signal, ...]] = ("metrics", "logs")
_SMALLEST_PAGE_BYTES: Final = 512

# One statement of many rows: sqlite3 gives the interpreter lock away at each step, and gets it
# back after 5 ms where other threads are busy. More rows than this take a second statement.
_ROWS_A_STATEMENT: Final = 64
# Rows deleted in one transaction: 15 ms, which an append may have to wait for.
_ROWS_A_STEP: Final = 1000
# quick_check reads all of the file: a second for this much on a cold disk, two minutes for 10 GB.
# Damage in a larger file is found when it is read.
_CHECKED_BYTES: Final = 64 * 1024 * 1024
# Free pages are kept for reuse up to 16 MB; the rest leaves in steps of 32 MB.
_FREE_PAGES_KEPT: Final = 2048
_FREE_PAGES_A_STEP: Final = 4096


class Store:
    """One open file; made by `open`."""

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._path = path
        self._identity = FileIdentity.of(path, "spool", SpoolUnavailableError)
        self.forgotten_sequence = 0
        self.receiver_id, self.released_sequence, self.unasked_after = name_and_watermarks(
            writer, path
        )

    @classmethod
    def open(cls, path: Path, receiver_id: str | None = None) -> Self:
        """Open the file, or make it where there is none.

        Args:
            path: absolute.
            receiver_id: the name for a file that is made.

        Raises:
            SpoolDamagedError: it is not what was written.
            SpoolRefusedError: it is not ours, or cannot be used.
            SpoolUnavailableError: the disk is full or failed.
        """
        create_private(path)
        with opening(path), ExitStack() as undo:
            writer = undo.enter_context(closing(connect(path)))
            if is_vacant(writer, path):
                _check_empty(path)
                create(writer, receiver_id)
            elif path.stat().st_size <= _CHECKED_BYTES:
                _check(writer, path)
            upgrade(writer)
            reader = undo.enter_context(closing(connect(path)))
            reader.execute("PRAGMA query_only = ON")
            opened = cls(path, writer, reader)
            undo.pop_all()
        return opened

    def close(self) -> None:
        """Close both connections; SQLite moves what is in the -wal into the database."""
        self._reader.close()
        with translating("closing", self._path):
            self._writer.close()

    def waiting(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """(sequence, received_unix_nano, entries, size of data in bytes, digest), in order.

        `data` itself is not read: its size is in the row's header.
        """
        with opening(self._path):
            yield from self._writer.execute(
                "SELECT sequence, received_unix_nano, entries, length(data), digest "
                "FROM requests ORDER BY sequence"
            )

    def digests(self) -> Iterator[tuple[int, int, bytes]]:
        """(sequence, received_unix_nano, digest) of requests that are gone, in order."""
        with opening(self._path):
            yield from self._writer.execute(
                "SELECT sequence, received_unix_nano, digest FROM digests ORDER BY sequence"
            )

    def append(
        self, entries: Sequence[Entry], released_sequence: int, forgotten_sequence: int
    ) -> None:
        """Add rows and, as `discard`, delete a step of others; all or nothing, and synced."""
        with translating("appending", self._path):
            self._identity.check_in_place()
            if self.released_sequence >= released_sequence and len(entries) <= _ROWS_A_STATEMENT:
                self._insert(entries)  # a transaction of its own, without BEGIN and COMMIT
                return
            with transaction(self._writer):
                reached = self._discard(released_sequence, forgotten_sequence)
                for first in range(0, len(entries), _ROWS_A_STATEMENT):
                    self._insert(entries[first : first + _ROWS_A_STATEMENT])
            self.released_sequence, self.forgotten_sequence = reached, forgotten_sequence

    def discard(self, released_sequence: int, forgotten_sequence: int) -> bool:
        """Delete a step of the rows up to one sequence, and the digests up to another.

        Returns:
            Whether there is more to delete.
        """
        with translating("deleting what is stored", self._path):
            self._identity.check_in_place()
            with transaction(self._writer):
                reached = self._discard(released_sequence, forgotten_sequence)
            self.released_sequence, self.forgotten_sequence = reached, forgotten_sequence
        return reached < released_sequence

    def remember(self, digests: Iterable[tuple[int, int, bytes]]) -> None:
        """Add (sequence, received_unix_nano, digest) of requests that are gone."""
        with translating("keeping digests", self._path), transaction(self._writer):
            self._writer.executemany("INSERT INTO digests VALUES (?, ?, ?)", digests)

    def note_unasked(self, after_sequence: int | None) -> None:
        """Keep after which row the ledger could not be asked; None when it has answered."""
        with translating("keeping a watermark", self._path):
            self._identity.check_in_place()
            self._writer.execute("UPDATE spool SET unasked_after = ?", (after_sequence,))
        self.unasked_after = after_sequence

    def rename(self, receiver_id: str, released_sequence: int) -> None:
        """Delete the rows up to a sequence, and be called otherwise from there on; all or nothing.

        Args:
            receiver_id: has no watermark in the ledger yet, so all rows that stay are its own.
            released_sequence: of the last row that is stored.
        """
        with translating("taking a new name", self._path):
            self._identity.check_in_place()
            with transaction(self._writer):
                self._delete_up_to(released_sequence)
                self._writer.execute(
                    "UPDATE spool SET receiver_id = ?, unasked_after = NULL", (receiver_id,)
                )
        self.receiver_id, self.released_sequence = receiver_id, released_sequence
        self.unasked_after = None

    def touch(self) -> None:
        """Write what is there already, and sync it."""
        with translating("syncing", self._path):
            self._writer.execute("UPDATE spool SET released_sequence = released_sequence")

    def shrink(self) -> None:
        """Give free pages back beyond those that are kept, a step at most."""
        with translating("shrinking the file", self._path):
            (free,) = self._writer.execute("PRAGMA freelist_count").fetchone()
            pages = min(free - _FREE_PAGES_KEPT, _FREE_PAGES_A_STEP)
            if pages > 0:
                # execute would stop after the first page: each is a row without columns.
                self._writer.executescript(f"PRAGMA incremental_vacuum({pages})")

    def checkpoint(self) -> None:
        """Move what is in the -wal into the database, beside writing; a call that reads."""
        with translating("moving the -wal into the file", self._path):
            self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def read(self, after_sequence: int, last_sequence: int, max_bytes: int) -> list[Entry]:
        """Rows after one sequence and up to another in order, decompressed.

        Args:
            after_sequence: of the last row that is not wanted.
            last_sequence: of the last row that is.
            max_bytes: bound of all `data` together; the first row is read whatever its size.

        Raises:
            SpoolDamagedError: one of them does not read back as it was written.
        """
        found: list[Entry] = []
        left = max_bytes
        with translating("reading", self._path):
            selected = self._reader.execute(_ROWS_BETWEEN, (after_sequence, last_sequence))
            with closing(selected) as rows:
                for row in rows:
                    try:
                        left -= size_bytes(row[_DATA])
                        if found and left < 0:
                            break
                        found.append(entry_of(row))
                    except (TypeError, ValueError) as error:
                        raise SpoolDamagedError(
                            f"spool {self._path}: reading request {row[0]}: {error}"
                        ) from error
        return found

    def _insert(self, entries: Sequence[Entry]) -> None:
        values: list[int | bytes | str] = []
        for entry in entries:
            values += (
                entry.sequence,
                entry.received_unix_nano,
                entry.earliest_unix_nano,
                entry.latest_unix_nano,
                entry.entries,
                entry.digest,
                entry.data,
                entry.signal,
            )
        self._writer.execute(_insert_statement(len(entries)), values)

    def _discard(self, released_sequence: int, forgotten_sequence: int) -> int:
        # Up to which sequence rows are gone once this is committed.
        reached = self._end_of_step(released_sequence)
        if reached > self.released_sequence:
            self._delete_up_to(reached)
        self._writer.execute("DELETE FROM digests WHERE sequence <= ?", (forgotten_sequence,))
        return reached

    def _delete_up_to(self, sequence: int) -> None:
        self._writer.execute(
            "INSERT INTO digests SELECT sequence, received_unix_nano, digest FROM requests "
            "WHERE sequence <= ?",
            (sequence,),
        )
        self._writer.execute("DELETE FROM requests WHERE sequence <= ?", (sequence,))
        self._writer.execute("UPDATE spool SET released_sequence = ?", (sequence,))

    def _end_of_step(self, released_sequence: int) -> int:
        if released_sequence <= self.released_sequence:
            return self.released_sequence
        step = self._writer.execute(
            "SELECT sequence FROM requests WHERE sequence <= ? ORDER BY sequence LIMIT 1 OFFSET ?",
            (released_sequence, _ROWS_A_STEP - 1),
        ).fetchone()
        return released_sequence if step is None else int(step[0])


def entry_of(row: Sequence[Any]) -> Entry:
    """The entry in a row of COLUMNS, decompressed.

    Raises:
        TypeError, ValueError: a value is not what may be there, or the data are damaged.
    """
    sequence, received_unix_nano, earliest_unix_nano, latest_unix_nano, entries, digest = row[:6]
    data, signal = row[_DATA:]
    if not all(isinstance(number, int) for number in row[:5]):
        raise TypeError(f"numbers expected in {row[:5]}")
    if not isinstance(digest, bytes) or len(digest) != _DIGEST_BYTES:
        raise ValueError(f"a digest of {_DIGEST_BYTES} bytes expected, found {digest!r:.60}")
    if signal not in _SIGNALS:
        raise ValueError(f"a signal of {', '.join(_SIGNALS)} expected, found {signal!r:.60}")
    return Entry(
        sequence=sequence,
        received_unix_nano=received_unix_nano,
        earliest_unix_nano=earliest_unix_nano,
        latest_unix_nano=latest_unix_nano,
        entries=entries,
        digest=digest,
        data=decompress(data),
        signal=signal,
    )


def name_and_watermarks(connection: sqlite3.Connection, path: Path) -> tuple[str, int, int | None]:
    """The receiver's id that is kept in the file, and its watermarks.

    Returns:
        The id, up to which sequence rows are gone, and after which the ledger could not be asked,
        None where it could.

    Raises:
        SpoolDamagedError: they are missing.
    """
    row = connection.execute(f"SELECT {watermark_columns(connection)} FROM spool").fetchone()  # noqa: S608 - constants
    if row is None or not (
        isinstance(row[0], str) and isinstance(row[1], int) and isinstance(row[2], int | None)
    ):
        raise SpoolDamagedError(
            f"spool {path}: its name and watermarks are missing, found {row!r:.60}"
        )
    return row[0], row[1], row[2]


@cache
def _insert_statement(rows: int) -> str:
    return f"INSERT INTO requests ({COLUMNS}) VALUES " + ", ".join(["(?,?,?,?,?,?,?,?)"] * rows)  # noqa: S608 - constant


def _check_empty(path: Path) -> None:
    # SQLite takes what is shorter than its smallest page for an empty database.
    if 0 < (found_bytes := path.stat().st_size) < _SMALLEST_PAGE_BYTES:
        raise SpoolDamagedError(f"spool {path}: a file of {found_bytes} bytes is no database")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise SpoolDamagedError(f"spool {path}: quick_check: {found}")
