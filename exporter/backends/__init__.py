"""Where rows are kept: one module for each backend, all proven by one contract suite."""

from __future__ import annotations

from typing import Final

from exporter.backends.base import Backend
from exporter.backends.memory import MemoryBackend
from exporter.backends.sqlite import SQLiteBackend
from exporter.errors import ConfigError

__all__ = ["open_backend"]

_PLANNED: Final = ("postgresql", "timescaledb")


def open_backend(
    backend: str,
    connection_string: str | None,
    *,
    max_memory_entries: int,
    read_only: bool = False,
) -> Backend:
    """The backend of a name, not started yet.

    Args:
        backend: "memory" or "sqlite".
        connection_string: where the data is; memory needs none and ignores it.
        max_memory_entries: how many rows memory keeps, over all its tables.
        read_only: only ever read.

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
    if backend in _PLANNED:
        raise ConfigError(f"backend {backend} is not available in this version yet; use sqlite")
    raise ConfigError(f"backend {backend!r} is unknown; use memory or sqlite")
