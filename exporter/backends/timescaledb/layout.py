"""Fact tables as hypertables: what the PostgreSQL backend asks for wherever time cuts a table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg2.errors import LockNotAvailable

from exporter.backends.postgresql.connection import Connection, Cursor, transaction
from exporter.backends.postgresql.partitioning import FACT_TABLE_NAMES, LOCK_TIMEOUT_MILLISECONDS
from exporter.backends.timescaledb.capabilities import Capabilities
from exporter.backends.timescaledb.chunks import count_rows, drop_chunks
from exporter.backends.timescaledb.columnstore import compresses_directly, direct_compress
from exporter.backends.timescaledb.extension import require_extension
from exporter.backends.timescaledb.hypertable_setup import (
    HypertableOptions,
    configure_hypertables,
    warn_about_limitations,
)
from exporter.backends.timescaledb.hypertables import is_hypertable
from exporter.backends.timescaledb.sizes import read_sizes
from exporter.errors import BackendRefusedError
from exporter.model import StoreSizes

__all__ = ["Hypertables"]

_log = logging.getLogger(__name__)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Hypertables:
    """Keeps the contract of `exporter.backends.postgresql.partitioning.TimePartitioning`.

    Args:
        options: what a user decides.
    """

    backend: Final = "timescaledb"
    # The statement that creates a fact table ends here; what follows is `prepare`.
    partition_clause: Final = ""

    def __init__(self, options: HypertableOptions) -> None:
        self._options = options
        self._capabilities: Capabilities | None = None
        self._warned = False

    def before_migrations(self, connection: Connection, location: str) -> None:
        """See to it that the database has the extension.

        Raises:
            BackendRefusedError: it has not, and who is to do what.
        """
        self._capabilities = require_extension(connection, location)
        if not self._warned:  # a new connection is no news
            warn_about_limitations(self._capabilities, self._options, location)
            self._warned = True

    def after_migrations(self, connection: Connection, location: str) -> None:
        """Make hypertables of the fact tables, with policies and roll-ups as the options say."""
        configure_hypertables(connection, self._known(), self._options, location)

    def require_readable(self, connection: Connection, location: str) -> None:
        """Check, without a change, that the fact tables are hypertables.

        Raises:
            BackendRefusedError: the extension is missing, or a table is another kind of table.
        """
        self._capabilities = require_extension(connection, location, may_create=False)
        with transaction(connection) as cursor:
            others = [table for table in FACT_TABLE_NAMES if not is_hypertable(cursor, table)]
        if others:
            raise BackendRefusedError(
                f"timescaledb {location}: {', '.join(others)} is no hypertable, and it is opened "
                "for reading only; start the exporter on it once, which converts it, or set "
                "backend: postgresql"
            )

    def ensure_partitions(self, connection: Connection, days: Mapping[str, set[int]]) -> None:
        """Nothing: the extension makes a chunk when a row needs one."""

    def invalidate(self) -> None:
        """Nothing: there is nothing that is remembered."""

    def copy_mode(self, cursor: Cursor, rows: int, /) -> AbstractContextManager[None]:
        """Within it, a COPY of this many points may write compressed rows, if that is safe."""
        options = self._options
        if options.enable_compression and compresses_directly(
            options.direct_compress, self._known(), rows
        ):
            return direct_compress(cursor)
        return nullcontext()

    def delete_before(self, connection: Connection, time_unix_nano: int) -> int:
        """Drop the chunks that are wholly older; how many rows went.

        A table whose old chunks are in use is left to the next time.
        """
        deleted = 0
        for table in FACT_TABLE_NAMES:
            try:
                with transaction(connection) as cursor:
                    deleted += drop_chunks(cursor, self._known(), table, _moment(time_unix_nano))
            except LockNotAvailable:
                _log.warning(
                    "old chunks of %s are in use by a statement that takes longer than %d ms; they "
                    "are left to the next cleanup",
                    table,
                    LOCK_TIMEOUT_MILLISECONDS,
                )
        return deleted

    def count_before(self, connection: Connection, time_unix_nano: int) -> dict[str, int]:
        """How many rows of each table `delete_before` would drop now; counted."""
        before = _moment(time_unix_nano)
        with transaction(connection) as cursor:
            return {table: count_rows(cursor, table, before) for table in FACT_TABLE_NAMES}

    def sizes(self, connection: Connection) -> StoreSizes:
        """How much is stored."""
        with transaction(connection) as cursor:
            return read_sizes(cursor, self._known())

    def _known(self) -> Capabilities:
        if self._capabilities is None:
            raise BackendRefusedError("timescaledb: it is not open; call start() first")
        return self._capabilities


def _moment(unix_nano: int) -> datetime:
    return _EPOCH + timedelta(microseconds=unix_nano // 1_000)
