"""Which file a connection string means, and whether that file may become or is a store of ours.

Looks at a file without changing it; the one thing written here is a new, empty file. Never opens
an existing file itself: closing a descriptor drops every lock that this process holds on the
file, those of SQLite included (sqlite.org/howtocorrupt.html, 2.2), so SQLite does the reading.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from exporter.backends.sqlite.errors import this_user, translating
from exporter.errors import BackendRefusedError, ConfigError

__all__ = ["APPLICATION_ID", "create_private", "is_ours", "open_immutable", "path_of"]

# "OFOE" in the database header (offset 68) tells our files from everybody else's.
APPLICATION_ID: Final = 0x4F464F45

_FORMS: Final = "write sqlite:///relative.db, sqlite:////absolute.db or a plain path"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_TABLES_SHOWN: Final = 3
_SMALLEST_PAGE_BYTES: Final = 512


def path_of(connection_string: str) -> Path:
    """The absolute path that a connection string means.

    Three forms are taken: `sqlite:///relative.db`, `sqlite:////absolute.db` and a plain path.
    Relative ones start at the working folder of this moment.

    Raises:
        ConfigError: any other form, among them SQLite's own `file:` URIs and `:memory:`.
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
            f"connection_string begins with {scheme[0]!r}, which backend sqlite does not take; "
            f"{_FORMS} (./ before a file name with a colon)"
        )
    if "\0" in path or (path != text and "?" in path):
        raise ConfigError(
            f"connection_string {text!r} has options after '?' or a NUL in it; {_FORMS}"
        )
    return Path(path).absolute()


def create_private(path: Path) -> None:
    """Make an empty file that only its owner can read, unless something is there already.

    SQLite gives -wal and -shm the mode of the database, so this covers all three: the
    attributes of metrics name hosts, users and customers.

    Raises:
        BackendRefusedError: its folder is missing, or is none, or may not be written.
    """
    if path.exists():
        return
    if not path.parent.is_dir():
        raise BackendRefusedError(
            f"sqlite {path}: the folder {path.parent} does not exist or is not a folder; "
            "create it, or correct connection_string"
        )
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return  # another process was quicker, and made it just so
    except OSError as error:
        raise BackendRefusedError(
            f"sqlite {path}: cannot create the file: {error.strerror}; give user {this_user()} "
            f"the right to write in {path.parent}, or choose another path"
        ) from error


def is_ours(path: Path) -> bool:
    """Whether the file is a store of ours (True), or vacant, and so may become one (False).

    Raises:
        BackendRefusedError: it is anything else; nothing was touched.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BackendRefusedError(
            f"sqlite {path}: this is a folder or device, not a file; name a file in it"
        )
    if status.st_size == 0:
        return False
    with open_immutable(path) as connection:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if application_id == APPLICATION_ID:
            return True  # of its tables, the pages that describe them may be in the -wal only
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        tables = [name for (name,) in found]
    if _is_vacant(path, status.st_size, application_id, tables):
        return False
    shown = ", ".join(tables[:_TABLES_SHOWN]) + (", ..." if len(tables) > _TABLES_SHOWN else "")
    raise BackendRefusedError(
        f"sqlite {path}: this file belongs to another program (application_id {application_id}, "
        f"tables: {shown or 'none'}) and was left as it is; name another file, or one that does "
        "not exist yet"
    )


def _is_vacant(path: Path, size_bytes: int, application_id: int, tables: list[str]) -> bool:
    """Whether it is a database without anything in it, such as a start of ours leaves midway.

    Tables of another program may be in its -wal only; and what is shorter than the smallest page
    is some other file, which SQLite would take for an empty database.
    """
    wal = path.with_name(path.name + "-wal")
    logged = wal.exists() and wal.stat().st_size > 0
    return application_id == 0 and not tables and not logged and size_bytes >= _SMALLEST_PAGE_BYTES


@contextlib.contextmanager
def open_immutable(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to what the main file holds, without its -wal, that touches nothing."""
    # immutable: no locks, no -wal or -shm beside it, no recovery, so a stranger's file stays as
    # it is. Our id is in the main file before there are tables, so the -wal cannot hide it.
    # writable_schema, which mode=ro leaves without effect on the file: a program that was killed
    # while it copied its -wal into the file, or is about it now, leaves a header that counts more
    # pages than are there. SQLite mends that when it opens the file with its -wal; only without
    # it, as here, it would be taken for damage.
    with (
        translating("looking at the file", str(path)),
        contextlib.closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        ) as connection,
    ):
        connection.execute("PRAGMA writable_schema = ON")
        yield connection
