"""The backend `timescaledb`: the backend `postgresql` with hypertables instead of partitions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from psycopg2.errors import LockNotAvailable

from exporter.backends.hypertable_catalog import Fetch, HypertableCatalog
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.partitioning import FACT_TABLE_NAMES, LOCK_TIMEOUT_MILLISECONDS
from exporter.backends.timescaledb.columnstore import compresses_directly, direct_compress
from exporter.backends.timescaledb.extension import Capabilities, require_extension
from exporter.backends.timescaledb.hypertable_catalog import TimescaleDBCatalog
from exporter.backends.timescaledb.hypertable_setup import (
    HypertableOptions,
    configure_hypertables,
    warn_about_limitations,
)
from exporter.backends.timescaledb.hypertables import (
    count_expired_rows,
    drop_chunks,
    drop_cost_chunks,
    is_hypertable,
)
from exporter.backends.timescaledb.sizes import read_sizes
from exporter.errors import BackendRefusedError
from exporter.model import StoreSizes
from exporter.tables import COST_ENTRIES
from exporter.time_units import from_nanos

_log = logging.getLogger(__name__)

_DEFAULT_OPTIONS: Final = HypertableOptions()


def timescaledb_backend(
    connection_string: str,
    *,
    options: HypertableOptions = _DEFAULT_OPTIONS,
    read_only: bool = False,
    pool_min_connections: int = 1,
    pool_max_connections: int = 4,
) -> PostgreSQLBackend:
    """The backend `timescaledb`, not started; implements `exporter.backends.base.Backend`.

    `start` creates the extension if the role may. It converts partitioned tables of the backend
    `postgresql` to hypertables, which takes as long as copying their rows.

    Args:
        connection_string: a URL or key=value pairs, as libpq accepts them.
        options: chunks, compression, retention and roll-ups of the hypertables.
        read_only: never create, migrate or write; `start` then requires hypertables of the current
            schema.
        pool_min_connections: connections for reading that `start` opens.
        pool_max_connections: how many reads may run at once.

    Raises:
        ConfigError: libpq cannot parse the connection string.
    """
    return PostgreSQLBackend(
        connection_string,
        read_only=read_only,
        pool_min_connections=pool_min_connections,
        pool_max_connections=pool_max_connections,
        partitioning=_HypertablePartitioning(options),
    )


class _HypertablePartitioning:
    """Implements `exporter.backends.postgresql.partitioning.TimePartitioning`."""

    backend: Final = "timescaledb"
    # Fact tables are created as plain tables, which `after_migrations` converts.
    partition_clause: Final = ""

    def __init__(self, options: HypertableOptions) -> None:
        self._options = options
        self._found: Capabilities | None = None
        self._has_warned = False

    def before_migrations(self, connection: Connection, label: str) -> None:
        """Create the extension if it is missing.

        Raises:
            BackendRefusedError: there is no usable extension; the message says who should run what.
        """
        self._found = require_extension(connection, label)
        if not self._has_warned:  # once, and not for each new connection
            warn_about_limitations(self._found, self._options, label)
            self._has_warned = True

    def after_migrations(self, connection: Connection, label: str) -> None:
        """Create the hypertables, policies and roll-ups that the options ask for."""
        configure_hypertables(connection, self._capabilities, self._options, label)

    def require_readable(self, connection: Connection, label: str) -> None:
        """Check, without a change, that the fact tables are hypertables.

        Raises:
            BackendRefusedError: the extension is missing, or a table is not a hypertable.
        """
        self._found = require_extension(connection, label, may_create=False)
        with transaction(connection) as cursor:
            others = [table for table in FACT_TABLE_NAMES if not is_hypertable(cursor, table)]
        if others:
            raise BackendRefusedError(
                f"{label}: {', '.join(others)} must be converted to hypertables, "
                "and the database is opened for reading only; start the exporter on it once, or "
                "set backend: postgresql"
            )

    def ensure_partitions(self, connection: Connection, days: Mapping[str, set[int]]) -> None:
        """Does nothing: the extension creates a chunk when a row needs it."""

    def invalidate(self) -> None:
        """Does nothing: nothing is cached."""

    def copy_mode(self, cursor: Cursor, rows: int, /) -> AbstractContextManager[None]:
        """Let the COPY write compressed rows, if the options and the extension allow it."""
        options = self._options
        if options.enable_compression and compresses_directly(
            options.direct_compress, self._capabilities, rows
        ):
            return direct_compress(cursor)
        return nullcontext()

    def delete_expired(self, connection: Connection, limits: Mapping[str, int]) -> int:
        """Drop the chunks whose rows are all older; returns how many rows they had.

        A table whose old chunks are in use is skipped until the next call.
        """
        rows = 0
        for table in FACT_TABLE_NAMES:
            before = from_nanos(limits[table])
            try:
                if table == COST_ENTRIES.name:
                    rows += drop_cost_chunks(connection, self._capabilities, before)
                    continue
                with transaction(connection) as cursor:
                    rows += drop_chunks(cursor, self._capabilities, table, before)
            except LockNotAvailable:
                _log.warning(
                    "a statement has used old chunks of %s for longer than %d ms; they are "
                    "dropped at the next cleanup",
                    table,
                    LOCK_TIMEOUT_MILLISECONDS,
                )
        return rows

    def count_expired(self, connection: Connection, limits: Mapping[str, int]) -> dict[str, int]:
        """Count the rows of each table that `delete_expired` would drop now."""
        with transaction(connection) as cursor:
            return {
                table: count_expired_rows(cursor, table, from_nanos(limits[table]))
                for table in FACT_TABLE_NAMES
            }

    def sizes(self, connection: Connection) -> StoreSizes:
        """How much is stored; large tables are estimated from the catalogue."""
        with transaction(connection) as cursor:
            return read_sizes(cursor, self._capabilities)

    def hypertable_catalog(self, fetch: Fetch) -> HypertableCatalog:
        """Roll-ups and chunks of this database, for readers."""
        return TimescaleDBCatalog(fetch)

    @property
    def _capabilities(self) -> Capabilities:
        if self._found is None:
            raise BackendRefusedError("timescaledb: it is not open; call start() first")
        return self._found
