"""How the fact tables are partitioned by time: what PostgreSQL and TimescaleDB do differently."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final, Protocol

from exporter import tables
from exporter.backends.hypertable_catalog import Fetch, HypertableCatalog
from exporter.backends.postgresql.connection import Connection, Cursor
from exporter.model import StoreSizes

FACT_TABLE_NAMES: Final = tuple(table.name for table in tables.FACT_TABLES)
# How long dropping old rows waits for a lock on a table. Writers queue behind it meanwhile.
LOCK_TIMEOUT_MILLISECONDS: Final = 500


class TimePartitioning(Protocol):
    """Partitions the fact tables by time, for one backend.

    The writer thread calls `before_migrations`, `after_migrations`, `ensure_partitions`,
    `invalidate` and `copy_mode`; any thread calls the others. A connection has no transaction open
    when a method gets it and when the method returns.
    """

    @property
    def backend(self) -> str:
        """The name of the backend, for messages."""

    @property
    def partition_clause(self) -> str:
        """The clause at the end of the statement that creates a fact table, or ""."""

    def before_migrations(self, connection: Connection, label: str) -> None:
        """Check or create what the schema needs, on every new connection for writing."""

    def after_migrations(self, connection: Connection, label: str) -> None:
        """Partition the fact tables, and check that the role may write them."""

    def require_readable(self, connection: Connection, label: str) -> None:
        """Check, without a change, that the fact tables are partitioned this way."""

    def ensure_partitions(self, connection: Connection, days: Mapping[str, set[int]]) -> None:
        """Create the missing partitions of each table.

        Args:
            connection: the writer's.
            days: days since 1970 for each table.
        """

    def invalidate(self) -> None:
        """Discard what `ensure_partitions` has cached: another program may have dropped some."""

    def copy_mode(self, cursor: Cursor, rows: int, /) -> AbstractContextManager[None]:
        """Settings for one COPY of this many number points, sorted by series and time."""

    def delete_expired(self, connection: Connection, limits: Mapping[str, int]) -> int:
        """See `Backend.delete_before`; `limits` are nanoseconds since 1970 by table."""

    def count_expired(self, connection: Connection, limits: Mapping[str, int]) -> Mapping[str, int]:
        """See `Backend.count_before`; `limits` are nanoseconds since 1970 by table."""

    def sizes(self, connection: Connection) -> StoreSizes:
        """See `Backend.sizes`."""

    def hypertable_catalog(self, fetch: Fetch) -> HypertableCatalog | None:
        """See `Backend.hypertable_catalog`; `fetch` is the backend's."""
