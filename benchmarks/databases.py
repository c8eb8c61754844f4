"""The measured databases, each with its backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend


@dataclass(frozen=True, slots=True)
class Database:
    """One database and layout of its tables.

    Attributes:
        name: shown in the results.
        open: makes the backend for a connection string; it is not started.
        end_to_end_target: the target ratio of gRPC to committed rows over a bare COPY.
        copy_settings: the first statement of the session of a bare COPY.
        is_compressed: whether old chunks are compressed.
        batch_size: data points that make a batch due.
    """

    name: str
    open: Callable[[str], PostgreSQLBackend]
    end_to_end_target: float
    copy_settings: str = "SELECT"
    is_compressed: bool = False
    batch_size: int = 20_000


def _with_rows(dsn: str) -> PostgreSQLBackend:
    return timescaledb_backend(dsn, options=HypertableOptions(enable_compression=False))


def _with_columns(dsn: str) -> PostgreSQLBackend:
    return timescaledb_backend(dsn, options=HypertableOptions(enable_compression=True))


_DIRECT_COMPRESS: Final = """
    SELECT set_config('timescaledb.enable_direct_compress_copy', 'on', false),
           set_config('timescaledb.enable_direct_compress_copy_sort_batches', 'off', false)"""

POSTGRESQL: Final = Database("PostgreSQL", PostgreSQLBackend, 0.9)
TIMESCALEDB: Final = (
    Database("TimescaleDB rows", _with_rows, 0.9),
    Database(
        "TimescaleDB columns",
        _with_columns,
        0.6,
        _DIRECT_COMPRESS,
        is_compressed=True,
        batch_size=60_000,  # direct compress needs batches of 50,000 rows
    ),
)
