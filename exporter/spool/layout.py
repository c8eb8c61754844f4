"""The tables of a spool's file, its connections, and whether a file is such a one."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Final

from exporter.spool.errors import SpoolRefusedError
from exporter.sqlitefiles import transaction

__all__ = [
    "APPLICATION_ID",
    "COLUMNS",
    "FORMAT",
    "columns_of",
    "connect",
    "connect_untouched",
    "create",
    "is_vacant",
    "upgrade",
    "watermark_columns",
]

# "OFSP" in the database header (offset 68) tells our files from everybody else's.
APPLICATION_ID: Final = 0x4F465350
FORMAT: Final = 3

COLUMNS: Final = (
    "sequence, received_unix_nano, earliest_unix_nano, latest_unix_nano, entries, digest, data, "
    "signal"
)
"""Of a request, in the order of `Entry`."""

_UPGRADES: Final = {
    # What format 1 held were metrics alone.
    2: "ALTER TABLE requests ADD COLUMN signal TEXT NOT NULL DEFAULT 'metrics'",
    3: "ALTER TABLE spool ADD COLUMN unasked_after INTEGER",
}

# Of 4, 8, 16 and 32 KB: the fewest overflow pages for an entry of 8 KB that still waste little.
_PAGE_BYTES: Final = 8192
# 16 MB of -wal: what is released soon is written into the database once, or not at all.
_CHECKPOINT_PAGES: Final = 2000
_WAL_KEPT_BYTES: Final = 64 * 1024 * 1024
_CACHED_STATEMENTS: Final = 128

# `data` is last, so that everything else of a row is on its first page. Digests are moved to a
# table of their own when their request is deleted. Both are in the order of arrival: what is new
# goes to the end, what is old leaves at the front, and no page in the middle is touched.
_TABLES: Final = """
CREATE TABLE spool (
    receiver_id TEXT NOT NULL,
    released_sequence INTEGER NOT NULL,  -- of rows that are gone, the last
    unasked_after INTEGER  -- rows after it came while the ledger could not be asked; else NULL
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


def connect(path: Path) -> sqlite3.Connection:
    """A connection that syncs every commit; the file must be there."""
    # mode=rw: a file that has vanished is an error and not a reason to begin an empty one.
    # check_same_thread: the spool's locks see to it.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=5.0,  # for a tool that looks at the file; no other writer has the lock
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )
    try:
        # NORMAL may lose the last commits in a power cut, and those have been acknowledged.
        connection.execute("PRAGMA synchronous = FULL")
        # Some builds overwrite what is deleted with zeros, which doubles the cost of a release.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_untouched(path: Path) -> sqlite3.Connection:
    """A connection that leaves the file and its -wal as they are."""
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)


def is_vacant(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether there is nothing in the file yet (True) or a spool of ours (False).

    Raises:
        SpoolRefusedError: it is another program's, or of a later version; nothing was changed.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (format_found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id == 0 and tables == 0:
        return True
    if application_id != APPLICATION_ID:
        raise SpoolRefusedError(
            f"spool {path}: this file belongs to another program (application_id "
            f"{application_id}) and was left as it is; name another file, or one that does not "
            "exist yet"
        )
    if format_found > FORMAT:
        raise SpoolRefusedError(
            f"spool {path}: the file has format {format_found}, and this version reads up to "
            f"{FORMAT}; use the version that wrote it, or name another file"
        )
    return False


def create(connection: sqlite3.Connection, receiver_id: str | None = None) -> None:
    """Make the tables in a file that is vacant.

    Args:
        connection: to that file.
        receiver_id: the name that goes on from an earlier file; None makes a new one.
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
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    # So that the name is in the database itself, whatever becomes of the -wal.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables of an earlier format up to this one; all or nothing."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found >= FORMAT:
        return
    with transaction(connection):
        for version in range(found + 1, FORMAT + 1):
            connection.execute(_UPGRADES[version])
        connection.execute(f"PRAGMA user_version = {FORMAT}")


def columns_of(connection: sqlite3.Connection) -> str:
    """COLUMNS, as they are selected from a file that may have an earlier format."""
    names = {name for _, name, *_ in connection.execute("PRAGMA table_info(requests)")}
    return COLUMNS if "signal" in names else COLUMNS.replace("signal", "'metrics'")


def watermark_columns(connection: sqlite3.Connection) -> str:
    """The columns of the table `spool`, likewise."""
    names = {name for _, name, *_ in connection.execute("PRAGMA table_info(spool)")}
    unasked_after = "unasked_after" if "unasked_after" in names else "NULL"
    return f"receiver_id, released_sequence, {unasked_after}"
