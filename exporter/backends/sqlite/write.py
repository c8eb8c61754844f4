"""Stores one batch inside an open transaction: the part that SQLite on disk and in memory share."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.backends.costs import write_derived_costs
from exporter.backends.sqlite.costs import SQLiteCostTables, entry_rows
from exporter.backends.sqlite.dead_letters import insert_dead_letters
from exporter.backends.sqlite.insert import insert_rows
from exporter.backends.sqlite.ledger import advance
from exporter.backends.sqlite.rows import Rows, rows_of
from exporter.backends.sqlite.series import register_series
from exporter.model import Batch

__all__ = ["Written", "write_batch"]


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch came to.

    Attributes:
        data: its rows of points, histograms and summaries, one for each series and microsecond,
            and of complete cost entries, one for each id and microsecond.
        refused: data points left out for a series id collision.
        rows_added: by how many rows all fact tables together grew; replaced rows add nothing.
        series_added: by how many rows metric_series grew.
        already_stored: whether the batch's watermark was there, so that nothing was done.
    """

    data: Sequence[Rows]
    refused: int
    rows_added: int
    series_added: int
    already_stored: bool = False

    @property
    def stored(self) -> int:
        """Data points and complete cost entries of the batch; those that share a key count once."""
        return sum(map(len, self.data))


def write_batch(connection: sqlite3.Connection, batch: Batch, refused: set[int]) -> Written:
    """Store a batch and its watermark in the caller's transaction, unless the watermark is there.

    Args:
        connection: where a transaction is open.
        batch: what is to be stored.
        refused: ids of series whose points are left out; ids found to collide are added.

    Raises:
        sqlite3.Error: as it came; the caller rolls back.
        RowRefusedError: the amount of a cost cannot be kept.
        OverflowError: a count does not fit 64 bits with sign.
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    if not advance(connection, batch.watermark):
        data, _, left_out = rows_of(batch, refused)
        data += entry_rows(batch.costs)
        return Written(data, left_out, rows_added=0, series_added=0, already_stored=True)
    series_added = register_series(connection, batch.new_series, refused)
    data, exemplars, left_out = rows_of(batch, refused)
    data += entry_rows(batch.costs)
    rows_added = sum(insert_rows(connection, rows) for rows in (*data, exemplars))
    cost_tables = SQLiteCostTables(connection)
    write_derived_costs(cost_tables, batch.cost_cursors, batch.without(refused).cost_samples)
    insert_dead_letters(connection, batch.dead_letters)
    return Written(data, left_out, rows_added + cost_tables.rows_added, series_added)
