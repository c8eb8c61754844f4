"""Connections to SQLite with the settings that this project relies on, each with its reason."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exporter.backends.sqlite.errors import is_lock
from exporter.errors import BackendRefusedError

__all__ = [
    "connect_memory",
    "connect_reader",
    "connect_writer",
    "dry_run_transaction",
    "reading_only",
    "require_version",
    "use_wal",
]

_VERSION_NEEDED: Final = (3, 35, 0)  # WITH ... AS MATERIALIZED, which the queries rely on
_WAL_KEPT_BYTES: Final = 64 * 1024 * 1024
_CACHED_STATEMENTS: Final = 256
_LOCK_POLL_SECONDS: Final = 0.01


def require_version(found: tuple[int, int, int] = sqlite3.sqlite_version_info) -> None:
    """Refuse a SQLite library that lacks what the statements of this package use."""
    if found < _VERSION_NEEDED:
        raise BackendRefusedError(
            f"sqlite: this Python uses SQLite {'.'.join(map(str, found))}, and "
            f"{'.'.join(map(str, _VERSION_NEEDED))} or later is needed; install a newer SQLite "
            "library, or a Python that brings one"
        )


def connect_writer(path: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    """A connection for the one writing thread; the file must be there."""
    connection = _connect(path, busy_timeout_seconds)
    try:
        _sync_every_commit(connection)
        _cut_the_wal_back(connection)
        _keep_scratch_in_memory(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    """A connection that cannot change data; the file must be there."""
    connection = _connect(path, busy_timeout_seconds)
    try:
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_memory() -> sqlite3.Connection:
    """A new, empty database that lives as long as its connection."""
    connection = sqlite3.connect(
        ":memory:",
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )
    # Give the memory of deleted rows back with the commit; must precede the first table.
    connection.execute("PRAGMA auto_vacuum = FULL")
    return connection


def use_wal(connection: sqlite3.Connection, timeout_seconds: float) -> None:
    """Write-ahead logging: readers see the last commit while a write is under way.

    It stays in the file. Changing to it needs the file for oneself for a moment, and SQLite does
    not wait for that as it does for other locks, so two programs starting at once need this loop.
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
    """A transaction of which nothing stays."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def reading_only(connection: sqlite3.Connection) -> Iterator[None]:
    """Refuse every change of data within the block."""
    connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        if connection.in_transaction:  # the statement was a BEGIN
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA query_only = OFF")


def _connect(path: Path, busy_timeout_seconds: float) -> sqlite3.Connection:
    # mode=rw: a file that has vanished is an error and not a reason to begin an empty one.
    # isolation_level=None: BEGIN and COMMIT stand in our code and nowhere else.
    # check_same_thread: the backends' locks see to it; close() comes from another thread.
    return sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )


def _sync_every_commit(connection: sqlite3.Connection) -> None:
    # NORMAL, the usual choice with WAL, may lose the last commits in a power cut, and those
    # have been acknowledged to clients.
    connection.execute("PRAGMA synchronous = FULL")


def _cut_the_wal_back(connection: sqlite3.Connection) -> None:
    # A long read keeps the -wal from being reused, so it grows; afterwards it shrinks to this.
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")


def _keep_scratch_in_memory(connection: sqlite3.Connection) -> None:
    # The table of incoming series is emptied with each batch; it need not reach a disk.
    connection.execute("PRAGMA temp_store = MEMORY")
