"""Copies page after page from one backend into another, each in one transaction with a watermark.

The watermark of a table is the time, in microseconds, up to which it is copied. So an interrupted
copy continues where it stopped, a second copy copies what is new at the end, and a page whose
commit is in doubt is not stored twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from exporter import tables
from exporter.backends.base import Backend
from exporter.backends.refused_rows import isolate_refused_rows
from exporter.errors import RowRefusedError
from exporter.model import Batch, Series, Watermark
from exporter.query.times import TimeRange
from exporter.transfer.pages import Page, read_series, stream_pages, table_pages
from exporter.transfer.row_decoders import COPIED_TABLES, CopiedTable, Row

Item = TypeVar("Item")

ALL_TIMES: Final = TimeRange(None, None)

PAGE_ROWS: Final = 50_000
"""Rows that are read at once and stored in one transaction."""

# Series whose definition the target has. Above this number they are forgotten and sent again,
# which changes nothing.
_MAX_SENT_SERIES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """What has been copied so far of one table.

    Attributes:
        table: its name.
        rows: rows copied in this run.
        dead: of these, the rows that the target refused for their content; it stores them as
            dead letters.
        last_micros: the time up to which the table is copied, in microseconds since 1970.
    """

    table: str
    rows: int
    dead: int
    last_micros: int


def copy(
    source: Backend,
    target: Backend,
    time_range: TimeRange = ALL_TIMES,
    *,
    report: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Progress]:
    """Copy every table; yields the result of each.

    A receiver that then writes to the target computes the costs that it would have computed at the
    source, because the cost streams are copied too.

    Args:
        source: open, for reading at least.
        target: open for writing.
        time_range: which rows.
        report: called after each page.

    Raises:
        BackendUnavailableError, BackendRefusedError: copy again to continue where it stopped.
    """
    sent: set[int] = set()
    for table in COPIED_TABLES:
        yield _copy_table(source, target, table, time_range, sent=sent, report=report)
    yield _copy_streams(source, target, time_range, report=report)


def _copy_table(
    source: Backend,
    target: Backend,
    table: CopiedTable,
    time_range: TimeRange,
    *,
    sent: set[int],
    report: Callable[[Progress], None],
) -> Progress:
    writer_id = copy_writer_id(source.dialect.name, source.location, table.name, time_range)
    progress = Progress(table.name, 0, 0, target.last_sequence(writer_id))
    batches = _batches(source, table, time_range, after=progress.last_micros, sent=sent)
    # Reading a SQLite file takes 1.3 us a row and PostgreSQL's COPY 1.6, on another core and
    # without the interpreter's lock. One after the other they had half of the speed of a bare COPY.
    with prefetch(batches) as prefetched:
        for batch, rows, last_micros in prefetched:
            dead = write_batch(target, replace(batch, watermark=Watermark(writer_id, last_micros)))
            progress = Progress(table.name, progress.rows + rows, progress.dead + dead, last_micros)
            report(progress)
    return progress


def _batches(
    source: Backend, table: CopiedTable, time_range: TimeRange, *, after: int, sent: set[int]
) -> Iterator[tuple[Batch, int, int]]:
    """The batch of each page, its number of rows, and the time of its last row."""
    for page in table_pages(source, table, time_range, after=after, rows=PAGE_ROWS):
        batch = replace(table.to_batch(page.rows), new_series=_definitions(source, page, sent))
        yield batch, len(page.rows), page.last_micros


def _definitions(source: Backend, page: Page[Row], sent: set[int]) -> tuple[Series, ...]:
    if len(sent) > _MAX_SENT_SERIES:
        sent.clear()
    # A cost entry that was sent complete has no series.
    new = {row[1] for row in page.rows} - sent - {None}
    definitions = tuple(read_series(source, sorted(new)))
    sent |= new
    return definitions


def _copy_streams(
    source: Backend,
    target: Backend,
    time_range: TimeRange,
    *,
    report: Callable[[Progress], None],
) -> Progress:
    # After all entries, so that no entry is newer than the last point of its stream. Merging a
    # stream twice changes nothing, so streams need no watermark.
    progress = Progress(tables.COST_STREAMS.name, 0, 0, 0)
    for page in stream_pages(source, time_range, rows=PAGE_ROWS):
        target.write(Batch(cost_streams=page))
        progress = replace(progress, rows=progress.rows + len(page))
        report(progress)
    return progress


def copy_writer_id(kind: str, location: str, table: str, time_range: TimeRange) -> str:
    """The writer id whose watermark says up to which time a table of a source is copied.

    Each period has its own writer id, because the watermark of one period does not say what another
    copied.
    """
    source = f"{kind} {location} {time_range.start_micros or 0}"
    digest = hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
    return f"copy {digest} {table}"


def write_batch(target: Backend, batch: Batch) -> int:
    """Write a batch; rows that the target refuses become dead letters.

    Returns:
        The number of refused rows.

    Raises:
        BackendUnavailableError, BackendRefusedError: no row is known to be stored.
    """
    try:
        target.write(batch)
    except RowRefusedError:
        good, dead = isolate_refused_rows(batch, target.dry_run)
        target.write(replace(good, dead_letters=tuple(dead)))
        return len(dead)
    return 0


@contextmanager
def prefetch(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The same items in the same order; a thread makes the next while the caller uses one.

    An error that `items` raises is raised in the place of its item. At the end of the block the
    thread has ended and a prefetched item is discarded.

    Args:
        items: only the thread uses it within the block.
    """
    with ThreadPoolExecutor(1, "prefetch") as thread:
        yield _prefetched(thread, items)


def _prefetched(thread: ThreadPoolExecutor, items: Iterator[Item]) -> Iterator[Item]:
    # One item ahead: two pages are in memory, and each side waits only for the other.
    upcoming: Future[Item | None] = thread.submit(next, items, None)
    while (item := upcoming.result()) is not None:
        upcoming = thread.submit(next, items, None)
        yield item
