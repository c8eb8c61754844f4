"""How much a TimescaleDB store holds, table by table; only reads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.partitioning import FACT_TABLE_NAMES
from exporter.backends.postgresql.sizes import store_sizes
from exporter.backends.timescaledb.extension import Capabilities
from exporter.backends.timescaledb.hypertables import Chunk, chunks_of
from exporter.model import StoreSizes, TableSize
from exporter.time_units import to_nanos

# A million rows of the row store, five million of the columnstore: counted in less than a second.
_COUNTED_BYTES: Final = 64 << 20
_COUNT: Final = 'SELECT count(*), min("timestamp"), max("timestamp") FROM {}'
# approximate_row_count includes compressed rows; pg_stat_get_live_tuples includes chunks that have
# not been analyzed yet.
_ESTIMATE: Final = """
    SELECT coalesce(sum(greatest(
        {approximate_row_count}(chunk), pg_stat_get_live_tuples(chunk))), 0)::bigint
    FROM (
        SELECT format('%I.%I', chunk_schema, chunk_name)::regclass AS chunk
        FROM timescaledb_information.chunks
        WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = {table}::regclass
    ) AS chunks"""
_SIZE: Final = "SELECT {hypertable_size}({table}::regclass)"
_COMPRESSION_RATIO: Final = """
    SELECT before_compression_total_bytes::double precision
        / nullif(after_compression_total_bytes, 0)
    FROM {statistics}({table}::regclass)"""


def read_sizes(cursor: Cursor, capabilities: Capabilities) -> StoreSizes:
    """The sizes at one moment, without the continuous aggregates.

    The rows of a small table are counted. For a large table the rows are the server's estimate, and
    the oldest and newest times are the bounds of its outermost chunks.
    """
    return store_sizes(
        cursor, [_table_size(cursor, capabilities, table) for table in FACT_TABLE_NAMES]
    )


def _table_size(cursor: Cursor, capabilities: Capabilities, table: str) -> TableSize:
    size_bytes = _fetch_value(cursor, capabilities, _SIZE, table)
    is_counted = size_bytes <= _COUNTED_BYTES
    chunks = chunks_of(cursor, table)
    if is_counted:
        cursor.execute(sql.SQL(_COUNT).format(sql.Identifier(table)))
        [(rows, oldest, newest)] = cursor.fetchall()
    else:
        rows = _fetch_value(cursor, capabilities, _ESTIMATE, table)
        oldest, newest = chunks[0].begin, chunks[-1].end - timedelta(microseconds=1)
    return TableSize(
        table=table,
        rows=rows,
        rows_are_exact=is_counted,
        size_bytes=size_bytes,
        oldest_unix_nano=None if oldest is None else to_nanos(oldest),
        newest_unix_nano=None if newest is None else to_nanos(newest),
        times_are_exact=is_counted,
        partitions=len(chunks),
        compressed_partitions=(
            sum(chunk.is_compressed for chunk in chunks) if capabilities.is_community else None
        ),
        compression_ratio=_compression_ratio(cursor, capabilities, table, chunks),
    )


def _compression_ratio(
    cursor: Cursor, capabilities: Capabilities, table: str, chunks: list[Chunk]
) -> float | None:
    if not any(chunk.is_compressed for chunk in chunks):
        return None
    # The statistics omit chunks that COPY compressed directly, because no uncompressed size is
    # recorded for them.
    ratio = _fetch_value(cursor, capabilities, _COMPRESSION_RATIO, table)
    return None if ratio is None else float(ratio)


def _fetch_value(cursor: Cursor, capabilities: Capabilities, statement: str, table: str) -> Any:
    newer = capabilities.has_columnstore_names
    statistics = "hypertable_columnstore_stats" if newer else "hypertable_compression_stats"
    cursor.execute(
        sql.SQL(statement).format(
            table=sql.Literal(table),
            approximate_row_count=capabilities.function("approximate_row_count"),
            hypertable_size=capabilities.function("hypertable_size"),
            statistics=capabilities.function(statistics),
        )
    )
    [(value,)] = cursor.fetchall()
    return value
