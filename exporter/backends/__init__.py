"""Where rows are kept: one module for each backend, all proven by one contract suite."""

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
    """The backend of a name, not started yet.

    Args:
        backend: "memory", "sqlite", "postgresql" or "timescaledb".
        connection_string: where the data is; memory needs none and ignores it.
        max_memory_entries: how many rows memory keeps, over all its tables.
        read_only: only ever read.
        pool_min_connections: reading connections that are kept open; postgresql and timescaledb.
        pool_max_connections: how many reads may run at once; postgresql and timescaledb.
        hypertables: what is to become of them, also while no exporter runs; timescaledb only.

    Raises:
        ConfigError: no such backend, or the connection string is missing or not for it.
    """
    if backend == "memory":
        if read_only:
            raise ConfigError(
                "backend memory: its data is in the process that received it and cannot be read "
                "from another; use backend sqlite for data that outlives a process"
            )
        return MemoryBackend(max_memory_entries=max_memory_entries)
    if backend == "sqlite":
        if not connection_string:
            raise ConfigError(
                "backend sqlite needs connection_string, for example "
                "sqlite:///openfinops_telemetry.db"
            )
        return SQLiteBackend(connection_string, read_only=read_only)
    if backend == "postgresql":
        if not connection_string:
            raise ConfigError(
                "backend postgresql needs connection_string, for example "
                "postgresql://user:password@localhost:5432/openfinops"
            )
        return PostgreSQLBackend(
            connection_string,
            read_only=read_only,
            pool_min_connections=pool_min_connections,
            pool_max_connections=pool_max_connections,
        )
    if backend == "timescaledb":
        if not connection_string:
            raise ConfigError(
                "backend timescaledb needs connection_string, for example "
                "postgresql://user:password@localhost:5432/openfinops"
            )
        return timescaledb_backend(
            connection_string,
            options=hypertables,
            read_only=read_only,
            pool_min_connections=pool_min_connections,
            pool_max_connections=pool_max_connections,
        )
    raise ConfigError(
        f"backend {backend!r} is unknown; use memory, sqlite, postgresql or timescaledb"
    )
