"""Writes one batch inside a transaction: its watermark, series, rows, costs and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np

from exporter.backends.costs import write_derived_costs
from exporter.backends.postgresql.binary_copy import binary_copy_streams
from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.costs import PostgreSQLCostTables
from exporter.backends.postgresql.series import register_series
from exporter.backends.postgresql.sql_fragments import column_list
from exporter.backends.postgresql.text_format import TextSanitizer, text_copy_stream
from exporter.backends.postgresql.watermarks_and_dead_letters import (
    advance_watermark,
    insert_dead_letters,
)
from exporter.model import Batch, CostCounts, Int64Array
from exporter.tables import EXEMPLARS, HISTOGRAMS, POINTS, SUMMARIES, Table
from exporter.time_units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_MICROSECOND

_COPY_BUFFER_BYTES: Final = 1 << 18

_CopyMode = Callable[[Cursor, int], AbstractContextManager[None]]


def _copy_statement(table: Table, options: str = "") -> str:
    return f"COPY {table.name} ({column_list(table)}) FROM STDIN {options}"


_COPY_POINTS: Final = _copy_statement(POINTS, "(FORMAT binary)")
_COPY_HISTOGRAMS: Final = _copy_statement(HISTOGRAMS)
_COPY_SUMMARIES: Final = _copy_statement(SUMMARIES)
_COPY_EXEMPLARS: Final = _copy_statement(EXEMPLARS)


def write_batch(
    cursor: Cursor,
    batch: Batch,
    refused: set[int],
    sanitizer: TextSanitizer,
    *,
    copy_mode: _CopyMode,
) -> CostCounts | None:
    """Store a batch and its watermark inside the caller's transaction, unless it is stored already.

    Args:
        cursor: a cursor in an open transaction in which no statement has run yet.
        batch: the rows; there are partitions for all of their times.
        refused: ids that two different series share; those found now are added.
        sanitizer: cleans the texts; a new one for each attempt.
        copy_mode: called with the number of points; the returned context surrounds their COPY.

    Returns:
        None if the batch was stored before.
    """
    if not advance_watermark(cursor, batch.watermark):
        return None
    register_series(cursor, batch.new_series, refused, sanitizer)
    kept = batch.without(refused)
    _copy(cursor, kept, sanitizer, copy_mode)
    cost_tables = PostgreSQLCostTables(cursor, sanitizer)
    # cost_streams is locked before cost_entries, as retention does.
    cost_counts = write_derived_costs(cost_tables, kept.cost_streams, kept.cost_samples)
    cost_tables.insert_entries(kept.costs)
    insert_dead_letters(cursor, batch.dead_letters, sanitizer)
    return cost_counts


def _copy(cursor: Cursor, batch: Batch, sanitizer: TextSanitizer, copy_mode: _CopyMode) -> None:
    if len(batch.points):
        with copy_mode(cursor, len(batch.points)):
            for stream in binary_copy_streams(batch.points):
                cursor.copy_expert(_COPY_POINTS, stream, _COPY_BUFFER_BYTES)
    other_kinds: tuple[tuple[str, Sequence[Any]], ...] = (
        (_COPY_HISTOGRAMS, batch.histograms),
        (_COPY_SUMMARIES, batch.summaries),
        (_COPY_EXEMPLARS, batch.exemplars),
    )
    for statement, items in other_kinds:
        if items:
            rows = text_copy_stream(items, sanitizer)
            cursor.copy_expert(statement, rows, _COPY_BUFFER_BYTES)


def days_by_table(batch: Batch) -> Mapping[str, set[int]]:
    """The days, since 1970, for which the batch has rows, for each fact table."""
    sample_times = np.array([item.time_unix_nano for item in batch.cost_samples], np.int64)
    return {
        "system_metrics": days_of(batch.points.time_unix_nano),
        "metric_histograms": days_of([item.time_unix_nano for item in batch.histograms]),
        "metric_summaries": days_of([item.time_unix_nano for item in batch.summaries]),
        "metric_exemplars": days_of([item.time_unix_nano for item in batch.exemplars]),
        "cost_entries": days_of([item.time_unix_nano for item in batch.costs])
        | days_of(sample_times)
        # The entry of a period that ends at midnight is in the day before.
        | days_of(sample_times - NANOSECONDS_PER_MICROSECOND),
    }


def days_of(times_unix_nano: Int64Array | list[int]) -> set[int]:
    """The days, since 1970, of these times."""
    days = np.asarray(times_unix_nano, np.int64) // NANOSECONDS_PER_DAY
    # A batch rarely has two days; without this test, sorting took 17 ns a row.
    if len(days) and days.min() == days.max():
        return {int(days[0])}
    return set(np.unique(days).tolist())
