"""The backend `postgresql`: one connection for writing, and a pool of connections for reading."""

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
from exporter.backends.hypertable_catalog import HypertableCatalog
from exporter.backends.postgresql.batch_writer import days_by_table, write_batch
from exporter.backends.postgresql.connection import (
    Connection,
    Cursor,
    connect,
    connect_reader,
    connect_writer,
    describe_location,
    dry_run_transaction,
    fetch_all,
    parse_connection_string,
    transaction,
)
from exporter.backends.postgresql.daily_partitions import DailyPartitions
from exporter.backends.postgresql.errors import (
    READING,
    STORING,
    is_missing_partition,
    translate_errors,
)
from exporter.backends.postgresql.partitioning import TimePartitioning
from exporter.backends.postgresql.reader_pool import PostgreSQLReaderPool
from exporter.backends.postgresql.schema import migrate, require_migrated
from exporter.backends.postgresql.text_format import TextSanitizer, clean_text
from exporter.backends.postgresql.watermarks_and_dead_letters import (
    add_dead_letter_count,
    add_dead_letter_size,
    last_sequence,
    prune_bookkeeping,
)
from exporter.backends.reader_pool import require_open
from exporter.backends.retention import limits_by_table
from exporter.errors import BackendRefusedError
from exporter.model import NO_COST_COUNTS, Batch, CostCounts, StoreSizes, Watermark, WriteResult

_log = logging.getLogger(__name__)

# The waits before a batch without a partition is written again. An immediate retry sometimes fails
# when several processes create partitions.
_RETRY_WAITS_SECONDS: Final = (0.0, 0.05, 0.2)

_Transaction = Callable[[Connection], AbstractContextManager[Cursor]]


class PostgreSQLBackend:
    """The backend `postgresql`; implements `exporter.backends.base.Backend`.

    A point with the series and time of a stored point is stored as a second row: a unique index
    would cost two thirds of the speed (docs/decisions/0003-postgresql-writes.md). A batch with a
    watermark is not stored twice, because the watermark commits with it, in `ingest_ledger`.

    Args:
        connection_string: a URL or key=value pairs, as libpq accepts them.
        read_only: never create, migrate or write; `start` then requires the current schema.
        pool_min_connections: connections for reading that `start` opens.
        pool_max_connections: how many reads may run at once.
        pool_timeout_seconds: how long a read waits for a free connection.
        partitioning: how the fact tables are partitioned by time; None for a partition a day.

    Raises:
        ConfigError: libpq cannot parse the connection string.
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
        self._label = f"{self._partitioning.backend} {self._location}"
        self._hypertable_catalog = self._partitioning.hypertable_catalog(self.fetch)
        self._pool: PostgreSQLReaderPool | None = None
        # Only the writer thread uses what follows.
        self._writer: Connection | None = None
        self._refused_series: set[int] = set()
        # The batch of the last attempt and the number of texts it altered. If the reply to COMMIT
        # was lost, the next attempt finds the batch stored and reports this number.
        self._altered: tuple[Watermark | None, int] = (None, 0)

    @property
    def dialect(self) -> Dialect:
        """PostgreSQL's dialect of SQL."""
        return POSTGRESQL

    @property
    def hypertable_catalog(self) -> HypertableCatalog | None:
        """TimescaleDB's; None for the backend `postgresql`."""
        return self._hypertable_catalog

    @property
    def location(self) -> str:
        """Host, port and database."""
        return self._location

    def start(self) -> None:
        """Connect, create or migrate the schema, check the role's privileges, open the pool."""
        if self._pool is not None:
            return
        pool = PostgreSQLReaderPool(
            lambda: connect_reader(self._parameters, self._label),
            self._label,
            max_connections=self._pool_max_connections,
            timeout_seconds=self._pool_timeout_seconds,
        )
        with translate_errors("connecting", self._label):
            if self._read_only:
                with closing(connect(self._parameters, self._label)) as connection:
                    require_migrated(connection, self._label)
                    self._partitioning.require_readable(connection, self._label)
            else:
                self._writer = self._connect_writer()
            try:
                pool.open_idle(self._pool_min_connections)
            except BaseException:
                self._close_writer()
                raise
        self._pool = pool

    def write(self, batch: Batch) -> WriteResult:
        """Store the whole batch in one transaction, or nothing; once, if it has a watermark."""
        cost_counts = self._write_or_retry(batch, transaction)
        stored = batch.without(self._refused_series).entries
        watermark, altered = self._altered
        return WriteResult(
            stored=stored,
            refused=batch.entries - stored,
            altered_texts=altered if watermark == batch.watermark else 0,
            already_stored=cost_counts is None,
            cost_counts=cost_counts or NO_COST_COUNTS,
        )

    def dry_run(self, batch: Batch) -> None:
        """Do what `write` does and roll it back; the partitions that it created stay."""
        self._write_or_retry(batch, dry_run_transaction)

    def last_sequence(self, writer_id: str) -> int:
        """The writer's watermark; waits for the end of its last transaction."""
        self._require_writable()
        with translate_errors("reading a watermark", self._label, has_started=True):
            connection = self._open_writer()
            with self._close_writer_on_error(), transaction(connection) as cursor:
                return last_sequence(cursor, writer_id)

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one reading SQL statement and return all rows; the driver binds the parameters."""
        pool = self._require_open()
        if ";" in statement:
            raise BackendRefusedError(
                f"{self._label}: reading failed: the statement contains a semicolon; send one "
                "statement at a time, and bind texts as parameters"
            )
        values = tuple(clean_text(v) if isinstance(v, str) else v for v in parameters)
        with translate_errors(READING, self._label, has_started=True):
            return pool.run(
                lambda connection: fetch_all(
                    connection, lambda cursor: self._render(cursor, statement, values)
                )
            )

    def delete_before(
        self, time_unix_nano: int, *, costs_before_unix_nano: int | None = None
    ) -> int:
        """Drop the partitions or chunks whose rows are all older.

        Returns:
            How many rows were deleted. A partition in use is dropped by a later call.
        """
        self._require_writable()
        limits = limits_by_table(time_unix_nano, costs_before_unix_nano)
        with (
            translate_errors("deleting old rows", self._label, has_started=True),
            closing(connect(self._parameters, self._label)) as connection,
        ):
            rows = self._partitioning.delete_expired(connection, limits)
            with transaction(connection) as cursor:
                return rows + prune_bookkeeping(cursor, time_unix_nano)

    def count_before(
        self, time_unix_nano: int, *, costs_before_unix_nano: int | None = None
    ) -> Mapping[str, int]:
        """Count the rows of each table that `delete_before` would delete now."""
        pool = self._require_open()
        limits = limits_by_table(time_unix_nano, costs_before_unix_nano)
        with translate_errors("counting old rows", self._label, has_started=True):
            return pool.run(
                lambda connection: add_dead_letter_count(
                    connection,
                    self._partitioning.count_expired(connection, limits),
                    time_unix_nano,
                )
            )

    def sizes(self) -> StoreSizes:
        """How much is stored; large partitions are estimated from the catalogue."""
        pool = self._require_open()
        with translate_errors("measuring the tables", self._label, has_started=True):
            return pool.run(
                lambda connection: add_dead_letter_size(
                    connection, self._partitioning.sizes(connection)
                )
            )

    def close(self) -> None:
        """Close every connection; running reads end with an error."""
        pool, self._pool = self._pool, None
        if pool is None or pool.process_id != os.getpid():
            return  # after a fork the connections belong to the parent
        pool.close()
        self._close_writer()

    def _connect_writer(self) -> Connection:
        # Each new connection migrates, because the database may have been restored or replaced.
        connection = connect_writer(self._parameters, self._label)
        try:
            self._partitioning.before_migrations(connection, self._label)
            applied = migrate(
                connection, self._label, partition_clause=self._partitioning.partition_clause
            )
            self._partitioning.after_migrations(connection, self._label)
        except BaseException:
            connection.close()
            raise
        if applied:
            _log.info("%s: migrated the schema to version %d", self._label, applied[-1])
        return connection

    def _write_or_retry(self, batch: Batch, transact: _Transaction) -> CostCounts | None:
        """Write the batch. Returns None if it was already stored.

        Args:
            batch: the rows.
            transact: `transaction` or `dry_run_transaction`.
        """
        self._require_writable()
        with translate_errors(STORING, self._label, has_started=True):
            for wait_seconds in _RETRY_WAITS_SECONDS:
                try:
                    return self._write_once(batch, transact)
                except psycopg2.Error as error:
                    if not is_missing_partition(error):
                        raise
                    # Another receiver's retention has dropped it, or another receiver has just
                    # created it and this session cannot use it yet.
                    self._partitioning.invalidate()
                    time.sleep(wait_seconds)
            return self._write_once(batch, transact)

    def _write_once(self, batch: Batch, transact: _Transaction) -> CostCounts | None:
        connection = self._open_writer()
        with self._close_writer_on_error():
            self._partitioning.ensure_partitions(connection, days_by_table(batch))
            with transact(connection) as cursor:
                sanitizer = TextSanitizer()
                cost_counts = write_batch(
                    cursor,
                    batch,
                    self._refused_series,
                    sanitizer,
                    copy_mode=self._partitioning.copy_mode,
                )
                if cost_counts is not None:
                    self._altered = (batch.watermark, sanitizer.altered)
        return cost_counts

    def _open_writer(self) -> Connection:
        if self._writer is None:
            self._writer = self._connect_writer()
            self._partitioning.invalidate()
        return self._writer

    @contextmanager
    def _close_writer_on_error(self) -> Iterator[None]:
        try:
            yield
        except ReadOnlySqlTransaction:
            # The server was fenced, or a pooler or proxy leads to a standby now. A new connection
            # may reach the primary; otherwise opening it fails with advice.
            self._close_writer()
            raise
        finally:
            if self._writer is not None and self._writer.closed:
                self._close_writer()

    def _render(self, cursor: Any, statement: str, values: tuple[object, ...]) -> bytes:
        try:
            text: bytes = cursor.mogrify(statement, values or None)
        except (TypeError, IndexError, ValueError) as error:
            raise BackendRefusedError(
                f"{self._label}: reading failed: the statement does not match its "
                f"{len(values)} parameters: {error}"
            ) from error
        return text

    def _close_writer(self) -> None:
        connection, self._writer = self._writer, None
        if connection is not None:
            connection.close()

    def _require_writable(self) -> None:
        self._require_open()
        if self._read_only:
            raise BackendRefusedError(f"{self._label}: it was opened for reading only")

    def _require_open(self) -> PostgreSQLReaderPool:
        return require_open(self._pool, self._label)
