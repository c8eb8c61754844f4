"""Opens SQLite connections for writing, reading and memory, and guards their statements."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exporter.errors import BackendRefusedError
from exporter.sqlite_files import DURABLE, READ_ONLY, connect, is_lock

_VERSION_NEEDED: Final = (3, 35, 0)  # WITH ... AS MATERIALIZED, which the queries need
_LOCK_POLL_SECONDS: Final = 0.01
# The table of incoming series is emptied with each batch; it need not reach a disk.
_WRITER: Final = (*DURABLE, "temp_store = MEMORY")


def require_version(found: tuple[int, int, int] = sqlite3.sqlite_version_info) -> None:
    """Refuse a SQLite library that lacks what the statements of this package use."""
    if found < _VERSION_NEEDED:
        raise BackendRefusedError(
            f"sqlite: this Python uses SQLite {'.'.join(map(str, found))}, and "
            f"{'.'.join(map(str, _VERSION_NEEDED))} or later is needed; install a newer SQLite "
            "library, or a Python that brings one"
        )


def connect_writer(path: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    """A connection for the one writing thread to an existing file."""
    return connect(path, busy_timeout_seconds=busy_timeout_seconds, pragmas=_WRITER)


def connect_reader(path: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    """A connection to an existing file that cannot change data."""
    return connect(path, busy_timeout_seconds=busy_timeout_seconds, pragmas=READ_ONLY)


def connect_memory() -> sqlite3.Connection:
    """A new, empty database in memory. Closing the connection discards it."""
    connection = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, cached_statements=256
    )
    # Frees the memory of deleted rows at each commit; must precede the first table.
    connection.execute("PRAGMA auto_vacuum = FULL")
    return connection


def use_wal(connection: sqlite3.Connection, timeout_seconds: float) -> None:
    """Set write-ahead logging, so that readers see the last commit during a write.

    The file keeps the setting. The change needs an exclusive lock, for which SQLite does not wait
    as it waits for other locks. So two programs that start at the same time need this loop.
    """
    give_up_at = time.monotonic() + timeout_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_lock(error) or time.monotonic() >= give_up_at:
                raise
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return


@contextmanager
def dry_run_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that is always rolled back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        if connection.in_transaction:  # SQLite ends it by itself after some errors
            connection.execute("ROLLBACK")


@contextmanager
def forbid_writes(connection: sqlite3.Connection) -> Iterator[None]:
    """Refuse every change of data inside the block."""
    connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        if connection.in_transaction:  # the statement was a BEGIN
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA query_only = OFF")
