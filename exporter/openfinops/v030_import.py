"""Imports the tables of openfinops 0.3.0 into a backend, and verifies the result.

A record is encoded as an OTLP request and decoded, like a record that a program stores through
`exporter.openfinops`, but without age limits. Every page is written with a watermark, as in
`exporter.transfer`, so that an interrupted import continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from exporter.backends.base import Backend
from exporter.costs.events import decode_cost_events
from exporter.errors import RecordRefusedError
from exporter.model import Batch, Points, Watermark
from exporter.openfinops.v030_store import Row, V030Store
from exporter.openfinops.v030_tables import V030Table
from exporter.query.filters import SeriesFilters, series_condition, series_id_in_subquery
from exporter.query.sql_builder import Sql, sql
from exporter.query.times import TimeRange
from exporter.series_cache import SeriesCache
from exporter.transfer.comparison import (
    Difference,
    add_to_day,
    compare_days,
    daily_sums,
)
from exporter.transfer.copier import ALL_TIMES, Progress, copy_writer_id, write_batch
from exporter.transfer.pages import Page
from exporter.transfer.row_decoders import COPIED_TABLES
from exporter.wire import Decoded, decode

Refuse = Callable[[str, int, str], None]
"""Called for every row that cannot be imported: its table, its id, and the reason."""

# A row becomes about 15 rows, one for each number of the record.
_PAGE_ROWS: Final = 5_000
_TABLES_BY_NAME: Final = {table.name: table for table in COPIED_TABLES}


def import_records(
    source: V030Store,
    target: Backend,
    wanted: TimeRange = ALL_TIMES,
    *,
    report: Callable[[Progress], None] = lambda _: None,
    refuse: Refuse = lambda *_: None,
) -> Iterator[Progress]:
    """Import every table; yields the result of each.

    Args:
        source: the database to read.
        target: open for writing.
        wanted: the time range to import.
        report: called after each page.
        refuse: called for each row that is skipped.

    Raises:
        BackendUnavailableError, BackendRefusedError: run it again to continue where it stopped.
    """
    series = SeriesCache()
    for table in source.tables:
        for row_id, timestamp in source.rows_with_invalid_time(table):
            refuse(
                table.name,
                row_id,
                f"its timestamp {timestamp!r} is not a number of seconds from 1970 to 2262",
            )
        writer_id = copy_writer_id("openfinops", source.location, table.name, wanted)
        progress = Progress(table.name, 0, 0, target.last_sequence(writer_id))
        for page in source.pages(table, wanted, after=progress.last_micros, rows=_PAGE_ROWS):
            batch, taken = _batch(table, page, series, refuse)
            dead = write_batch(
                target, replace(batch, watermark=Watermark(writer_id, page.last_micros))
            )
            progress = Progress(
                table.name, progress.rows + taken, progress.dead + dead, page.last_micros
            )
            report(progress)
        yield progress


def _batch(
    table: V030Table, page: Page[Row], series: SeriesCache, refuse: Refuse
) -> tuple[Batch, int]:
    """The rows of a page as a batch, and how many rows were accepted."""
    requests: list[tuple[Row, bytes]] = []
    for row in page.rows:
        try:
            requests.append((row, table.request(table.record(row.values))))
        except RecordRefusedError as error:
            refuse(table.name, row.id, str(error))
    # Concatenated protobuf messages are one merged message.
    decoded = _decoded(table, b"".join(request for _, request in requests), series)
    if decoded.rejections.total:
        requests = list(_acceptable(table, requests, refuse))
        again = _decoded(table, b"".join(request for _, request in requests), series)
        # The cache returns each definition once, and the first attempt received some of them.
        defined = (*decoded.batch.new_series, *again.batch.new_series)
        decoded = replace(again, batch=replace(again.batch, new_series=defined))
    return decoded.batch, len(requests)


def _acceptable(
    table: V030Table, requests: list[tuple[Row, bytes]], refuse: Refuse
) -> Iterator[tuple[Row, bytes]]:
    for row, request in requests:
        rejections = _decoded(table, request, SeriesCache()).rejections
        if rejections.total:
            refuse(table.name, row.id, rejections.message())
        else:
            yield row, request


def _decoded(table: V030Table, request: bytes, series: SeriesCache) -> Decoded:
    if table.metrics:
        return decode(request, series)
    return decode_cost_events(request)


def verify(
    source: V030Store,
    target: Backend,
    wanted: TimeRange = ALL_TIMES,
    *,
    report: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Difference]:
    """The days on which the target differs from the records of the source, table by table.

    It reads the source again and skips the rows that `import_records` skips.
    """
    for table in source.tables:
        series = SeriesCache()
        numbers: dict[int, tuple[int, float]] = {}
        records: dict[int, tuple[int, float]] = {}
        progress = Progress(table.name, 0, 0, 0)
        for page in source.pages(table, wanted, rows=_PAGE_ROWS):
            batch, taken = _batch(table, page, series, lambda *_: None)
            for time_unix_nano, number in _of_points(batch.points):
                add_to_day(numbers, time_unix_nano, number)
            for _, time_unix_nano in _record_keys(batch):
                add_to_day(records, time_unix_nano, 1.0)
            for cost in batch.costs:
                add_to_day(records, cost.time_unix_nano, float(cost.amount))
            progress = Progress(table.name, progress.rows + taken, 0, page.last_micros)
            report(progress)
        if table.metrics:
            chosen = _of_metrics(table, target)
            found = daily_sums(target, _TABLES_BY_NAME["system_metrics"], wanted, chosen)
            yield from compare_days(f"numbers of {table.name}", numbers, found)
            found = daily_sums(target, _TABLES_BY_NAME["metric_exemplars"], wanted, chosen)
            yield from compare_days(table.name, records, found)
        else:
            found = daily_sums(
                target, _TABLES_BY_NAME["cost_entries"], wanted, sql("m.source = 'log'")
            )
            yield from compare_days(table.name, records, found)


def _of_metrics(table: V030Table, target: Backend) -> Sql:
    condition = series_condition(SeriesFilters(f"{table.metrics}*"), target.dialect)
    if condition is None:
        raise AssertionError("a filter by name always has a condition")
    return series_id_in_subquery(condition)


def _of_points(points: Points) -> Iterator[tuple[int, float]]:
    # As in `daily_sums`: of several points of one series and time the largest counts; NaN adds 0.
    value = np.where(np.isnan(points.value), -np.inf, points.value)
    order = np.lexsort((value, points.time_unix_nano, points.series_id))
    kept = points.take(order)
    is_last = np.ones(len(kept), np.bool_)
    is_last[:-1] = (np.diff(kept.series_id) != 0) | (np.diff(kept.time_unix_nano) != 0)
    numbers = np.where(np.isnan(kept.value), 0.0, kept.value)
    return zip(kept.time_unix_nano[is_last].tolist(), numbers[is_last].tolist(), strict=True)


def _record_keys(batch: Batch) -> set[tuple[int, int]]:
    return {(one.series_id, one.time_unix_nano) for one in batch.exemplars}
