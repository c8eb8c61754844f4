"""What is done to cost entries before their partition or chunk is dropped."""

from __future__ import annotations

from typing import Final

from psycopg2 import sql

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.retention import EXPIRING_COSTS

_HAS_BILLS: Final = f"SELECT EXISTS (SELECT FROM {{rows}} WHERE NOT {EXPIRING_COSTS})"  # noqa: S608
# Whoever stores an entry of a series locks a row of this table first. So until the end of the
# transaction nobody else adds entries whose streams would stay open, and one lock cannot deadlock
# with the row locks of a writer.
_LOCK: Final = "LOCK TABLE cost_streams IN EXCLUSIVE MODE"
_CLOSE: Final = """
    INSERT INTO cost_streams AS stream (
        series_id, stream_start, earliest_start, latest_start,
        closed_timestamp, closed_start_timestamp, closed_value, closed_count
    )
    SELECT DISTINCT ON (series_id, stream_start)
        series_id, stream_start, nullif(stream_start, 'epoch'), nullif(stream_start, 'epoch'),
        period_end, start_timestamp, value, point_count
    FROM {rows} WHERE series_id IS NOT NULL
    ORDER BY series_id, stream_start, period_end DESC, start_timestamp DESC NULLS LAST
    ON CONFLICT (series_id, stream_start) DO UPDATE
    SET closed_timestamp = excluded.closed_timestamp,
        closed_start_timestamp = excluded.closed_start_timestamp,
        closed_value = excluded.closed_value,
        closed_count = excluded.closed_count
    WHERE stream.closed_timestamp IS NULL OR stream.closed_timestamp < excluded.closed_timestamp"""


def has_bills(cursor: Cursor, rows: sql.Identifier) -> bool:
    """Whether a partition or chunk of cost entries has imported bills, so that it stays."""
    cursor.execute(sql.SQL(_HAS_BILLS).format(rows=rows))
    return cursor.fetchone() == (True,)


def close_streams(cursor: Cursor, rows: sql.Identifier) -> None:
    """Make the newest points of a partition or chunk the closing points of their streams.

    Args:
        cursor: with the transaction open that drops the rows.
        rows: the partition or chunk.

    Raises:
        psycopg2.errors.LockNotAvailable: a writer took longer than `lock_timeout`.
    """
    cursor.execute(_LOCK)
    cursor.execute(sql.SQL(_CLOSE).format(rows=rows))
