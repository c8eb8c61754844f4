"""Reads and writes the rows of one open spool file; counts nothing.

One connection writes and another reads, so both can run at the same time. The caller holds one
lock for each method that writes, and another for each that reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import Final, Self

from exporter.spool.compression import size_bytes
from exporter.spool.entry import COLUMNS, DATA_COLUMN, Entry, entry_of_row, row_of_entry
from exporter.spool.errors import (
    SpoolDamagedError,
    SpoolUnavailableError,
    translate_errors,
    translate_open_errors,
)
from exporter.spool.schema import (
    PRAGMAS,
    SPOOL_FILE,
    create_tables,
    is_vacant,
    read_watermarks,
    upgrade,
)
from exporter.sqlite_files import (
    READ_ONLY,
    SMALLEST_PAGE_BYTES,
    FileIdentity,
    connect,
    count_free_pages,
    transaction,
    vacuum_pages,
)

_ROWS_BETWEEN: Final = (
    f"SELECT {COLUMNS} FROM requests WHERE sequence > ? AND sequence <= ? ORDER BY sequence"  # noqa: S608 - constant
)
# One statement inserts many rows, because sqlite3 releases the interpreter lock at each step and
# gets it back after 5 ms when other threads are busy. More rows than this take a second statement.
_ROWS_PER_STATEMENT: Final = 64
# Rows deleted in one transaction: 15 ms, for which an append may have to wait.
_ROWS_PER_STEP: Final = 1000
# quick_check reads the whole file: a second for this much on a cold disk, two minutes for 10 GB.
# Damage in a larger file is found when it is read.
_CHECKED_BYTES: Final = 64 * 1024 * 1024
# Free pages are kept for reuse up to 16 MB; the others are cut off in steps of 32 MB.
_FREE_PAGES_KEPT: Final = 2048
_FREE_PAGES_PER_STEP: Final = 4096


class SpoolDatabase:
    """One open file; made by `open`.

    Attributes:
        receiver_id: the name of the spool in the database's ledger.
        released_sequence: rows up to it were deleted.
        evicted_sequence: this object has deleted the digests up to this sequence; older ones may
            also be missing.
        ledger_unreadable_after: see `Watermarks`.
    """

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._path = path
        self._identity = FileIdentity.of(path, SPOOL_FILE.label, SpoolUnavailableError)
        found = read_watermarks(writer, path)
        self.receiver_id = found.receiver_id
        self.released_sequence = found.released_sequence
        self.ledger_unreadable_after = found.ledger_unreadable_after
        self.evicted_sequence = 0

    @classmethod
    def open(cls, path: Path, receiver_id: str | None = None) -> Self:
        """Open the file, or create it.

        Args:
            path: absolute.
            receiver_id: the name for a file that is created.

        Raises:
            SpoolDamagedError: it does not read back as it was written.
            SpoolRefusedError: it belongs to another program, or cannot be used.
            SpoolUnavailableError: the disk is full or failed.
        """
        SPOOL_FILE.create_private(path)
        with translate_open_errors(path), ExitStack() as undo:
            writer = undo.enter_context(closing(connect(path, pragmas=PRAGMAS)))
            if is_vacant(writer, path):
                _check_size(path)
                create_tables(writer, receiver_id)
            elif path.stat().st_size <= _CHECKED_BYTES:
                _check_pages(writer, path)
            upgrade(writer)
            reader = undo.enter_context(closing(connect(path, pragmas=(*PRAGMAS, *READ_ONLY))))
            opened = cls(path, writer, reader)
            undo.pop_all()
        return opened

    def close(self) -> None:
        """Close both connections; SQLite moves the content of the -wal into the database."""
        self._reader.close()
        with translate_errors("closing", self._path):
            self._writer.close()

    def pending(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """(sequence, received_unix_nano, entries, size of data in bytes, digest), in order.

        `data` itself is not read: its size is in the row's header.
        """
        with translate_open_errors(self._path):
            yield from self._writer.execute(
                "SELECT sequence, received_unix_nano, entries, length(data), digest "
                "FROM requests ORDER BY sequence"
            )

    def digests(self) -> Iterator[tuple[int, int, bytes]]:
        """(sequence, received_unix_nano, digest) of requests that were deleted, in order."""
        with translate_open_errors(self._path):
            yield from self._writer.execute(
                "SELECT sequence, received_unix_nano, digest FROM digests ORDER BY sequence"
            )

    def append(
        self, entries: Sequence[Entry], released_sequence: int, evicted_sequence: int
    ) -> None:
        """Insert rows and, as `delete_step`, delete others; all or nothing, and synced."""
        with translate_errors("appending", self._path):
            self._identity.check_in_place()
            if self.released_sequence >= released_sequence and len(entries) <= _ROWS_PER_STATEMENT:
                self._insert(entries)  # a transaction of its own, without BEGIN and COMMIT
                return
            with transaction(self._writer):
                reached = self._delete(released_sequence, evicted_sequence)
                for first in range(0, len(entries), _ROWS_PER_STATEMENT):
                    self._insert(entries[first : first + _ROWS_PER_STATEMENT])
            self.released_sequence, self.evicted_sequence = reached, evicted_sequence

    def delete_step(self, released_sequence: int, evicted_sequence: int) -> bool:
        """Delete at most 1,000 rows up to one sequence, and all digests up to another.

        Returns:
            Whether there is more to delete.
        """
        if (
            released_sequence <= self.released_sequence
            and evicted_sequence <= self.evicted_sequence
        ):
            return False
        with translate_errors("deleting what is stored", self._path):
            self._identity.check_in_place()
            with transaction(self._writer):
                reached = self._delete(released_sequence, evicted_sequence)
            self.released_sequence, self.evicted_sequence = reached, evicted_sequence
        return reached < released_sequence

    def insert_digests(self, digests: Iterable[tuple[int, int, bytes]]) -> None:
        """Insert (sequence, received_unix_nano, digest) of requests that were deleted."""
        with translate_errors("keeping digests", self._path), transaction(self._writer):
            self._writer.executemany("INSERT INTO digests VALUES (?, ?, ?)", digests)

    def set_ledger_unreadable_after(self, sequence: int | None) -> None:
        """Write `Watermarks.ledger_unreadable_after`, synced."""
        with translate_errors("keeping a watermark", self._path):
            self._identity.check_in_place()
            self._writer.execute("UPDATE spool SET unasked_after = ?", (sequence,))
        self.ledger_unreadable_after = sequence

    def change_receiver_id(self, receiver_id: str, released_sequence: int) -> None:
        """Delete the rows up to a sequence, and give the others a new name; all or nothing.

        Args:
            receiver_id: a name that the ledger does not know.
            released_sequence: of the last row that is stored.
        """
        with translate_errors("taking a new name", self._path):
            self._identity.check_in_place()
            with transaction(self._writer):
                self._delete_up_to(released_sequence)
                self._writer.execute(
                    "UPDATE spool SET receiver_id = ?, unasked_after = NULL", (receiver_id,)
                )
        self.receiver_id, self.released_sequence = receiver_id, released_sequence
        self.ledger_unreadable_after = None

    def sync_without_change(self) -> None:
        """Write a value that is there already, and sync it."""
        with translate_errors("syncing", self._path):
            self._writer.execute("UPDATE spool SET released_sequence = released_sequence")

    def vacuum_step(self) -> None:
        """Cut free pages off the file beyond those that are kept, one step at most."""
        with translate_errors("shrinking the file", self._path):
            pages = count_free_pages(self._writer) - _FREE_PAGES_KEPT
            if pages > 0:
                vacuum_pages(self._writer, min(pages, _FREE_PAGES_PER_STEP))

    def checkpoint(self) -> None:
        """Move the content of the -wal into the database; a method that reads."""
        with translate_errors("moving the -wal into the file", self._path):
            self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def read(self, after_sequence: int, last_sequence: int, max_bytes: int) -> list[Entry]:
        """Rows after one sequence and up to another in order, decompressed.

        Args:
            after_sequence: of the last row that is not wanted.
            last_sequence: of the last row that is.
            max_bytes: bound of all `data` together; the first row is read even if it is larger.

        Raises:
            SpoolDamagedError: one of them does not read back as it was written.
        """
        found: list[Entry] = []
        remaining_bytes = max_bytes
        with translate_errors("reading", self._path):
            selected = self._reader.execute(_ROWS_BETWEEN, (after_sequence, last_sequence))
            with closing(selected) as rows:
                for row in rows:
                    try:
                        remaining_bytes -= size_bytes(row[DATA_COLUMN])
                        if found and remaining_bytes < 0:
                            break
                        found.append(entry_of_row(row))
                    except (TypeError, ValueError) as error:
                        raise SpoolDamagedError(
                            f"spool {self._path}: reading request {row[0]}: {error}"
                        ) from error
        return found

    def _insert(self, entries: Sequence[Entry]) -> None:
        values: list[int | bytes | str] = []
        for entry in entries:
            values += row_of_entry(entry)
        self._writer.execute(_insert_statement(len(entries)), values)

    def _delete(self, released_sequence: int, evicted_sequence: int) -> int:
        # The sequence up to which rows are deleted once this is committed.
        reached = self._step_end_sequence(released_sequence)
        if reached > self.released_sequence:
            self._delete_up_to(reached)
        self._writer.execute("DELETE FROM digests WHERE sequence <= ?", (evicted_sequence,))
        return reached

    def _delete_up_to(self, sequence: int) -> None:
        self._writer.execute(
            "INSERT INTO digests SELECT sequence, received_unix_nano, digest FROM requests "
            "WHERE sequence <= ?",
            (sequence,),
        )
        self._writer.execute("DELETE FROM requests WHERE sequence <= ?", (sequence,))
        self._writer.execute("UPDATE spool SET released_sequence = ?", (sequence,))

    def _step_end_sequence(self, released_sequence: int) -> int:
        if released_sequence <= self.released_sequence:
            return self.released_sequence
        row = self._writer.execute(
            "SELECT sequence FROM requests WHERE sequence <= ? ORDER BY sequence LIMIT 1 OFFSET ?",
            (released_sequence, _ROWS_PER_STEP - 1),
        ).fetchone()
        return released_sequence if row is None else int(row[0])


@cache
def _insert_statement(rows: int) -> str:
    return f"INSERT INTO requests ({COLUMNS}) VALUES " + ", ".join(["(?,?,?,?,?,?,?,?)"] * rows)  # noqa: S608 - constant


def _check_size(path: Path) -> None:
    if 0 < (found_bytes := path.stat().st_size) < SMALLEST_PAGE_BYTES:
        raise SpoolDamagedError(f"spool {path}: a file of {found_bytes} bytes is not a database")


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise SpoolDamagedError(f"spool {path}: quick_check: {found}")
