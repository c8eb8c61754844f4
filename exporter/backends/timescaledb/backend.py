"""The backend `timescaledb`: PostgreSQL's, with hypertables where that one has partitions."""

from __future__ import annotations

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.timescaledb.hypertable_setup import HypertableOptions
from exporter.backends.timescaledb.layout import Hypertables

__all__ = ["timescaledb_backend"]

_DEFAULT_OPTIONS = HypertableOptions()


def timescaledb_backend(
    connection_string: str,
    *,
    options: HypertableOptions = _DEFAULT_OPTIONS,
    read_only: bool = False,
    pool_min_connections: int = 1,
    pool_max_connections: int = 4,
    pool_timeout_seconds: float = 30.0,
) -> PostgreSQLBackend:
    """The backend `timescaledb`, not started; keeps the contract of `backends.base.Backend`.

    `start` creates the extension where the role may, and converts tables of the backend
    `postgresql` where it finds them, which takes as long as copying their rows.

    Args:
        connection_string: as libpq takes it, a URL or key=value pairs.
        options: what is to become of the hypertables.
        read_only: never create, migrate or write; `start` then needs hypertables of this schema.
        pool_min_connections: reading connections that are opened by `start`.
        pool_max_connections: how many reads may run at once.
        pool_timeout_seconds: how long a read waits for one of them.

    Raises:
        ConfigError: the connection string is not libpq's.
    """
    return PostgreSQLBackend(
        connection_string,
        read_only=read_only,
        pool_min_connections=pool_min_connections,
        pool_max_connections=pool_max_connections,
        pool_timeout_seconds=pool_timeout_seconds,
        partitioning=Hypertables(options),
    )
