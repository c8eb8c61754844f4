"""Keeps everything in PostgreSQL: one writing connection, a pool of reading ones."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Final

import psycopg2
from psycopg2.errors import ReadOnlySqlTransaction

from exporter.backends.dialect import POSTGRESQL, Dialect
from exporter.backends.postgresql.batch_writer import days_by_table, write_batch
from exporter.backends.postgresql.connection import (
    Connection,
    Cursor,
    answer,
    connect,
    connect_reader,
    connect_writer,
    describe_location,
    dry_run_transaction,
    parse_connection_string,
    transaction,
)
from exporter.backends.postgresql.daily_partitions import DailyPartitions
from exporter.backends.postgresql.errors import (
    READING,
    STORING,
    is_missing_partition,
    translating,
)
from exporter.backends.postgresql.ledger import last_sequence
from exporter.backends.postgresql.dead_letters import (
    prune_bookkeeping,
    with_dead_letters_before,
    with_dead_letters_size,
)
from exporter.backends.postgresql.partitioning import TimePartitioning
from exporter.backends.postgresql.reader_pool import PostgreSQLReaderPool
from exporter.backends.reader_pool import require_open
from exporter.backends.postgresql.schema import migrate, require_migrated
from exporter.backends.postgresql.text_values import TextSanitizer, clean_text
from exporter.errors import BackendRefusedError
from exporter.model import Batch, StoreSizes, Watermark, WriteResult

__all__ = ["PostgreSQLBackend"]

_log = logging.getLogger(__name__)

# Before a batch that found no partition is tried again. At once is too early now and then while
# several processes make partitions.
_PAUSES_SECONDS: Final = (0.0, 0.05, 0.2)

_Within = Callable[[Connection], AbstractContextManager[Cursor]]


class PostgreSQLBackend:
    """The backend `postgresql`; keeps the contract of `exporter.backends.base.Backend`.

    Args:
        connection_string: as libpq takes it, a URL or key=value pairs.
        read_only: never create, migrate or write; `start` then needs a database of this schema.
        pool_min_connections: reading connections that are opened by `start`.
        pool_max_connections: how many reads may run at once.
        pool_timeout_seconds: how long a read waits for one of them.
        partitioning: how the fact tables are cut by time; a partition a day if None.

    A point of the same series and time as a stored one is stored beside it: a unique index would
    cost two thirds of the speed (docs/decisions/0003-postgresql-writes.md). A batch with a
    watermark is not stored twice, because that commits with it, in `ingest_ledger`.

    Raises:
        ConfigError: the connection string is not libpq's.
    """

    def __init__(
        self,
        connection_string: str,
        *,
        read_only: bool = False,
        pool_min_connections: int = 1,
        pool_max_connections: int = 4,
        pool_timeout_seconds: float = 30.0,
        partitioning: TimePartitioning | None = None,
    ) -> None:
        self._partitioning: TimePartitioning = (
            DailyPartitions() if partitioning is None else partitioning
        )
        self._parameters = parse_connection_string(connection_string, self._partitioning.backend)
        self._location = describe_location(self._parameters)
        self._read_only = read_only
        self._pool_min_connections = pool_min_connections
        self._pool_max_connections = pool_max_connections
        self._pool_timeout_seconds = pool_timeout_seconds
        self._place = f"{self._partitioning.backend} {self._location}"
        self._pool: PostgreSQLReaderPool | None = None
        # Below here only the thread that writes.
        self._writer: Connection | None = None
        self._refused_series: set[int] = set()
        # Of the last attempt: how many texts it altered. A commit whose answer is lost is found
        # stored by the next attempt, which alters none and yet is the one that is counted.
        self._altered: tuple[Watermark | None, int] = (None, 0)

    @property
    def dialect(self) -> Dialect:
        """PostgreSQL's."""
        return POSTGRESQL

    @property
    def location(self) -> str:
        """Host, port and database."""
        return self._location

    def start(self) -> None:
        """Connect, create or migrate the schema, check the role's rights, open the pool."""
        if self._pool is not None:
            return
        pool = PostgreSQLReaderPool(
            lambda: connect_reader(self._parameters, self._place),
            self._place,
            max_connections=self._pool_max_connections,
            timeout_seconds=self._pool_timeout_seconds,
        )
        with translating("connecting", self._place):
            if self._read_only:
                with closing(connect(self._parameters, self._place)) as connection:
                    require_migrated(connection, self._place)
                    self._partitioning.require_readable(connection, self._location)
            else:
                self._writer = self._connect_writer()
            try:
                pool.open_idle(self._pool_min_connections)
            except BaseException:
                self._drop_writer()
                raise
        self._pool = pool

    def write(self, batch: Batch) -> WriteResult:
        """Store the whole batch in one transaction, or nothing of it; with a watermark, once."""
        is_new = self._attempt(batch, transaction)
        stored = batch.without(self._refused_series).entries
        watermark, altered = self._altered
        return WriteResult(
            stored=stored,
            refused=batch.entries - stored,
            altered_texts=altered if watermark == batch.watermark else 0,
            already_stored=not is_new,
        )

    def dry_run(self, batch: Batch) -> None:
        """Do all that `write` does but commit; partitions that are made for it stay."""
        self._attempt(batch, dry_run_transaction)

    def last_sequence(self, writer_id: str) -> int:
        """How far the writer has come by its watermark, when its last transaction has ended."""
        self._require_writable()
        with translating("reading a watermark", self._place, has_started=True):
            connection = self._writing_connection()
            with self._dropping_what_broke(), transaction(connection) as cursor:
                return last_sequence(cursor, writer_id)

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Answer one reading SQL statement with all its rows; values are bound, not written in."""
        pool = self._require_open()
        if ";" in statement:
            raise BackendRefusedError(
                f"{self._place}: reading failed: there is a semicolon in the "
                "statement; ask one question at a time, and bind texts as parameters"
            )
        with translating(READING, self._place, has_started=True):
            return pool.run(lambda connection: self._answer(connection, statement, parameters))

    def delete_before(self, time_unix_nano: int) -> int:
        """Drop the partitions of days that are wholly older; younger rows keep the others.

        Returns:
            How many rows went. A partition that somebody reads stays until the next time.
        """
        self._require_writable()
        with (
            translating("deleting old rows", self._place, has_started=True),
            closing(connect(self._parameters, self._place)) as connection,
        ):
            rows = self._partitioning.delete_before(connection, time_unix_nano)
            with transaction(connection) as cursor:
                return rows + prune_bookkeeping(cursor, time_unix_nano)

    def count_before(self, time_unix_nano: int) -> Mapping[str, int]:
        """How many rows of each table `delete_before` would drop now; counted."""
        pool = self._require_open()
        with translating("counting old rows", self._place, has_started=True):
            return pool.run(
                lambda connection: with_dead_letters_before(
                    connection,
                    self._partitioning.count_before(connection, time_unix_nano),
                    time_unix_nano,
                )
            )

    def sizes(self) -> StoreSizes:
        """How much is stored; rows and times are estimates from the catalogue."""
        pool = self._require_open()
        with translating("measuring the tables", self._place, has_started=True):
            return pool.run(
                lambda connection: with_dead_letters_size(
                    connection, self._partitioning.sizes(connection)
                )
            )

    def close(self) -> None:
        """Close every connection; reads that are under way end with an error."""
        pool, self._pool = self._pool, None
        if pool is None or pool.process_id != os.getpid():
            return  # after a fork the connections are the parent's
        pool.close()
        self._drop_writer()

    def _connect_writer(self) -> Connection:
        # Each new connection migrates: the server may have been restored, or be another one.
        connection = connect_writer(self._parameters, self._place)
        try:
            self._partitioning.before_migrations(connection, self._location)
            applied = migrate(
                connection, self._place, partition_clause=self._partitioning.partition_clause
            )
            self._partitioning.after_migrations(connection, self._location)
        except BaseException:
            connection.close()
            raise
        if applied:
            _log.info("%s: schema is at version %d now", self._place, applied[-1])
        return connection

    def _attempt(self, batch: Batch, within: _Within) -> bool:
        """Write within a transaction or a dry run; whether the batch was yet to be stored."""
        self._require_writable()
        with translating(STORING, self._place, has_started=True):
            for pause_seconds in _PAUSES_SECONDS:
                try:
                    return self._store(batch, within)
                except psycopg2.Error as error:
                    if not is_missing_partition(error):
                        raise
                    # Another receiver's retention has dropped it, or another has just made it and
                    # the server has not told this session yet.
                    self._partitioning.invalidate()
                    time.sleep(pause_seconds)
            return self._store(batch, within)

    def _store(self, batch: Batch, within: _Within) -> bool:
        connection = self._writing_connection()
        with self._dropping_what_broke():
            self._partitioning.ensure_partitions(connection, days_by_table(batch))
            with within(connection) as cursor:
                sanitizer = TextSanitizer()
                is_new = write_batch(
                    cursor,
                    batch,
                    self._refused_series,
                    sanitizer,
                    copy_mode=self._partitioning.copy_mode,
                )
                if is_new:
                    self._altered = (batch.watermark, sanitizer.altered)
        return is_new

    def _writing_connection(self) -> Connection:
        if self._writer is None:
            self._writer = self._connect_writer()
            self._partitioning.invalidate()
        return self._writer

    @contextmanager
    def _dropping_what_broke(self) -> Iterator[None]:
        try:
            yield
        except ReadOnlySqlTransaction:
            # The server is fenced, or another one behind the same pooler or proxy: a new connection
            # may lead to the primary, and says what it found if it does not.
            self._drop_writer()
            raise
        finally:
            if self._writer is not None and self._writer.closed:
                self._drop_writer()

    def _answer(
        self, connection: Connection, statement: str, parameters: Sequence[object]
    ) -> list[tuple[Any, ...]]:
        values = tuple(clean_text(v) if isinstance(v, str) else v for v in parameters)
        return answer(connection, lambda cursor: self._bound(cursor, statement, values))

    def _bound(self, cursor: Any, statement: str, values: tuple[object, ...]) -> bytes:
        try:
            text: bytes = cursor.mogrify(statement, values or None)
        except (TypeError, IndexError, ValueError) as error:
            raise BackendRefusedError(
                f"{self._place}: reading failed: the statement and its "
                f"{len(values)} parameters do not fit: {error}"
            ) from error
        return text

    def _drop_writer(self) -> None:
        connection, self._writer = self._writer, None
        if connection is not None:
            connection.close()

    def _require_writable(self) -> None:
        self._require_open()
        if self._read_only:
            raise BackendRefusedError(f"{self._place}: it was opened for reading only")

    def _require_open(self) -> PostgreSQLReaderPool:
        return require_open(self._pool, self._place)
