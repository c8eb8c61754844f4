"""The file that a connection string names, and whether it is or may become a store.

Writes nothing into a file of another program. The checks leave the file as it is.
"""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from exporter.backends.sqlite.errors import translate_errors
from exporter.errors import BackendRefusedError, ConfigError
from exporter.sqlite_files import SMALLEST_PAGE_BYTES, FileKind, connect, transaction

STORE_FILE: Final = FileKind(
    label="sqlite",
    application_id=0x4F464F45,  # "OFOE"
    setting="connection_string",
    refused=BackendRefusedError,
)

_FORMS: Final = "write sqlite:///relative.db, sqlite:////absolute.db or a plain path"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def database_path(connection_string: str) -> Path:
    """The absolute path that a connection string names.

    Accepts `sqlite:///relative.db`, `sqlite:////absolute.db` and a plain path. A relative path
    starts at the current working folder.

    Raises:
        ConfigError: any other form, such as SQLite's `file:` URIs and `:memory:`.
    """
    text = connection_string.strip()
    path = text.removeprefix("sqlite:///")
    if path in {"", ":memory:", "sqlite://", "sqlite:"}:
        raise ConfigError(
            f"connection_string {text!r} names no file; to keep data in memory use backend "
            f"memory, for a file {_FORMS}"
        )
    if path == text and (scheme := _SCHEME.match(text)):
        # The rest may hold a password (postgresql://user:password@...), so it is not shown.
        raise ConfigError(
            f"connection_string begins with {scheme[0]!r}, which backend sqlite does not accept; "
            f"{_FORMS} (./ before a file name with a colon)"
        )
    if "\0" in path or (path != text and "?" in path):
        raise ConfigError(
            f"connection_string {text!r} has options after '?' or a NUL in it; {_FORMS}"
        )
    return Path(path).absolute()


def is_store(path: Path) -> bool:
    """Returns True if the file is a store, False if it is empty.

    Raises:
        BackendRefusedError: the file is anything else.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BackendRefusedError(
            f"sqlite {path}: this is a folder or device, not a file; name a file in it"
        )
    if status.st_size == 0:
        return False
    with open_immutable(path) as connection:
        if not STORE_FILE.is_vacant(connection, path):
            return True
    # SQLite takes a file that is shorter than a page for an empty database, and another program's
    # tables may be in its -wal only.
    wal = path.with_name(path.name + "-wal")
    if status.st_size < SMALLEST_PAGE_BYTES or (wal.exists() and wal.stat().st_size > 0):
        raise STORE_FILE.foreign(path, 0, [])
    return False


@contextmanager
def open_immutable(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads the main file without its -wal, and changes nothing.

    `immutable=1` takes no lock, makes no -wal or -shm and recovers nothing. The application_id of
    a store is in the main file before its first table, so the -wal cannot hide it.
    """
    # A program that was killed during a checkpoint, or is in one now, leaves a header that counts
    # more pages than the file has. SQLite corrects that when it opens the file with its -wal.
    # Without the -wal it reports damage, unless writable_schema is on; mode=ro keeps that setting
    # from changing the file.
    pragmas = ("writable_schema = ON",)
    with (
        translate_errors("looking at the file", str(path)),
        closing(connect(path, parameters="mode=ro&immutable=1", pragmas=pragmas)) as connection,
    ):
        yield connection


def claim_file(connection: sqlite3.Connection, path: Path) -> None:
    """Write the application_id into a vacant file, before WAL is on and before the first table.

    Then it is in the main file, where `is_store` reads it.

    Raises:
        BackendRefusedError: another program has made tables in the file meanwhile.
    """
    # Lets `vacuum` free the pages of deleted rows; must precede the first table.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with transaction(connection):
        if STORE_FILE.is_vacant(connection, path):
            connection.execute(f"PRAGMA application_id = {STORE_FILE.application_id}")
