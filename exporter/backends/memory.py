"""The backend `memory`: the newest rows, in a private SQLite database of this process.

Code that reads the backend `sqlite` can also read this backend. The data is lost when the process
ends.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from exporter.backends.migration_files import load_migrations
from exporter.backends.retention import limits_by_table
from exporter.backends.sqlite.base import SQLiteBackendBase
from exporter.backends.sqlite.batch_writer import WrittenBatch, write_batch
from exporter.backends.sqlite.connection import connect_memory, forbid_writes, require_version
from exporter.backends.sqlite.errors import MEMORY, STORING, translate_errors
from exporter.backends.sqlite.memory_eviction import (
    count_remaining,
    create_idle_series,
    delete_all_expired,
    delete_idle_series,
    evict_oldest,
    mark_idle_series,
)
from exporter.backends.sqlite.schema import migrate
from exporter.backends.sqlite.sizes import has_dbstat, read_sizes
from exporter.backends.sqlite.watermarks_and_dead_letters import (
    keep_newest_dead_letters,
    prune_bookkeeping,
)
from exporter.errors import BackendRefusedError, ConfigError
from exporter.model import Batch, StoreSizes, WriteResult
from exporter.sqlite_files import transaction
from exporter.time_units import nanos_to_micros

_MIN_IDLE_SERIES: Final = 1_000


class MemoryBackend(SQLiteBackendBase):
    """The backend `memory`; implements `exporter.backends.base.Backend`.

    Holds at most `max_memory_entries` rows over all fact tables. Series without rows are deleted
    when there are more than `max_memory_entries` of them (at least 1,000 are kept). The number of
    series over time is therefore not limited. Dead letters have a limit of their own, the same
    number.

    Args:
        max_memory_entries: how many rows to keep; beyond it the oldest are evicted.

    Raises:
        ConfigError: the number is not positive.
    """

    def __init__(self, *, max_memory_entries: int = 10_000) -> None:
        super().__init__()
        if max_memory_entries < 1:
            raise ConfigError(f"max_memory_entries is {max_memory_entries}; it must be 1 or more")
        self._max_rows = max_memory_entries
        self._max_idle_series = max(max_memory_entries, _MIN_IDLE_SERIES)
        self._lock = threading.Lock()  # guards everything below
        self._connection: sqlite3.Connection | None = None
        self._row_count = 0
        self._series_count = 0
        self._has_marked_series = False

    @property
    def location(self) -> str:
        """Always "memory"."""
        return MEMORY

    def start(self) -> None:
        """Create the schema in a new, empty database."""
        with self._lock, translate_errors("creating the schema", MEMORY):
            if self._connection is not None:
                return
            require_version()
            connection = connect_memory()
            migrate(connection, load_migrations("sqlite"), MEMORY)
            create_idle_series(connection)
            self._connection = connection

    def write(self, batch: Batch) -> WriteResult:
        """Store the whole batch, then evict the oldest rows beyond the limit.

        Returns:
            `stored` counts points of the batch that are stored now: neither those that were
            evicted at once, nor those that a later point of the same series,
            microsecond and start replaced.
        """
        evicted_letters = 0
        with translate_errors(STORING, MEMORY), self._writing() as connection:
            with transaction(connection):
                written = write_batch(connection, batch, self._refused_series)
                stored, evicted = self._evict(connection, written)
                series_count, forgotten = self._limit_series(connection, batch, written, evicted)
                if batch.dead_letters:
                    evicted_letters = keep_newest_dead_letters(connection, self._max_rows)
            self._row_count += written.rows_added - evicted
            self._series_count = series_count
            self._has_marked_series = bool(forgotten)
        return WriteResult(
            stored=stored,
            refused=written.refused,
            evicted=evicted + evicted_letters,
            forgotten_series=forgotten,
            already_stored=written.already_stored,
            cost_counts=written.cost_counts,
        )

    def delete_before(
        self, time_unix_nano: int, *, costs_before_unix_nano: int | None = None
    ) -> int:
        """Delete older rows; returns how many were deleted."""
        limits = limits_by_table(time_unix_nano, costs_before_unix_nano)
        with translate_errors("deleting old rows", MEMORY), self._writing() as connection:
            with transaction(connection):
                deleted = delete_all_expired(connection, limits)
                deleted_letters = prune_bookkeeping(connection, nanos_to_micros(time_unix_nano))
            self._row_count -= deleted
        return deleted + deleted_letters

    def sizes(self) -> StoreSizes:
        """How much is stored; the bytes are of this process's memory."""
        with translate_errors("measuring the store", MEMORY), self._reading() as connection:
            return read_sizes(connection, dbstat=has_dbstat(connection))

    def close(self) -> None:
        """Discard everything that is stored."""
        with self._lock, translate_errors("closing", MEMORY):
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
            self._row_count = self._series_count = 0
            self._has_marked_series = False
            self._refused_series.clear()

    def _evict(self, connection: sqlite3.Connection, written: WrittenBatch) -> tuple[int, int]:
        """Points of the batch that stay, and how many rows were evicted."""
        excess = self._row_count + written.rows_added - self._max_rows
        if excess <= 0:
            return written.stored, 0
        cutoff = evict_oldest(connection, excess)
        return sum(count_remaining(connection, rows, cutoff) for rows in written.data), excess

    def _limit_series(
        self, connection: sqlite3.Connection, batch: Batch, written: WrittenBatch, evicted: int
    ) -> tuple[int, frozenset[int]]:
        """How many series are stored now, and the ids of those that the next batch deletes."""
        series_count = self._series_count + written.series_added
        if self._has_marked_series:
            defined_again = (item.series_id for item in batch.new_series)
            series_count -= delete_idle_series(connection, defined_again)
        row_count = self._row_count + written.rows_added - evicted
        if series_count - row_count <= self._max_idle_series:
            return series_count, frozenset()
        return series_count, mark_idle_series(connection)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._writing() as connection, forbid_writes(connection):
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                raise BackendRefusedError("memory: it is not open; call start() first")
            yield self._connection
