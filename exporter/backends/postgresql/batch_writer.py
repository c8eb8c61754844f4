"""Writes one batch inside a transaction: its watermark, series, rows, costs and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from exporter.backends.costs import write_derived_costs
from exporter.backends.postgresql.binary_copy import binary_copy_streams
from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.costs import PostgreSQLCostTables
from exporter.backends.postgresql.dead_letters import insert_dead_letters
from exporter.backends.postgresql.ledger import advance
from exporter.backends.postgresql.series import register_series
from exporter.backends.postgresql.text_copy import days_of, text_copy_stream
from exporter.backends.postgresql.text_sanitizer import TextSanitizer
from exporter.model import Batch

__all__ = ["days_by_table", "write_batch"]

_COPY_BUFFER_BYTES: Final = 1 << 18

_COPY_POINTS: Final = """
    COPY system_metrics ("timestamp", series_id, value, start_timestamp)
    FROM STDIN (FORMAT binary)"""
_COPY_HISTOGRAMS: Final = """
    COPY metric_histograms (
        "timestamp", series_id, start_timestamp, count, sum, min, max, bounds, bucket_counts, scale,
        zero_count, zero_threshold, positive_offset, positive_counts, negative_offset,
        negative_counts
    ) FROM STDIN"""
_COPY_SUMMARIES: Final = """
    COPY metric_summaries (
        "timestamp", series_id, start_timestamp, count, sum, quantiles, quantile_values
    ) FROM STDIN"""
_COPY_EXEMPLARS: Final = """
    COPY metric_exemplars ("timestamp", series_id, value, trace_id, span_id, attributes)
    FROM STDIN"""


CopyMode = Callable[[Cursor, int], AbstractContextManager[None]]


def write_batch(
    cursor: Cursor,
    batch: Batch,
    refused: set[int],
    sanitizer: TextSanitizer,
    *,
    copy_mode: CopyMode,
) -> bool:
    """Store a batch and its watermark in the caller's transaction, unless the watermark is there.

    Args:
        cursor: of a connection with a transaction open and nothing done in it.
        batch: what to store; there are partitions for all of its times.
        refused: ids that two different series share; those found now are added.
        sanitizer: cleans what is stored; new for each attempt.
        copy_mode: entered around each COPY of number points, with how many they are.

    Returns:
        Whether it was yet to be stored.
    """
    if not advance(cursor, batch.watermark):
        return False
    register_series(cursor, batch.new_series, refused, sanitizer)
    kept = batch.without(refused)
    _copy(cursor, kept, sanitizer, copy_mode)
    cost_tables = PostgreSQLCostTables(cursor, sanitizer)
    cost_tables.insert_entries(kept.costs)
    write_derived_costs(cost_tables, kept.cost_cursors, kept.cost_samples)
    insert_dead_letters(cursor, batch.dead, sanitizer)
    return True


def _copy(cursor: Cursor, batch: Batch, sanitizer: TextSanitizer, copy_mode: CopyMode) -> None:
    if len(batch.points):
        with copy_mode(cursor, len(batch.points)):
            for rows in binary_copy_streams(batch.points):
                cursor.copy_expert(_COPY_POINTS, rows, _COPY_BUFFER_BYTES)
    rarer: tuple[tuple[str, Sequence[Any]], ...] = (
        (_COPY_HISTOGRAMS, batch.histograms),
        (_COPY_SUMMARIES, batch.summaries),
        (_COPY_EXEMPLARS, batch.exemplars),
    )
    for statement, items in rarer:
        if items:
            cursor.copy_expert(statement, text_copy_stream(items, sanitizer), _COPY_BUFFER_BYTES)


def days_by_table(batch: Batch) -> Mapping[str, set[int]]:
    """Which days, counted from 1970, the batch has rows of, for each fact table."""
    return {
        "system_metrics": days_of(batch.points.time_unix_nano),
        "metric_histograms": days_of([item.time_unix_nano for item in batch.histograms]),
        "metric_summaries": days_of([item.time_unix_nano for item in batch.summaries]),
        "metric_exemplars": days_of([item.time_unix_nano for item in batch.exemplars]),
        "cost_entries": days_of([item.time_unix_nano for item in batch.costs])
        | days_of([item.time_unix_nano for item in batch.cost_samples]),
    }
