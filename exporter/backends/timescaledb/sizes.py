"""How much a TimescaleDB store holds, table by table; only reads.

Rows of a small table are counted. Those of a large one are the server's own estimate, and its
oldest and newest times are the bounds of its outermost chunks.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.partitioning import FACT_TABLE_NAMES
from exporter.backends.timescaledb.capabilities import Capabilities
from exporter.backends.timescaledb.chunks import Chunk, chunks_of
from exporter.model import StoreSizes, TableSize

__all__ = ["read_sizes"]

# A million rows of the row store, five of the columnstore: counted in less than a second.
_SMALL_BYTES: Final = 64 << 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OTHERS: Final = """
    SELECT sum(pg_total_relation_size(to_regclass(name)))::bigint
    FROM unnest(ARRAY[
        'metric_series', 'cost_cursors', 'ingest_ledger', 'schema_migrations']) AS name"""
_COUNT: Final = 'SELECT count(*), min("timestamp"), max("timestamp") FROM {}'
# The first looks at compressed rows as well; the second also at a chunk that was not analyzed yet.
_ESTIMATE: Final = """
    SELECT coalesce(sum(greatest(
        {approximate_row_count}(chunk), pg_stat_get_live_tuples(chunk))), 0)::bigint
    FROM (
        SELECT format('%I.%I', chunk_schema, chunk_name)::regclass AS chunk
        FROM timescaledb_information.chunks
        WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = {table}::regclass
    ) AS chunks"""
_SIZE: Final = "SELECT {hypertable_size}({table}::regclass)"
_COMPRESSION: Final = """
    SELECT before_compression_total_bytes::double precision
        / nullif(after_compression_total_bytes, 0)
    FROM {statistics}({table}::regclass)"""


def read_sizes(cursor: Cursor, capabilities: Capabilities) -> StoreSizes:
    """The sizes as of one moment; continuous aggregates are not among them."""
    tables = tuple(_table_size(cursor, capabilities, table) for table in FACT_TABLE_NAMES)
    series = _one(cursor, sql.SQL("SELECT count(*) FROM metric_series"))
    others = _one(cursor, sql.SQL(_OTHERS))
    return StoreSizes(
        tables=tables,
        series=series,
        total_bytes=others + sum(table.size_bytes or 0 for table in tables),
    )


def _table_size(cursor: Cursor, capabilities: Capabilities, table: str) -> TableSize:
    size_bytes = _ask(cursor, capabilities, _SIZE, table)
    chunks = chunks_of(cursor, table)
    rows, oldest, newest = _extent(cursor, capabilities, table, chunks, size_bytes)
    return TableSize(
        table=table,
        rows=rows,
        rows_are_exact=size_bytes <= _SMALL_BYTES,
        size_bytes=size_bytes,
        oldest_unix_nano=oldest,
        newest_unix_nano=newest,
        times_are_exact=size_bytes <= _SMALL_BYTES,
        partitions=len(chunks),
        compressed_partitions=(
            sum(chunk.is_compressed for chunk in chunks) if capabilities.is_community else None
        ),
        compression_ratio=_compression_ratio(cursor, capabilities, table, chunks),
    )


def _extent(
    cursor: Cursor, capabilities: Capabilities, table: str, chunks: list[Chunk], size_bytes: int
) -> tuple[int, int | None, int | None]:
    """Rows, and the oldest and newest time."""
    if size_bytes <= _SMALL_BYTES:
        cursor.execute(sql.SQL(_COUNT).format(sql.Identifier(table)))
        [(rows, oldest, newest)] = cursor.fetchall()
        return rows, _unix_nano(oldest), _unix_nano(newest)
    rows = _ask(cursor, capabilities, _ESTIMATE, table)
    end = chunks[-1].end - timedelta(microseconds=1)
    return rows, _unix_nano(chunks[0].begin), _unix_nano(end)


def _compression_ratio(
    cursor: Cursor, capabilities: Capabilities, table: str, chunks: list[Chunk]
) -> float | None:
    if not any(chunk.is_compressed for chunk in chunks):
        return None
    # Chunks that COPY compressed directly have no size before, and are not in the statistics.
    ratio = _ask(cursor, capabilities, _COMPRESSION, table)
    return None if ratio is None else float(ratio)


def _ask(cursor: Cursor, capabilities: Capabilities, question: str, table: str) -> Any:
    newer = capabilities.has_columnstore_names
    statistics = "hypertable_columnstore_stats" if newer else "hypertable_compression_stats"
    return _one(
        cursor,
        sql.SQL(question).format(
            table=sql.Literal(table),
            approximate_row_count=capabilities.name("approximate_row_count"),
            hypertable_size=capabilities.name("hypertable_size"),
            statistics=capabilities.name(statistics),
        ),
    )


def _one(cursor: Cursor, question: sql.Composable) -> Any:
    cursor.execute(question)
    [(answer,)] = cursor.fetchall()
    return answer


def _unix_nano(moment: datetime | None) -> int | None:
    # Not by timestamp(), which is a float and loses microseconds.
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
