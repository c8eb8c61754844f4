"""The backend `sqlite`: one file, one writing connection, any number of reading connections.

Two processes may write to one file: each transaction takes the write lock first, and waits for it
up to the busy timeout.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from exporter.backends.migration_files import load_migrations, pending
from exporter.backends.reader_pool import ReaderPool, require_open
from exporter.backends.retention import limits_by_table
from exporter.backends.sqlite.base import SQLiteBackendBase
from exporter.backends.sqlite.batch_writer import write_batch
from exporter.backends.sqlite.connection import (
    connect_reader,
    connect_writer,
    require_version,
    use_wal,
)
from exporter.backends.sqlite.errors import STORING, is_usable_after, translate_errors
from exporter.backends.sqlite.retention import delete_expired, vacuum
from exporter.backends.sqlite.schema import applied_versions, migrate
from exporter.backends.sqlite.sizes import file_bytes, has_dbstat, read_sizes
from exporter.backends.sqlite.store_file import STORE_FILE, claim_file, database_path, is_store
from exporter.backends.sqlite.watermarks_and_dead_letters import prune_bookkeeping
from exporter.errors import BackendRefusedError, BackendUnavailableError
from exporter.model import Batch, StoreSizes, WriteResult
from exporter.sqlite_files import FileIdentity, transaction
from exporter.time_units import nanos_to_micros

_log = logging.getLogger(__name__)

_MAX_IDLE_READERS: Final = 4


@dataclass(frozen=True, slots=True)
class _Opened:
    file: FileIdentity
    readers: ReaderPool[sqlite3.Connection]
    process_id: int


class SQLiteBackend(SQLiteBackendBase):
    """The backend `sqlite`; implements `exporter.backends.base.Backend`.

    Args:
        connection_string: `sqlite:///relative.db`, `sqlite:////absolute.db` or a plain path.
        read_only: never create, migrate or write; `start` then needs a file of this schema.
        busy_timeout_seconds: how long to wait for a lock of another program.

    Raises:
        ConfigError: the connection string has another form.
    """

    def __init__(
        self,
        connection_string: str | Path,
        *,
        read_only: bool = False,
        busy_timeout_seconds: float = 5.0,
    ) -> None:
        super().__init__()
        self._path = database_path(str(connection_string))
        self._read_only = read_only
        self._busy_timeout_seconds = busy_timeout_seconds
        # Guards the writing connection and the state. Readers need it only to find their pool.
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._writer: sqlite3.Connection | None = None

    @property
    def location(self) -> str:
        """The file's absolute path."""
        return str(self._path)

    def start(self) -> None:
        """Open the file, create or migrate its schema, check that it can be written."""
        with self._lock, translate_errors("opening the file", self.location):
            if self._opened is not None:
                return
            require_version()
            connect = partial(connect_reader, self._path, self._busy_timeout_seconds)
            file = self._check_readable(connect) if self._read_only else self._open_writer()
            readers = ReaderPool(
                connect,
                lambda connection, _: connection.interrupt(),
                f"sqlite {self._path}",
                max_idle=_MAX_IDLE_READERS,
            )
            self._opened = _Opened(file, readers, os.getpid())

    def write(self, batch: Batch) -> WriteResult:
        """Store the whole batch in one transaction, or nothing of it.

        Returns:
            `stored` counts points of the batch that are in the file now. Points of one series,
            microsecond and start are one row, the last point, and count once.
        """
        with (
            translate_errors(STORING, self.location),
            self._writing() as connection,
            transaction(connection),
        ):
            written = write_batch(connection, batch, self._refused_series)
        return WriteResult(
            stored=written.stored,
            refused=written.refused,
            already_stored=written.already_stored,
            cost_counts=written.cost_counts,
        )

    def delete_before(
        self, time_unix_nano: int, *, costs_before_unix_nano: int | None = None
    ) -> int:
        """Delete older rows, in steps between which other writes get their turn.

        Returns:
            How many rows were deleted. Series stay. The file is truncated if more than a quarter
            of it is free.
        """
        limits = limits_by_table(time_unix_nano, costs_before_unix_nano)
        with translate_errors("deleting old rows", self.location):
            deleted = delete_expired(self._reading, self._writing, limits)
            with self._writing() as connection, transaction(connection):
                deleted += prune_bookkeeping(connection, nanos_to_micros(time_unix_nano))
            if deleted:
                vacuum(self._writing)
        return deleted

    def sizes(self) -> StoreSizes:
        """How much is stored: rows are counted, which reads the file once."""
        with translate_errors("measuring the file", self.location), self._reading() as connection:
            return read_sizes(
                connection, total_bytes=file_bytes(self._path), dbstat=has_dbstat(connection)
            )

    def close(self) -> None:
        """Close every connection; reads that are running end with an error."""
        if self._opened is not None and self._opened.process_id != os.getpid():
            return  # after a fork the connections are the parent's, and the lock may be held
        with self._lock, translate_errors("closing the file", self.location):
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.readers.close()
                self._close_writer()

    def _open_writer(self) -> FileIdentity:
        STORE_FILE.create_private(self._path)
        is_ours = is_store(self._path)
        file = FileIdentity.of(self._path, STORE_FILE.label, BackendUnavailableError)
        known = load_migrations("sqlite")
        connection = connect_writer(self._path, self._busy_timeout_seconds)
        try:
            if is_ours:  # a newer schema is refused before anything is changed
                pending(known, applied_versions(connection), self.location)
            else:
                claim_file(connection, self._path)
            use_wal(connection, self._busy_timeout_seconds)
            applied = migrate(connection, known, self.location)
        except BaseException:
            connection.close()
            raise
        self._writer = connection
        if applied:
            _log.info("sqlite %s: schema is at version %d now", self._path, applied[-1])
        return file

    def _check_readable(self, connect: partial[sqlite3.Connection]) -> FileIdentity:
        if not self._path.exists() or not is_store(self._path):
            raise BackendRefusedError(
                f"sqlite {self._path}: nothing can be read, because the file is missing or empty; "
                "correct connection_string, or let the exporter write to it first"
            )
        file = FileIdentity.of(self._path, STORE_FILE.label, BackendUnavailableError)
        with closing(connect()) as connection:
            applied = applied_versions(connection)
        missing = pending(load_migrations("sqlite"), applied, self.location)
        if missing:
            raise BackendRefusedError(
                f"sqlite {self._path}: its schema lacks version {missing[-1].version}, and it is "
                "opened for reading only; start the exporter on it once, which migrates it"
            )
        return file

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        opened = self._require_opened()
        opened.file.check_in_place()
        connection, _ = opened.readers.take()
        reuse = False  # after an error the connection is closed
        try:
            yield connection
            reuse = not connection.in_transaction
        finally:
            opened.readers.give_back(connection, reuse=reuse)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The writing connection, with its lock; opened anew after an error."""
        # Check for a fork before acquiring the lock: a forked child may never get the lock.
        self._require_opened()
        if self._read_only:
            raise BackendRefusedError(f"sqlite {self._path}: it was opened for reading only")
        with self._lock:
            file = self._require_opened().file
            file.check_in_place()
            if self._writer is None:
                self._writer = connect_writer(self._path, self._busy_timeout_seconds)
            try:
                yield self._writer
            except sqlite3.Error as error:
                if not is_usable_after(error):
                    self._close_writer()
                raise
            file.check_in_place()  # a file that was removed during the write did not store it

    def _close_writer(self) -> None:
        connection, self._writer = self._writer, None
        if connection is not None:
            connection.close()

    def _require_opened(self) -> _Opened:
        return require_open(self._opened, f"sqlite {self._path}")
