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


def start_read_only(
    backend: str,
    connection_string: str | None,
    *,
    pool_min_connections: int = 1,
    pool_max_connections: int = 4,
) -> Backend:
    """The started backend of an existing store; nothing can be changed through it.

    For `postgresql`, returns the backend `timescaledb` if TimescaleDB created the tables. The
    connection string does not show which backend was used.

    Args:
        backend: "sqlite", "postgresql" or "timescaledb".
        connection_string: where the data is.
        pool_min_connections: see `open_backend`.
        pool_max_connections: see `open_backend`.

    Raises:
        ConfigError: the backend is unknown or cannot be read, or the connection string is invalid.
        BackendUnavailableError: the database cannot be reached now.
        BackendRefusedError: there is no store of this schema, or it may not be read.
    """
    store = open_backend(
        backend,
        connection_string,
        max_memory_entries=1,
        read_only=True,
        pool_min_connections=pool_min_connections,
        pool_max_connections=pool_max_connections,
    )
    try:
        store.start()
    except OtherBackendError as error:
        store.close()
        return start_read_only(
            error.backend,
            connection_string,
            pool_min_connections=pool_min_connections,
            pool_max_connections=pool_max_connections,
        )
    except BaseException:
        store.close()
        raise
    return store
