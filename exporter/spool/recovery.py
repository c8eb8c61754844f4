"""Renames a damaged file, and copies what can still be read of it into a new one.

Each request is read by its key and verified by its checksum, so damage costs the requests that it
has hit and no others.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Final

from exporter.spool.database import SpoolDatabase
from exporter.spool.entry import Entry, entry_of_row
from exporter.spool.errors import (
    SpoolDamagedError,
    SpoolUnavailableError,
    translate_open_errors,
)
from exporter.spool.schema import Watermarks, columns_in, read_watermarks
from exporter.sqlite_files import connect

_log = logging.getLogger(__name__)

_REQUESTS_PER_GROUP: Final = 64
_LARGEST_SEQUENCE: Final = 2**63 - 1
_WAL_HEADER_BYTES: Final = 32
_WAL_MAGICS: Final = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def rename_damaged(path: Path) -> Path:
    """Rename the file with its -wal and -shm to `<name>.corrupt-<number>`; the new path.

    Raises:
        SpoolRefusedError: the folder cannot be written.
    """
    with translate_open_errors(path):
        damaged = _free_name(path)
        # The -wal first: after a crash in between, a -wal without its database does no harm, and
        # a database without its -wal has lost requests.
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(damaged.with_name(damaged.name + suffix))
    return damaged


def rename_invalid_wal(path: Path) -> Path | None:
    """Rename a -wal that has no valid header; its new path, or None where nothing was renamed.

    SQLite would overwrite such a file without a message. A header of zeros is valid here: a power
    cut leaves it where nothing had been synced.

    Raises:
        SpoolRefusedError: the file cannot be read or renamed.
    """
    wal = path.with_name(f"{path.name}-wal")
    if not wal.is_file():
        return None
    with translate_open_errors(path):
        with wal.open("rb") as file:
            header = file.read(_WAL_HEADER_BYTES)
        if len(header) < _WAL_HEADER_BYTES or not any(header) or header.startswith(_WAL_MAGICS):
            return None
        damaged = _free_name(path)
        return wal.rename(damaged.with_name(f"{damaged.name}-wal"))


def recover(path: Path, damaged: Path, watermarks: Watermarks | None = None) -> SpoolDatabase:
    """Create a new file and copy into it what can be read of the damaged one.

    Args:
        path: of the new file.
        damaged: of the renamed file, which is only read.
        watermarks: None to read them from the damaged file. Without them nothing is copied: under
            a new name the ledger could not tell which requests are stored, and would store those
            twice.

    Raises:
        SpoolRefusedError, SpoolUnavailableError: the new file cannot be created.
    """
    with translate_open_errors(damaged):
        source = connect(damaged, parameters="mode=ro")
    with closing(source):
        try:
            watermarks = watermarks or read_watermarks(source, damaged)
        except (sqlite3.Error, SpoolDamagedError) as error:
            _log.error("spool %s: nothing can be copied from %s: %s", path, damaged, error)
            return SpoolDatabase.open(path)
        database = SpoolDatabase.open(path, watermarks.receiver_id)
        try:
            _copy(source, database, watermarks)
        except SpoolUnavailableError as error:
            _log.error(
                "spool %s: cannot copy more requests; the others stay in %s: %s",
                path,
                damaged,
                error,
            )
    return database


def _free_name(path: Path) -> Path:
    taken = {one.name for one in path.parent.iterdir()}
    number = 1
    while any(f"{path.name}.corrupt-{number}{suffix}" in taken for suffix in ("", "-wal", "-shm")):
        number += 1
    return path.with_name(f"{path.name}.corrupt-{number}")


def _copy(source: sqlite3.Connection, database: SpoolDatabase, watermarks: Watermarks) -> None:
    database.delete_step(watermarks.released_sequence, 0)
    if watermarks.ledger_unreadable_after is not None:
        database.set_ledger_unreadable_after(watermarks.ledger_unreadable_after)
    database.insert_digests(_read_digests(source, watermarks.released_sequence))
    entries = _read_entries(source, _read_sequences(source, watermarks))
    while group := list(islice(entries, _REQUESTS_PER_GROUP)):
        database.append(group, watermarks.released_sequence, 0)


def _read_sequences(source: sqlite3.Connection, watermarks: Watermarks) -> list[int]:
    # A scan ends at the damage, so a second one begins at the other end.
    last_sequence = watermarks.last_sequence
    bounds = (
        watermarks.released_sequence,
        _LARGEST_SEQUENCE if last_sequence is None else last_sequence,
    )
    found: set[int] = set()
    for order in ("ASC", "DESC"):
        try:
            for (sequence,) in source.execute(
                "SELECT sequence FROM requests WHERE sequence > ? AND sequence <= ? "  # noqa: S608 - constants
                f"ORDER BY sequence {order}",
                bounds,
            ):
                found.add(sequence)
        except sqlite3.DatabaseError:
            continue
        break
    return sorted(found)


def _read_entries(source: sqlite3.Connection, sequences: list[int]) -> Iterator[Entry]:
    columns = columns_in(source)
    for sequence in sequences:
        # A damaged request stays in the renamed file; the caller reports how many are missing.
        with suppress(sqlite3.DatabaseError, TypeError, ValueError):
            row = source.execute(
                f"SELECT {columns} FROM requests WHERE sequence = ?",  # noqa: S608 - constants
                (sequence,),
            ).fetchone()
            entry_of_row(row)  # only verifies: the copy stays compressed
            yield Entry(*row)


def _read_digests(
    source: sqlite3.Connection, released_sequence: int
) -> Iterator[tuple[int, int, bytes]]:
    with suppress(sqlite3.DatabaseError):  # the digests before the damage are copied
        for sequence, received_unix_nano, digest in source.execute(
            "SELECT sequence, received_unix_nano, digest FROM digests "
            "WHERE sequence <= ? ORDER BY sequence",
            (released_sequence,),
        ):
            if isinstance(received_unix_nano, int) and isinstance(digest, bytes):
                yield sequence, received_unix_nano, digest
