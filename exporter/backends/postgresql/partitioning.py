"""How time cuts the fact tables: what differs between PostgreSQL's partitions and hypertables."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from exporter.backends.postgresql.connection import Connection, Cursor
from exporter.backends.postgresql.partitions import (
    FACT_TABLES,
    create_partitions,
    drop_partitions,
    require_partitioned,
)
from exporter.backends.postgresql.schema import require_rights
from exporter.backends.postgresql.sizes import count_rows_before, read_sizes
from exporter.model import StoreSizes

__all__ = ["DailyPartitions", "TimePartitioning"]

_NANOSECONDS_PER_DAY: Final = 86_400_000_000_000


class TimePartitioning(Protocol):
    """Cuts the fact tables by time, for one backend.

    The methods around migrations, `ensure_partitions`, `invalidate` and `copy_mode` are called by
    the writer thread, the others by any thread. Connections have no
    transaction open, before and after.
    """

    @property
    def backend(self) -> str:
        """The name of the backend, for messages."""

    @property
    def partition_clause(self) -> str:
        """The clause that ends the statement which creates a fact table, or ""."""

    def before_migrations(self, connection: Connection, location: str) -> None:
        """See to what the schema needs, on every new connection for writing."""

    def after_migrations(self, connection: Connection, location: str) -> None:
        """Bring the fact tables to their form, and check that they can be written."""

    def require_readable(self, connection: Connection, location: str) -> None:
        """Check, without a change, that the fact tables have their form."""

    def ensure_partitions(self, connection: Connection, days: Mapping[str, set[int]]) -> None:
        """See to it that rows of these days, counted from 1970, can go into each table."""

    def invalidate(self) -> None:
        """What `ensure_partitions` has seen may have changed: another program or database."""

    def copy_mode(self, cursor: Cursor, rows: int, /) -> AbstractContextManager[None]:
        """Around one COPY of so many number points, sorted by series and time."""

    def delete_before(self, connection: Connection, time_unix_nano: int) -> int:
        """See `Backend.delete_before`."""

    def count_before(self, connection: Connection, time_unix_nano: int) -> Mapping[str, int]:
        """See `Backend.count_before`."""

    def sizes(self, connection: Connection) -> StoreSizes:
        """See `Backend.sizes`."""


class DailyPartitions:
    """The layout of the backend `postgresql`: a partition a day, made when a row needs one."""

    backend: Final = "postgresql"
    partition_clause: Final = 'PARTITION BY RANGE ("timestamp")'

    def __init__(self) -> None:
        self._known_days: dict[str, set[int]] = {}

    def before_migrations(self, connection: Connection, location: str) -> None:
        """Check that tables which are there are not hypertables."""
        require_partitioned(connection, location)

    def after_migrations(self, connection: Connection, location: str) -> None:
        """Check that the role may make partitions."""
        require_rights(connection, location)

    def require_readable(self, connection: Connection, location: str) -> None:
        """Check that the tables are not hypertables."""
        require_partitioned(connection, location)

    def ensure_partitions(self, connection: Connection, days: Mapping[str, set[int]]) -> None:
        """Make the partitions that are missing."""
        for table, needed in days.items():
            if not needed <= self._known_days.get(table, set()):
                self._known_days[table] = create_partitions(connection, table, needed)

    def invalidate(self) -> None:
        """Look for the partitions again."""
        self._known_days.clear()

    def copy_mode(self, _cursor: Cursor, _rows: int, /) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def delete_before(self, connection: Connection, time_unix_nano: int) -> int:
        """Drop the partitions of days that are wholly older."""
        before_day = time_unix_nano // _NANOSECONDS_PER_DAY
        return sum(drop_partitions(connection, table, before_day) for table in FACT_TABLES)

    def count_before(self, connection: Connection, time_unix_nano: int) -> dict[str, int]:
        """Count what is in those partitions."""
        return count_rows_before(connection, time_unix_nano // _NANOSECONDS_PER_DAY)

    def sizes(self, connection: Connection) -> StoreSizes:
        """Estimate from the catalogue."""
        return read_sizes(connection)
