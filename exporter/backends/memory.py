"""Keeps the newest rows in memory: the schema and SQL of SQLite, in a private database.

So whatever reads SQLite reads this too. Nothing outlives the process.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from exporter.backends.dialect import SQLITE, Dialect
from exporter.backends.migrations import load
from exporter.backends.sqlite.connection import (
    connect_memory,
    dry_run_transaction,
    reading_only,
    require_version,
)
from exporter.backends.sqlite.dead_letters import keep_newest_dead_letters
from exporter.backends.sqlite.errors import MEMORY, READING, STORING, translating
from exporter.backends.sqlite.eviction import (
    create_leaving,
    delete_older,
    evict_oldest,
    let_series_leave,
    mark_series,
    still_there,
)
from exporter.backends.sqlite.ledger import last_sequence
from exporter.backends.sqlite.retention import prune_bookkeeping
from exporter.backends.sqlite.schema import migrate
from exporter.backends.sqlite.sizes import count_rows_before, has_dbstat, read_sizes
from exporter.backends.sqlite.write import Written, write_batch
from exporter.errors import BackendRefusedError, ConfigError
from exporter.model import Batch, StoreSizes, WriteResult
from exporter.sqlitefiles import transaction

__all__ = ["MemoryBackend"]

_LEAST_SERIES_KEPT: Final = 1_000


class MemoryBackend:
    """The backend `memory`; keeps the contract of `exporter.backends.base.Backend`.

    Holds at most `max_memory_entries` rows over all tables of points and exemplars. Series
    without rows stay until there are more of them than that (or than 1,000), so any number of
    series may pass through. Dead letters have a bound of their own, the same number.

    Args:
        max_memory_entries: how many rows to keep; beyond, the oldest by time go.

    Raises:
        ConfigError: the number is not positive.
    """

    def __init__(self, *, max_memory_entries: int = 10_000) -> None:
        if max_memory_entries < 1:
            raise ConfigError(f"max_memory_entries is {max_memory_entries}; it must be 1 or more")
        self._most_rows = max_memory_entries
        self._most_idle_series = max(max_memory_entries, _LEAST_SERIES_KEPT)
        self._lock = threading.Lock()  # guards everything below
        self._connection: sqlite3.Connection | None = None
        self._rows = 0
        self._series = 0
        self._any_marked = False
        self._refused_series: set[int] = set()

    @property
    def dialect(self) -> Dialect:
        """SQLite's."""
        return SQLITE

    @property
    def location(self) -> str:
        """Always "memory"."""
        return MEMORY

    def start(self) -> None:
        """Make the schema in a new, empty database."""
        with self._lock, translating("making the schema", MEMORY):
            if self._connection is not None:
                return
            require_version()
            connection = connect_memory()
            migrate(connection, load("sqlite"), MEMORY)
            create_leaving(connection)
            self._connection = connection

    def write(self, batch: Batch) -> WriteResult:
        """Store the whole batch, then let the oldest rows go if there are too many.

        Returns:
            `stored` counts points of the batch that are there now: neither those that had to go
            at once, nor those that a later one of the same series and microsecond replaced.
        """
        letters = 0
        with translating(STORING, MEMORY), self._using() as connection:
            with transaction(connection):
                written = write_batch(connection, batch, self._refused_series)
                stored, evicted = self._evict(connection, written)
                series, forgotten = self._forget(connection, batch, written, evicted)
                if batch.dead_letters:
                    letters = keep_newest_dead_letters(connection, self._most_rows)
            self._rows += written.rows_added - evicted
            self._series = series
            self._any_marked = bool(forgotten)
        return WriteResult(
            stored=stored,
            refused=written.refused,
            evicted=evicted + letters,
            forgotten_series=forgotten,
            already_stored=written.already_stored,
        )

    def dry_run(self, batch: Batch) -> None:
        """Do all that `write` does but commit; nothing is let go for it."""
        with (
            translating(STORING, MEMORY),
            self._using() as connection,
            dry_run_transaction(connection),
        ):
            write_batch(connection, batch, self._refused_series)

    def last_sequence(self, writer_id: str) -> int:
        """How far the writer has come since `start`; 0 if there is nothing of it."""
        with translating("reading a watermark", MEMORY), self._using() as connection:
            return last_sequence(connection, writer_id)

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Answer one reading SQL statement with all its rows."""
        with (
            translating(READING, MEMORY),
            self._using() as connection,
            reading_only(connection),
        ):
            return connection.execute(statement, tuple(parameters)).fetchall()

    def delete_before(self, time_unix_nano: int) -> int:
        """Delete what is older than this; returns how many rows went."""
        timestamp = time_unix_nano // 1_000
        with translating("deleting old rows", MEMORY), self._using() as connection:
            with transaction(connection):
                deleted = delete_older(connection, timestamp)
                letters = prune_bookkeeping(connection, timestamp)
            self._rows -= deleted
        return deleted + letters

    def count_before(self, time_unix_nano: int) -> dict[str, int]:
        """How many rows of each table `delete_before` would delete now; counted."""
        with translating("counting old rows", MEMORY), self._using() as connection:
            return count_rows_before(connection, time_unix_nano // 1_000)

    def sizes(self) -> StoreSizes:
        """How much is stored; the bytes are of this process's memory."""
        with translating("measuring the store", MEMORY), self._using() as connection:
            return read_sizes(connection, dbstat=has_dbstat(connection))

    def close(self) -> None:
        """Let go of everything that is stored."""
        with self._lock, translating("closing", MEMORY):
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
            self._rows = self._series = 0
            self._any_marked = False
            self._refused_series.clear()

    def _evict(self, connection: sqlite3.Connection, written: Written) -> tuple[int, int]:
        """Points of the batch that stay, and rows that went."""
        excess = self._rows + written.rows_added - self._most_rows
        if excess <= 0:
            return written.stored, 0
        cutoff = evict_oldest(connection, excess)
        return sum(still_there(connection, rows, cutoff) for rows in written.data), excess

    def _forget(
        self, connection: sqlite3.Connection, batch: Batch, written: Written, evicted: int
    ) -> tuple[int, frozenset[int]]:
        """Series that are there now, and ids that will not be."""
        series = self._series + written.series_added
        if self._any_marked:
            series -= let_series_leave(connection, (item.series_id for item in batch.new_series))
        rows = self._rows + written.rows_added - evicted
        if series - rows <= self._most_idle_series:
            return series, frozenset()
        return series, mark_series(connection)

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                raise BackendRefusedError("memory: it is not open; call start() first")
            yield self._connection
