"""The tables of the spool's file: created, checked for their format, and upgraded."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Final, NamedTuple

from exporter.spool.entry import COLUMNS
from exporter.spool.errors import SpoolDamagedError, SpoolRefusedError
from exporter.sqlite_files import DURABLE, FileKind, transaction

SPOOL_FILE: Final = FileKind(
    label="spool",
    application_id=0x4F465350,  # "OFSP"
    setting="the path of the spool",
    refused=SpoolRefusedError,
)
_FORMAT: Final = 3

_UPGRADES: Final = {
    # Format 1 held requests of metrics only.
    2: "ALTER TABLE requests ADD COLUMN signal TEXT NOT NULL DEFAULT 'metrics'",
    3: "ALTER TABLE spool ADD COLUMN unasked_after INTEGER",
}

# Measured with 4, 8, 16 and 32 KB: 8 KB pages give few overflow pages for an entry of 8 KB and
# waste little space.
_PAGE_BYTES: Final = 8192

PRAGMAS: Final = (
    *DURABLE,
    # Some builds overwrite deleted data with zeros, which makes commits of 32 cost 1.6 times as
    # much.
    "secure_delete = OFF",
    # 16 MB of -wal. A request that is released before the checkpoint need not be written into the
    # database itself.
    "wal_autocheckpoint = 2000",
)
"""Of both connections; the one that reads may checkpoint."""

# `data` is last, so that the other columns of a row are on its first page. A digest moves to a
# table of its own when its request is deleted. Both tables are in the order of arrival: rows are
# added at the end and deleted at the front, and no page in the middle is touched.
_TABLES: Final = """
CREATE TABLE spool (
    receiver_id TEXT NOT NULL,
    released_sequence INTEGER NOT NULL,  -- rows up to it were deleted
    unasked_after INTEGER  -- rows after it came while the ledger could not be read; else NULL
);
CREATE TABLE requests (
    sequence INTEGER PRIMARY KEY,
    received_unix_nano INTEGER NOT NULL,
    earliest_unix_nano INTEGER NOT NULL,
    latest_unix_nano INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    digest BLOB NOT NULL,
    signal TEXT NOT NULL DEFAULT 'metrics',
    data BLOB NOT NULL
);
CREATE TABLE digests (
    sequence INTEGER PRIMARY KEY,
    received_unix_nano INTEGER NOT NULL,
    digest BLOB NOT NULL
);
"""


class Watermarks(NamedTuple):
    """The name of a spool, and its positions in the sequence of requests.

    Attributes:
        receiver_id: the name in the database's ledger.
        released_sequence: everything up to it is stored by the backend.
        ledger_unreadable_after: requests after it were taken while the ledger could not be read;
            None when there are no such requests. The column is `unasked_after`.
        last_sequence: the last acknowledged request; None when only the file is known. Later rows
            in the file belong to a group whose sync failed; its senders were told to send again.
    """

    receiver_id: str
    released_sequence: int
    ledger_unreadable_after: int | None
    last_sequence: int | None = None


def is_vacant(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has no content yet (True) or is a spool (False).

    Raises:
        SpoolRefusedError: it belongs to another program or a later version; nothing was changed.
    """
    if SPOOL_FILE.is_vacant(connection, path):
        return True
    found = _format_of(connection)
    if found > _FORMAT:
        raise SpoolRefusedError(
            f"spool {path}: the file has format {found}, and this version reads up to "
            f"{_FORMAT}; use the version that wrote it, or name another file"
        )
    return False


def create_tables(connection: sqlite3.Connection, receiver_id: str | None = None) -> None:
    """Create the tables in a vacant file.

    Args:
        connection: to that file.
        receiver_id: the name that an earlier file had; None makes a new one.
    """
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):
        for statement in _TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO spool VALUES (?, 0, NULL)", (receiver_id or str(uuid.uuid4()),)
        )
        connection.execute(f"PRAGMA application_id = {SPOOL_FILE.application_id}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    # The name is in the database itself from here on, even if the -wal is lost.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables of an earlier format up to this one; all or nothing."""
    found = _format_of(connection)
    if found >= _FORMAT:
        return
    with transaction(connection):
        for version in range(found + 1, _FORMAT + 1):
            connection.execute(_UPGRADES[version])
        connection.execute(f"PRAGMA user_version = {_FORMAT}")


def columns_in(connection: sqlite3.Connection) -> str:
    """COLUMNS, as they are selected from a file of this format or an earlier one."""
    has_signal = _has_column(connection, "requests", "signal")
    return COLUMNS if has_signal else COLUMNS.replace("signal", "'metrics'")


def read_watermarks(connection: sqlite3.Connection, path: Path) -> Watermarks:
    """The row of the table `spool`, from a file of this format or an earlier one.

    Raises:
        SpoolDamagedError: it is missing.
    """
    column = "unasked_after" if _has_column(connection, "spool", "unasked_after") else "NULL"
    row = connection.execute(
        f"SELECT receiver_id, released_sequence, {column} FROM spool"  # noqa: S608 - constants
    ).fetchone()
    if row is None or not (
        isinstance(row[0], str) and isinstance(row[1], int) and isinstance(row[2], int | None)
    ):
        raise SpoolDamagedError(
            f"spool {path}: its name and watermarks are missing, found {row!r:.60}"
        )
    return Watermarks(*row)


def _format_of(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)


def _has_column(connection: sqlite3.Connection, table: str, column: str) -> bool:
    return any(name == column for _, name, *_ in connection.execute(f"PRAGMA table_info({table})"))
