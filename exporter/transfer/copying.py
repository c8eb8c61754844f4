"""Page after page from one backend into another, each in one transaction with a watermark.

The watermark of a table is the time that its copy has come to, in microseconds: so a copy that was
interrupted goes on where it was, a second copy finds what is new at the end, and a page whose
commit is in doubt is not stored twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from exporter.backends.base import Backend
from exporter.backends.refused_rows import isolate_refused_rows
from exporter.errors import RowRefusedError
from exporter.model import Batch, Series, Watermark
from exporter.query.filters import TimeRange
from exporter.transfer.ahead import prefetch
from exporter.transfer.cursors import CURSORS, cursor_pages
from exporter.transfer.pages import Page, pages, series_with_ids
from exporter.transfer.tables import TABLES, Row, Table

__all__ = ["ALL_TIMES", "PAGE_ROWS", "Progress", "copy", "copy_writer_id", "store"]

ALL_TIMES: Final = TimeRange(None, None)

PAGE_ROWS: Final = 50_000
"""Rows that are read at once and stored in one transaction."""

# Definitions that are known to be there; beyond it they are sent again, which is harmless.
_MOST_KNOWN: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """What has been copied so far of one table.

    Attributes:
        table: its name.
        rows: copied in this run.
        dead: of these, refused by the target for their content, and among its dead letters.
        last_micro: the time that the copy has come to.
    """

    table: str
    rows: int
    dead: int
    last_micro: int


def copy(
    source: Backend,
    target: Backend,
    wanted: TimeRange = ALL_TIMES,
    *,
    report: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Progress]:
    """Copy every table; gives the outcome of each.

    Args:
        source: open, for reading at least.
        target: open for writing.
        wanted: which rows.
        report: told after each page.

    Raises:
        BackendUnavailableError, BackendRefusedError: copy again to go on where it stopped.
    """
    sent: set[int] = set()
    for table in TABLES:
        yield _copy_table(source, target, table, wanted, sent=sent, report=report)
    yield _copy_cursors(source, target, wanted, report=report)


def _copy_table(
    source: Backend,
    target: Backend,
    table: Table,
    wanted: TimeRange,
    *,
    sent: set[int],
    report: Callable[[Progress], None],
) -> Progress:
    writer_id = copy_writer_id(source.dialect.name, source.location, table.name, wanted)
    progress = Progress(table.name, 0, 0, target.last_sequence(writer_id))
    read = _batches(source, table, wanted, after=progress.last_micro, sent=sent)
    # Reading a SQLite file takes 1.3 us a row and PostgreSQL's COPY 1.6, on another core and
    # without the interpreter's lock: one after the other had half of a bare COPY's speed.
    with prefetch(read) as batches:
        for batch, rows, last_micro in batches:
            dead = store(target, replace(batch, watermark=Watermark(writer_id, last_micro)))
            progress = Progress(table.name, progress.rows + rows, progress.dead + dead, last_micro)
            report(progress)
    return progress


def _batches(
    source: Backend, table: Table, wanted: TimeRange, *, after: int, sent: set[int]
) -> Iterator[tuple[Batch, int, int]]:
    """What the pages become, each with its number of rows and the time that it ends with."""
    for page in pages(source, table, wanted, after=after, rows=PAGE_ROWS):
        batch = replace(table.batch(page.rows), new_series=_definitions(source, page, sent))
        yield batch, len(page.rows), page.last_micro


def _copy_cursors(
    source: Backend,
    target: Backend,
    wanted: TimeRange,
    *,
    report: Callable[[Progress], None],
) -> Progress:
    # After all entries, so that none is newer than its cursor. Joining them twice changes nothing,
    # so they need no watermark.
    progress = Progress(CURSORS, 0, 0, 0)
    for page in cursor_pages(source, wanted, rows=PAGE_ROWS):
        target.write(Batch(cost_cursors=page))
        progress = Progress(CURSORS, progress.rows + len(page), 0, 0)
        report(progress)
    return progress


def copy_writer_id(kind: str, location: str, table: str, wanted: TimeRange) -> str:
    """The name of the writer whose watermark says how far a table of a source is copied."""
    # A copy of another period has a watermark of its own: the end of one is no place in the other.
    place = f"{kind} {location} {wanted.start_micros or 0}"
    digest = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
    return f"copy {digest} {table}"


def _definitions(source: Backend, page: Page[Row], sent: set[int]) -> tuple[Series, ...]:
    if len(sent) > _MOST_KNOWN:
        sent.clear()
    new = {row[1] for row in page.rows} - sent - {None}
    found = tuple(series_with_ids(source, sorted(new)))
    sent |= new
    return found


def store(target: Backend, batch: Batch) -> int:
    """Write a batch; returns how many of its rows the target refused, as dead letters of it.

    Raises:
        BackendUnavailableError, BackendRefusedError: nothing of it is known to be stored.
    """
    try:
        target.write(batch)
    except RowRefusedError:
        good, dead = isolate_refused_rows(batch, target.dry_run)
        target.write(replace(good, dead_letters=tuple(dead)))
        return len(dead)
    return 0
