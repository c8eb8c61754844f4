"""The columnstore: what makes old rows a tenth of their size, and when COPY writes into it itself.

Rows are ordered by series and time, with no segment: a segment a series would leave batches of a
few rows, because one chunk of one batch has few rows of each (docs/decisions/0004).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.timescaledb.capabilities import Capabilities

__all__ = [
    "FIRST_SAFE_VERSION",
    "LARGE_BATCH_ROWS",
    "DirectCompress",
    "compresses_directly",
    "direct_compress",
    "enable_columnstore",
]

DirectCompress = Literal["auto", "on", "off"]

# An earlier one could lose rows (timescale/timescaledb#9381).
FIRST_SAFE_VERSION: Final = (2, 28)
# Each COPY makes compressed batches of its own, of 1,000 rows at most. With 4,000 rows a COPY
# they took 2.4 times the space of 60,000, and reads five times as long (docs/decisions/0004).
LARGE_BATCH_ROWS: Final = 50_000

_IS_ENABLED: Final = """
    SELECT compression_enabled FROM timescaledb_information.hypertables
    WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %s::regclass"""
_ENABLE: Final = """
    ALTER TABLE {table} SET (timescaledb.enable_columnstore = true,
        timescaledb.segmentby = '', timescaledb.orderby = 'series_id, "timestamp"')"""
# Before 2.18.
_ENABLE_BY_OLDER_NAME: Final = """
    ALTER TABLE {table} SET (timescaledb.compress = true,
        timescaledb.compress_segmentby = '',
        timescaledb.compress_orderby = 'series_id, "timestamp"')"""

# `sort_batches`: the rows of a COPY come sorted, so the server need not sort them again.
# `client_sorted` says more, that all COPYs together are in order, and they are not: they overlap.
# With it on, TimescaleDB 2.23 answers ORDER BY series_id, "timestamp" in the wrong order.
_SWITCH: Final = """
    SELECT set_config('timescaledb.enable_direct_compress_copy', %s, true),
           set_config('timescaledb.enable_direct_compress_copy_sort_batches', 'off', true),
           set_config('timescaledb.enable_direct_compress_copy_client_sorted', 'off', true)"""


def enable_columnstore(cursor: Cursor, capabilities: Capabilities, table: str) -> None:
    """Let the chunks of a hypertable be compressed; settings that are there already stay.

    Args:
        cursor: with a transaction open.
        capabilities: of this database, a Community Edition.
        table: a hypertable with the columns series_id and timestamp.
    """
    cursor.execute(_IS_ENABLED, (table,))
    if cursor.fetchone() == (True,):
        return
    statement = _ENABLE if capabilities.has_columnstore_names else _ENABLE_BY_OLDER_NAME
    cursor.execute(sql.SQL(statement).format(table=sql.Identifier(table)))


def compresses_directly(mode: DirectCompress, capabilities: Capabilities, rows: int) -> bool:
    """Whether a COPY into a hypertable with a columnstore should write compressed rows.

    Args:
        mode: "auto" decides by version and size, "on" and "off" for every COPY.
        capabilities: of this database.
        rows: how many the COPY has.
    """
    if not (capabilities.is_community and capabilities.has_direct_compress_copy):
        return False
    if mode != "auto":
        return mode == "on"
    return capabilities.version_numbers >= FIRST_SAFE_VERSION and rows >= LARGE_BATCH_ROWS


@contextmanager
def direct_compress(cursor: Cursor) -> Iterator[None]:
    """COPY inside the block writes compressed rows; each must come sorted by series and time."""
    cursor.execute(_SWITCH, ("on",))
    yield
    # Not in `finally`: after an error the transaction is over, and the setting with it.
    cursor.execute(_SWITCH, ("off",))
