"""Opens a store read-only by its connection string."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from exporter.backends import open_backend
from exporter.backends.base import Backend
from exporter.errors import OtherBackendError
from exporter.query.reader import Reader

# A URL, or libpq's form `host=... dbname=...`. A path rarely has a = before its first slash.
_POSTGRESQL: Final = re.compile(r"postgres(ql)?://|[^/:]*=")


@contextmanager
def open_reader(connection_string: str) -> Iterator[Reader]:
    """A reader of an existing store, for a `with` statement; the store is closed at the end.

    It can run while a receiver writes, in this process or another. Each read sees what was
    committed before it.

    Args:
        connection_string: `sqlite:///relative.db`, `sqlite:////absolute.db` or a plain path; or
            `postgresql://user@host/database` or libpq's key=value form, for PostgreSQL with or
            without TimescaleDB.

    Raises:
        ConfigError: the connection string has none of these forms.
        BackendUnavailableError: the database cannot be reached now.
        BackendRefusedError: there is no store of this schema, or it may not be read.
    """
    backend = "postgresql" if _POSTGRESQL.match(connection_string) else "sqlite"
    with closing(start_read_only(backend, connection_string)) as store:
        yield Reader(store)


def start_read_only(backend: str, connection_string: str | None) -> Backend:
    """The started backend of an existing store; nothing can be changed through it.

    For `postgresql` it is the backend `timescaledb` if that has created the tables: the connection
    string does not tell which of them it was.

    Args:
        backend: "sqlite", "postgresql" or "timescaledb".
        connection_string: where the data is.

    Raises:
        ConfigError: the backend is unknown or cannot be read, or the connection string is invalid.
        BackendUnavailableError: the database cannot be reached now.
        BackendRefusedError: there is no store of this schema, or it may not be read.
    """
    try:
        return _start(backend, connection_string)
    except OtherBackendError as error:
        return _start(error.backend, connection_string)


def _start(backend: str, connection_string: str | None) -> Backend:
    store = open_backend(backend, connection_string, max_memory_entries=1, read_only=True)
    try:
        store.start()
    except BaseException:
        store.close()
        raise
    return store
