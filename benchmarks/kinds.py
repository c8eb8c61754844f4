"""The databases that are measured, each with the backend that writes into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend

__all__ = ["POSTGRESQL", "TIMESCALEDB", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One layout of the tables.

    Attributes:
        name: for the table of results.
        open: the backend for a connection string, not started.
        whole_way_target: what the way from gRPC should reach of a bare COPY.
        copy_settings: what the session of a bare COPY says first.
        is_compressed: whether old chunks become columns.
        batch_size: data points that make a batch due.
    """

    name: str
    open: Callable[[str], PostgreSQLBackend]
    whole_way_target: float
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

POSTGRESQL: Final = Kind("PostgreSQL", PostgreSQLBackend, 0.9)
TIMESCALEDB: Final = (
    Kind("TimescaleDB rows", _with_rows, 0.9),
    Kind(
        "TimescaleDB columns",
        _with_columns,
        0.6,
        _DIRECT_COMPRESS,
        is_compressed=True,
        batch_size=60_000,  # written as columns at once from 50,000 on
    ),
)
