"""Base class of the backends `sqlite` and `memory`. Subclasses provide the connections."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from exporter.backends.dialect import SQLITE, Dialect
from exporter.backends.retention import limits_by_table
from exporter.backends.sqlite.batch_writer import write_batch
from exporter.backends.sqlite.connection import dry_run_transaction
from exporter.backends.sqlite.errors import READING, STORING, translate_errors
from exporter.backends.sqlite.sizes import count_expired
from exporter.backends.sqlite.watermarks_and_dead_letters import last_sequence
from exporter.model import Batch
from exporter.time_units import nanos_to_micros


class SQLiteBackendBase(ABC):
    """The methods of `exporter.backends.base.Backend` that need no more than a connection."""

    hypertable_catalog: Final = None

    def __init__(self) -> None:
        self._refused_series: set[int] = set()

    @property
    def dialect(self) -> Dialect:
        """SQLite's."""
        return SQLITE

    @property
    @abstractmethod
    def location(self) -> str:
        """See `Backend.location`."""

    def dry_run(self, batch: Batch) -> None:
        """See `Backend.dry_run`; nothing is evicted for it."""
        with (
            translate_errors(STORING, self.location),
            self._writing() as connection,
            dry_run_transaction(connection),
        ):
            write_batch(connection, batch, self._refused_series)

    def last_sequence(self, writer_id: str) -> int:
        """See `Backend.last_sequence`."""
        with (
            translate_errors("reading a watermark", self.location),
            self._reading() as connection,
        ):
            return last_sequence(connection, writer_id)

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Answer one reading SQL statement with all its rows, as of the last commit."""
        with translate_errors(READING, self.location), self._reading() as connection:
            return connection.execute(statement, tuple(parameters)).fetchall()

    def count_before(
        self, time_unix_nano: int, *, costs_before_unix_nano: int | None = None
    ) -> dict[str, int]:
        """See `Backend.count_before`; the rows are counted."""
        limits = limits_by_table(time_unix_nano, costs_before_unix_nano)
        with translate_errors("counting old rows", self.location), self._reading() as connection:
            return count_expired(connection, limits, nanos_to_micros(time_unix_nano))

    @abstractmethod
    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection that cannot change data."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """The connection that writes, for this thread alone."""
