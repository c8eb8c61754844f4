"""Stores one batch inside an open transaction, for the backends `sqlite` and `memory`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter
from typing import Final

from exporter.backends.costs import write_derived_costs
from exporter.backends.series_collisions import identity_of, latest_by_id, record_collision
from exporter.backends.sqlite.costs import SQLiteCostTables, entry_rows
from exporter.backends.sqlite.rows import (
    Rows,
    exemplar_rows,
    flattened,
    insert_rows,
    point_rows,
)
from exporter.backends.sqlite.watermarks_and_dead_letters import (
    advance_watermark,
    insert_dead_letters,
)
from exporter.backends.statements import load_statements
from exporter.model import NO_COST_COUNTS, Batch, CostCounts, Series
from exporter.tables import SERIES

_series_values: Final = attrgetter(*SERIES.names)
_INCOMING_SERIES: Final = replace(SERIES, name="incoming_series")
# The values of all series of a step are one list, 15 values a series: 100,000 series in one step
# would take 20 MiB.
_SERIES_PER_STEP: Final = 4_096


@dataclass(frozen=True, slots=True)
class WrittenBatch:
    """What `write_batch` did.

    Attributes:
        data: rows of points, histograms and summaries, one for each series, microsecond and start,
            and rows of complete cost entries, one for each id and microsecond.
        refused: how many data points were left out because their series id collides.
        rows_added: rows added to all fact tables, without replaced rows.
        series_added: by how many rows metric_series grew.
        already_stored: whether the watermark was stored before, so that nothing was written.
        cost_counts: of the cost samples.
    """

    data: Sequence[Rows]
    refused: int
    rows_added: int
    series_added: int
    already_stored: bool = False
    cost_counts: CostCounts = NO_COST_COUNTS

    @property
    def stored(self) -> int:
        """Data points and complete cost entries of the batch; those that share a key count once."""
        return sum(map(len, self.data))


def write_batch(connection: sqlite3.Connection, batch: Batch, refused: set[int]) -> WrittenBatch:
    """Store a batch and its watermark in the caller's transaction, unless the watermark is stored.

    Args:
        connection: where a transaction is open.
        batch: what to store.
        refused: ids of series whose points are left out; collisions found now are added.

    Raises:
        sqlite3.Error: of a statement; the caller rolls back.
        RowRefusedError: the amount of a cost cannot be kept.
        OverflowError: a count does not fit 64 bits with sign.
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    is_new = advance_watermark(connection, batch.watermark)
    series_added = _register_series(connection, batch.new_series, refused) if is_new else 0
    kept = batch.without(refused)
    data = [*point_rows(kept), *entry_rows(kept.costs)]
    rows_added, cost_counts = 0, NO_COST_COUNTS
    if is_new:
        rows_added = sum(insert_rows(connection, rows) for rows in (*data, exemplar_rows(kept)))
        cost_tables = SQLiteCostTables(connection)
        cost_counts = write_derived_costs(cost_tables, kept.cost_streams, kept.cost_samples)
        rows_added += cost_tables.rows_added
        insert_dead_letters(connection, batch.dead_letters)
    return WrittenBatch(
        data=data,
        refused=batch.entries - kept.entries,
        rows_added=rows_added,
        series_added=series_added,
        already_stored=not is_new,
        cost_counts=cost_counts,
    )


def _register_series(
    connection: sqlite3.Connection, definitions: Iterable[Series], refused: set[int]
) -> int:
    """Store definitions; returns how many series are new.

    A stored definition stays, but its description and schema URLs take the newer text.

    Args:
        connection: where a transaction is open.
        definitions: an id may occur several times; the last description is stored.
        refused: ids that two different series share; collisions found now are added, and logged.
    """
    latest = latest_by_id(definitions, refused)
    if not latest:
        return 0
    sql = load_statements("sqlite/series.sql")
    connection.execute(sql["create_incoming"])
    connection.execute(sql["clear_incoming"])
    remaining = map(_series_values, latest.values())
    while step := list(islice(remaining, _SERIES_PER_STEP)):
        insert_rows(connection, Rows(_INCOMING_SERIES, flattened(step)))
    for series_id, *stored in connection.execute(sql["collisions"]).fetchall():
        record_collision(series_id, stored, identity_of(latest[series_id]), refused)
        connection.execute(sql["drop_collision"], (series_id,))
    (new,) = connection.execute(sql["count_new"]).fetchone()
    connection.execute(sql["store"])
    return int(new)
