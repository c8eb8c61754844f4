"""Where rows are stored: one package for each database, and `memory`, with one contract suite."""

from __future__ import annotations

from typing import Final

from exporter.backends.base import Backend
from exporter.backends.memory import MemoryBackend
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.sqlite import SQLiteBackend
from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend
from exporter.errors import ConfigError

__all__ = ["HypertableOptions", "open_backend"]

_DEFAULT_OPTIONS: Final = HypertableOptions()
_POSTGRESQL_EXAMPLE: Final = "postgresql://user:password@localhost:5432/openfinops"
_EXAMPLES: Final = {
    "sqlite": "sqlite:///openfinops_telemetry.db",
    "postgresql": _POSTGRESQL_EXAMPLE,
    "timescaledb": _POSTGRESQL_EXAMPLE,
}


def open_backend(
    backend: str,
    connection_string: str | None,
    *,
    max_memory_entries: int,
    read_only: bool = False,
    pool_min_connections: int = 1,
    pool_max_connections: int = 4,
    hypertables: HypertableOptions = _DEFAULT_OPTIONS,
) -> Backend:
    """The backend with this name, not started.

    Args:
        backend: "memory", "sqlite", "postgresql" or "timescaledb".
        connection_string: where the data is; memory ignores it.
        max_memory_entries: how many rows memory keeps, over all its tables.
        read_only: never create, migrate or write.
        pool_min_connections: reading connections that stay open; postgresql and timescaledb.
        pool_max_connections: how many reads may run at once; postgresql and timescaledb.
        hypertables: their settings in the database, which outlast this process; timescaledb.

    Raises:
        ConfigError: the name is unknown, or the connection string is missing or not of the backend.
    """
    if backend == "memory":
        if read_only:
            raise ConfigError(
                "backend memory: its data is in the process that received it and cannot be read "
                "from another; use backend sqlite for data that outlives a process"
            )
        return MemoryBackend(max_memory_entries=max_memory_entries)
    if backend not in _EXAMPLES:
        raise ConfigError(
            f"backend {backend!r} is unknown; use memory, sqlite, postgresql or timescaledb"
        )
    if not connection_string:
        raise ConfigError(
            f"backend {backend} needs connection_string, for example {_EXAMPLES[backend]}"
        )
    if backend == "sqlite":
        return SQLiteBackend(connection_string, read_only=read_only)
    if backend == "postgresql":
        return PostgreSQLBackend(
            connection_string,
            read_only=read_only,
            pool_min_connections=pool_min_connections,
            pool_max_connections=pool_max_connections,
        )
    return timescaledb_backend(
        connection_string,
        options=hypertables,
        read_only=read_only,
        pool_min_connections=pool_min_connections,
        pool_max_connections=pool_max_connections,
    )
