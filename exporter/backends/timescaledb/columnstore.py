"""The columnstore, which compresses rows to a tenth, and when COPY compresses them directly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.timescaledb.extension import Capabilities

DirectCompress = Literal["auto", "on", "off"]

# Earlier versions could lose rows with direct compress (timescale/timescaledb#9381).
FIRST_SAFE_VERSION: Final = (2, 28)
# Each COPY creates its own compressed batches of at most 1,000 rows. With 4,000 rows a COPY instead
# of 60,000, they took 2.4 times the space, and reads took five times as long
# (docs/decisions/0004-timescaledb.md).
LARGE_BATCH_ROWS: Final = 50_000

_IS_ENABLED: Final = """
    SELECT compression_enabled FROM timescaledb_information.hypertables
    WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %s::regclass"""
# Rows are ordered by series and time, without segments. A segment for each series would leave
# batches of a few rows, because a chunk has few rows of each series from one COPY
# (docs/decisions/0004-timescaledb.md).
_ENABLE: Final = """
    ALTER TABLE {table} SET (timescaledb.enable_columnstore = true,
        timescaledb.segmentby = '', timescaledb.orderby = 'series_id, "timestamp"')"""
# Before 2.18.
_ENABLE_BY_OLDER_NAME: Final = """
    ALTER TABLE {table} SET (timescaledb.compress = true,
        timescaledb.compress_segmentby = '',
        timescaledb.compress_orderby = 'series_id, "timestamp"')"""

# `sort_batches` is off, because the rows of a COPY are sorted already. `client_sorted` is off,
# because it promises that all COPYs together are in order, and they overlap. With it on,
# TimescaleDB 2.23 returns ORDER BY series_id, "timestamp" in the wrong order.
_SET_DIRECT_COMPRESS: Final = """
    SELECT set_config('timescaledb.enable_direct_compress_copy', %s, true),
           set_config('timescaledb.enable_direct_compress_copy_sort_batches', 'off', true),
           set_config('timescaledb.enable_direct_compress_copy_client_sorted', 'off', true)"""


def enable_columnstore(cursor: Cursor, capabilities: Capabilities, table: str) -> None:
    """Enable compression of a hypertable's chunks; existing settings stay.

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
        mode: "auto" decides by version and size; "on" and "off" hold for every COPY.
        capabilities: of this database.
        rows: the number of rows of the COPY.
    """
    if not (capabilities.is_community and capabilities.has_direct_compress_copy):
        return False
    if mode != "auto":
        return mode == "on"
    return capabilities.version_numbers >= FIRST_SAFE_VERSION and rows >= LARGE_BATCH_ROWS


@contextmanager
def direct_compress(cursor: Cursor) -> Iterator[None]:
    """COPY inside the block writes compressed rows, which must be sorted by series and time."""
    cursor.execute(_SET_DIRECT_COMPRESS, ("on",))
    yield
    # Not in `finally`: an error aborts the transaction, and the setting ends with it.
    cursor.execute(_SET_DIRECT_COMPRESS, ("off",))
