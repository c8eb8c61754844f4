"""`PersistenceConfig`: the few settings of OpenFinOps, and the many of this package behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from exporter import config

__all__ = ["PersistenceConfig", "StorageBackend", "settings_for"]

# One measurement of a system is one row for each of its numbers.
_ROWS_IN_AN_ENTRY: Final = 30
_MOST_MEMORY_ENTRIES: Final = 1_000_000_000
# What PersistenceConfig decides; variables for the rest (spool, pools of connections) count.
_DECIDED: Final = frozenset(
    f"OPENFINOPS_{name}"
    for name in (
        "BACKEND",
        "DB_URL",
        "RETENTION_DAYS",
        "BATCH_SIZE",
        "BATCH_INTERVAL_SECONDS",
        "ENABLE_COMPRESSION",
        "MAX_MEMORY_ENTRIES",
        "CLUSTER_ID_ATTRIBUTES",  # records name their cluster and node themselves
        "NODE_ID_ATTRIBUTES",
    )
)


class StorageBackend(Enum):
    """Where data is kept."""

    IN_MEMORY = "in_memory"
    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    TIMESCALEDB = "timescaledb"


_DEFAULT_PLACES: Final = {
    StorageBackend.IN_MEMORY: "",
    StorageBackend.SQLITE: "sqlite:///openfinops_telemetry.db",
    StorageBackend.POSTGRESQL: "postgresql://localhost:5432/openfinops",
    StorageBackend.TIMESCALEDB: "postgresql://localhost:5432/openfinops",
}


@dataclass
class PersistenceConfig:
    """Where data is kept, and how it gets there.

    Attributes:
        backend: the kind of store.
        connection_string: which file or database; None for the default of the backend.
        retention_days: older data is deleted.
        batch_size: a batch is written when it has this many data points.
        batch_interval_seconds: or when its first one has waited for this long.
        enable_compression: compress old rows (TimescaleDB only).
        max_memory_entries: measurements or costs that the backend IN_MEMORY keeps.
    """

    backend: StorageBackend = StorageBackend.IN_MEMORY
    connection_string: str | None = None
    retention_days: float = 90
    batch_size: int = 100
    batch_interval_seconds: float = 60.0
    enable_compression: bool = False
    max_memory_entries: int = 10_000

    def __post_init__(self) -> None:
        if self.connection_string is None:
            self.connection_string = _DEFAULT_PLACES[self.backend]


def settings_for(wanted: PersistenceConfig) -> config.Settings:
    """The settings that this stands for, with the other OPENFINOPS_* variables.

    Raises:
        ConfigError: one of the values cannot be used.
    """
    environ = {
        name: text
        for name, text in config.process_environment().items()
        if name.upper() not in _DECIDED
    }
    in_memory = wanted.backend is StorageBackend.IN_MEMORY
    overrides = {
        "backend": wanted.backend.value,
        "connection_string": None if in_memory else wanted.connection_string,
        "retention_days": wanted.retention_days,
        "batch_size": wanted.batch_size,
        "batch_interval_seconds": wanted.batch_interval_seconds,
        "enable_compression": wanted.enable_compression,
        "max_memory_entries": min(
            wanted.max_memory_entries * _ROWS_IN_AN_ENTRY, _MOST_MEMORY_ENTRIES
        ),
    }
    return config.load(None, environ, overrides=overrides, overrides_source="PersistenceConfig")
