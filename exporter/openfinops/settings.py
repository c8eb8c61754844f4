"""`PersistenceConfig`: the settings of OpenFinOps, mapped to the settings of this package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from exporter import config

# A measurement of a node is stored as one row for each of its numbers.
_ROWS_PER_MEASUREMENT: Final = 30
_MAX_MEMORY_ENTRIES: Final = 1_000_000_000
# PersistenceConfig overrides these variables. Others apply: spool, connection pools and so on.
_OVERRIDDEN: Final = frozenset(
    f"OPENFINOPS_{name}"
    for name in (
        "BACKEND",
        "DB_URL",
        "RETENTION_DAYS",
        "COST_RETENTION_DAYS",
        "BATCH_SIZE",
        "BATCH_INTERVAL_SECONDS",
        "ENABLE_COMPRESSION",
        "MAX_MEMORY_ENTRIES",
        "CLUSTER_ID_ATTRIBUTES",  # every record has its own cluster and node
        "NODE_ID_ATTRIBUTES",
    )
)


class StorageBackend(Enum):
    """Where data is kept."""

    IN_MEMORY = "in_memory"
    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    TIMESCALEDB = "timescaledb"


_DEFAULT_CONNECTION_STRINGS: Final = {
    StorageBackend.IN_MEMORY: "",
    StorageBackend.SQLITE: "sqlite:///openfinops_telemetry.db",
    StorageBackend.POSTGRESQL: "postgresql://localhost:5432/openfinops",
    StorageBackend.TIMESCALEDB: "postgresql://localhost:5432/openfinops",
}


@dataclass
class PersistenceConfig:
    """Where data is kept, and how it is written.

    Attributes:
        backend: the kind of store.
        connection_string: the file or database; None for the default of the backend.
        retention_days: older data is deleted, costs too.
        batch_size: data points that make a batch due.
        batch_interval_seconds: the longest time that a data point waits for its batch.
        enable_compression: compress old rows (TimescaleDB only).
        max_memory_entries: measurements and costs that the backend IN_MEMORY keeps.
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
            self.connection_string = _DEFAULT_CONNECTION_STRINGS[self.backend]


def settings_for(persistence: PersistenceConfig) -> config.Settings:
    """The settings of this package: the given values, and the other OPENFINOPS_* variables.

    Raises:
        ConfigError: one of the values is invalid.
    """
    environ = {
        name: text
        for name, text in config.process_environment().items()
        if name.upper() not in _OVERRIDDEN
    }
    in_memory = persistence.backend is StorageBackend.IN_MEMORY
    overrides = {
        "backend": persistence.backend.value,
        "connection_string": None if in_memory else persistence.connection_string,
        "retention_days": persistence.retention_days,
        "batch_size": persistence.batch_size,
        "batch_interval_seconds": persistence.batch_interval_seconds,
        "enable_compression": persistence.enable_compression,
        "max_memory_entries": min(
            persistence.max_memory_entries * _ROWS_PER_MEASUREMENT, _MAX_MEMORY_ENTRIES
        ),
    }
    settings = config.load(None, environ, overrides=overrides, overrides_source="PersistenceConfig")
    exporter = settings.exporter
    return replace(
        settings, exporter=replace(exporter, cost_retention_days=exporter.retention_days)
    )
