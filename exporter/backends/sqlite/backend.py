"""Keeps everything in one SQLite file: one writer, any number of readers beside it.

Two processes may write to one file: each transaction takes the write lock before it begins, and
waits for it up to the busy timeout.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exporter.backends.dialect import SQLITE, Dialect
from exporter.backends.migrations import load, pending
from exporter.backends.reader_pool import ReaderPool, require_open
from exporter.backends.sqlite.connection import (
    connect_reader,
    connect_writer,
    dry_run_transaction,
    require_version,
    use_wal,
)
from exporter.backends.sqlite.errors import READING, STORING, is_sound_after, translating
from exporter.backends.sqlite.file import create_private, is_ours, path_of
from exporter.backends.sqlite.ledger import last_sequence
from exporter.backends.sqlite.retention import (
    delete_rows_before,
    prune_bookkeeping,
    vacuum,
)
from exporter.backends.sqlite.schema import applied_versions, mark_as_ours, migrate
from exporter.backends.sqlite.sizes import (
    bytes_of_files,
    count_rows_before,
    has_dbstat,
    read_sizes,
)
from exporter.backends.sqlite.write import write_batch
from exporter.errors import BackendRefusedError, BackendUnavailableError
from exporter.model import Batch, StoreSizes, WriteResult
from exporter.sqlitefiles import FileIdentity, transaction

__all__ = ["SQLiteBackend"]

_log = logging.getLogger(__name__)

_MAX_IDLE_READERS: Final = 4


@dataclass(frozen=True, slots=True)
class _Opened:
    file: FileIdentity
    readers: ReaderPool[sqlite3.Connection]
    process_id: int


class SQLiteBackend:
    """The backend `sqlite`; keeps the contract of `exporter.backends.base.Backend`.

    Args:
        connection_string: `sqlite:///relative.db`, `sqlite:////absolute.db` or a plain path.
        read_only: never create, migrate or write; `start` then needs a file of this schema.
        busy_timeout_seconds: how long to wait for another program's lock.

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
        self._path = path_of(str(connection_string))
        self._read_only = read_only
        self._busy_timeout_seconds = busy_timeout_seconds
        # Guards the writing connection and the state. Readers need it only to find their pool.
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._writer: sqlite3.Connection | None = None
        self._refused_series: set[int] = set()

    @property
    def dialect(self) -> Dialect:
        """SQLite's."""
        return SQLITE

    @property
    def location(self) -> str:
        """The file's absolute path."""
        return str(self._path)

    def start(self) -> None:
        """Open the file, create or migrate its schema, check that it can be written."""
        with self._lock, translating("opening the file", self.location):
            if self._opened is not None:
                return
            require_version()
            file = self._checked_file() if self._read_only else self._prepared_file()
            readers = ReaderPool(
                self._connect_reader,
                lambda connection, _: connection.interrupt(),
                f"sqlite {self._path}",
                max_idle=_MAX_IDLE_READERS,
            )
            self._opened = _Opened(file, readers, os.getpid())

    def write(self, batch: Batch) -> WriteResult:
        """Store the whole batch in one transaction, or nothing of it.

        Returns:
            `stored` counts points of the batch that are in the file now. Points of one series
            within the same microsecond are one, the last, and count once.
        """
        with (
            translating(STORING, self.location),
            self._writing() as connection,
            transaction(connection),
        ):
            written = write_batch(connection, batch, self._refused_series)
        return WriteResult(
            stored=written.stored,
            refused=written.refused,
            already_stored=written.already_stored,
        )

    def dry_run(self, batch: Batch) -> None:
        """Do all that `write` does but commit."""
        with (
            translating(STORING, self.location),
            self._writing() as connection,
            dry_run_transaction(connection),
        ):
            write_batch(connection, batch, self._refused_series)

    def last_sequence(self, writer_id: str) -> int:
        """How far the writer has come by its watermark; 0 if there is none."""
        with translating("reading a watermark", self.location), self._reading() as connection:
            return last_sequence(connection, writer_id)

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Answer one reading SQL statement with all its rows, as of the last commit."""
        with translating(READING, self.location), self._reading() as connection:
            return connection.execute(statement, tuple(parameters)).fetchall()

    def delete_before(self, time_unix_nano: int) -> int:
        """Delete what is older than this, in steps that let writes pass between.

        Returns:
            How many rows went. Series stay. Disk space is given back as soon as more than a
            quarter of the file is free.
        """
        with translating("deleting old rows", self.location):
            timestamp = time_unix_nano // 1_000
            deleted = delete_rows_before(self._reading, self._writing, timestamp)
            with self._writing() as connection, transaction(connection):
                deleted += prune_bookkeeping(connection, timestamp)
            if deleted:
                vacuum(self._writing)
        return deleted

    def count_before(self, time_unix_nano: int) -> dict[str, int]:
        """How many rows of each table `delete_before` would delete now; counted."""
        with translating("counting old rows", self.location), self._reading() as connection:
            return count_rows_before(connection, time_unix_nano // 1_000)

    def sizes(self) -> StoreSizes:
        """How much is stored: rows are counted, which reads the file once."""
        with translating("measuring the file", self.location), self._reading() as connection:
            return read_sizes(
                connection,
                total_bytes=bytes_of_files(self._path),
                dbstat=has_dbstat(connection),
            )

    def close(self) -> None:
        """Close every connection; reads that are under way end with an error."""
        if self._opened is not None and self._opened.process_id != os.getpid():
            return  # after a fork the connections are the parent's, and the lock may be held
        with self._lock, translating("closing the file", self.location):
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.readers.close()
                self._drop_writer()

    def _prepared_file(self) -> FileIdentity:
        create_private(self._path)
        ours = is_ours(self._path)
        file = FileIdentity.of(self._path, "sqlite", BackendUnavailableError)
        known = load("sqlite")
        connection = connect_writer(self._path, self._busy_timeout_seconds)
        try:
            if ours:  # a newer schema is refused before anything is changed
                pending(known, applied_versions(connection), self.location)
            else:
                mark_as_ours(connection, self.location)
            use_wal(connection, self._busy_timeout_seconds)
            applied = migrate(connection, known, self.location)
        except BaseException:
            connection.close()
            raise
        self._writer = connection
        if applied:
            _log.info("sqlite %s: schema is at version %d now", self._path, applied[-1])
        return file

    def _checked_file(self) -> FileIdentity:
        if not self._path.exists() or not is_ours(self._path):
            raise BackendRefusedError(
                f"sqlite {self._path}: there is nothing to read, the file is missing or empty; "
                "correct connection_string, or let the exporter write to it first"
            )
        file = FileIdentity.of(self._path, "sqlite", BackendUnavailableError)
        with closing(self._connect_reader()) as connection:
            waiting = pending(load("sqlite"), applied_versions(connection), self.location)
        if waiting:
            raise BackendRefusedError(
                f"sqlite {self._path}: its schema lacks version {waiting[-1].version}, and it is "
                "opened for reading only; start the exporter on it once, which migrates it"
            )
        return file

    def _connect_reader(self) -> sqlite3.Connection:
        return connect_reader(self._path, self._busy_timeout_seconds)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        opened = self._require_opened()
        opened.file.check_in_place()
        connection, _ = opened.readers.take()
        reuse = False
        try:
            yield connection
            reuse = not connection.in_transaction
        finally:
            opened.readers.give_back(connection, reuse=reuse)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The writing connection and the right to use it; after an error it is opened anew."""
        self._require_opened()  # before the lock, which may be held for ever after a fork
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
                if not is_sound_after(error):
                    self._drop_writer()
                raise
            file.check_in_place()  # removed during the write: do not call it stored

    def _drop_writer(self) -> None:
        connection, self._writer = self._writer, None
        if connection is not None:
            connection.close()

    def _require_opened(self) -> _Opened:
        return require_open(self._opened, f"sqlite {self._path}")
