"""What openfinops 0.3.0 has stored itself, copied into a backend of ours and proven.

A record goes the way that it would have gone if it had been handed to `exporter.openfinops`: as an
OTLP request, decoded, without limits of age. Each page is stored with a watermark, as
`exporter.transfer` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from exporter.backends.base import Backend
from exporter.costs.events import decode_cost_events
from exporter.errors import RecordRefusedError
from exporter.intern import SeriesCache
from exporter.model import Batch, Points, Watermark
from exporter.openfinops.v030_store import Row, V030Store
from exporter.openfinops.v030_tables import V030Table
from exporter.query.filters import Filters, TimeRange, series_condition
from exporter.query.point_sql import series_id_in_subquery
from exporter.query.sql import Sql, sql
from exporter.transfer.checking import Difference, add, compared, days
from exporter.transfer.copying import ALL_TIMES, Progress, copy_writer_id, store
from exporter.transfer.pages import Page
from exporter.transfer.tables import TABLES
from exporter.wire import Decoded, decode

__all__ = ["Refuse", "import_records", "verify"]

Refuse = Callable[[str, int, str], None]
"""Told of a row that cannot be taken: its table, its id, and why."""

# Of about fifteen rows of ours each, counting the numbers of a record.
_PAGE_ROWS: Final = 5_000
_OURS: Final = {table.name: table for table in TABLES}


def import_records(
    source: V030Store,
    target: Backend,
    wanted: TimeRange = ALL_TIMES,
    *,
    report: Callable[[Progress], None] = lambda _: None,
    refuse: Refuse = lambda *_: None,
) -> Iterator[Progress]:
    """Copy every table; gives the outcome of each.

    Args:
        source: what to read.
        target: open for writing.
        wanted: which records.
        report: told after each page.
        refuse: told of each row that is left out.

    Raises:
        BackendUnavailableError, BackendRefusedError: copy again to go on where it stopped.
    """
    series = SeriesCache()
    for table in source.tables:
        for row_id, timestamp in source.without_time(table):
            refuse(
                table.name,
                row_id,
                f"its timestamp {timestamp!r} is no number of seconds from 1970 to 2262",
            )
        watermark = copy_writer_id("openfinops", source.location, table.name, wanted)
        progress = Progress(table.name, 0, 0, target.last_sequence(watermark))
        for page in source.pages(table, wanted, after=progress.last_micro, rows=_PAGE_ROWS):
            batch, taken = _batch(table, page, series, refuse)
            dead = store(target, replace(batch, watermark=Watermark(watermark, page.last_micro)))
            progress = Progress(
                table.name, progress.rows + taken, progress.dead + dead, page.last_micro
            )
            report(progress)
        yield progress


def _batch(
    table: V030Table, page: Page[Row], series: SeriesCache, refuse: Refuse
) -> tuple[Batch, int]:
    """What a page becomes, and how many of its rows are in that."""
    requests: list[tuple[Row, bytes]] = []
    for row in page.rows:
        try:
            requests.append((row, table.request(table.record(row.values))))
        except RecordRefusedError as error:
            refuse(table.name, row.id, str(error))
    # Requests after each other are one request.
    decoded = _decoded(table, b"".join(request for _, request in requests), series)
    if decoded.rejections.total:
        requests = list(_acceptable(table, requests, refuse))
        again = _decoded(table, b"".join(request for _, request in requests), series)
        # Definitions are handed out once, and some came with the first attempt.
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
    """The days on which the target has not what the source's records become, table by table.

    The source is read once more; what `import_records` refuses is left out.
    """
    for table in source.tables:
        series = SeriesCache()
        numbers: dict[int, tuple[int, float]] = {}
        records: dict[int, tuple[int, float]] = {}
        progress = Progress(table.name, 0, 0, 0)
        for page in source.pages(table, wanted, rows=_PAGE_ROWS):
            batch, taken = _batch(table, page, series, lambda *_: None)
            for time_unix_nano, number in _of_points(batch.points):
                add(numbers, time_unix_nano, number)
            for _, time_unix_nano in _record_keys(batch):
                add(records, time_unix_nano, 1.0)
            for cost in batch.costs:
                add(records, cost.time_unix_nano, float(cost.amount))
            progress = Progress(table.name, progress.rows + taken, 0, page.last_micro)
            report(progress)
        if table.metrics:
            chosen = _of_metrics(table, target)
            found = days(target, _OURS["system_metrics"], wanted, chosen)
            yield from compared(f"numbers of {table.name}", numbers, found)
            found = days(target, _OURS["metric_exemplars"], wanted, chosen)
            yield from compared(table.name, records, found)
        else:
            found = days(target, _OURS["cost_entries"], wanted, sql("m.source = 'log'"))
            yield from compared(table.name, records, found)


def _of_metrics(table: V030Table, target: Backend) -> Sql:
    condition = series_condition(Filters(f"{table.metrics}*"), target.dialect)
    if condition is None:
        raise AssertionError("a name chooses series")
    return series_id_in_subquery(condition)


def _of_points(points: Points) -> Iterator[tuple[int, float]]:
    # As `days` counts them: one of each series and time, the greatest, and NaN adds nothing.
    value = np.where(np.isnan(points.value), -np.inf, points.value)
    order = np.lexsort((value, points.time_unix_nano, points.series_id))
    kept = points.take(order)
    is_last = np.ones(len(kept), np.bool_)
    is_last[:-1] = (np.diff(kept.series_id) != 0) | (np.diff(kept.time_unix_nano) != 0)
    numbers = np.where(np.isnan(kept.value), 0.0, kept.value)
    return zip(kept.time_unix_nano[is_last].tolist(), numbers[is_last].tolist(), strict=True)


def _record_keys(batch: Batch) -> set[tuple[int, int]]:
    return {(one.series_id, one.time_unix_nano) for one in batch.exemplars}
