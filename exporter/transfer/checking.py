"""Counts and sums of two stores, by table and day: what a copy is proven with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.backends.base import Backend
from exporter.query.filters import TimeRange, time_condition
from exporter.query.sql import Sql, fetch_all, sql
from exporter.transfer.cursors import CURSORS, cursor_pages, cursors_of
from exporter.transfer.tables import TABLES, Table
from exporter.transfer.totals import DAY_MICROSECONDS, TOLERANCE, sum_of, unlike

__all__ = ["Days", "Difference", "add", "compared", "days", "differences"]

Days = Mapping[int, tuple[int, float]]
"""Rows and the sum of their numbers, by the begin of a day in microseconds since 1970."""

_ALL: Final = sql("TRUE")
_CURSORS_A_PAGE: Final = 50_000
_NANOSECONDS_PER_MICROSECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """A day of a table that is not the same in both.

    Attributes:
        table: its name.
        day_micro: begin of the day, UTC, in microseconds since 1970.
        source_rows: different rows in the source: repetitions of a series and time count once.
        target_rows: likewise in the target.
        source_sum: of values, or of counts.
        target_sum: likewise.
    """

    table: str
    day_micro: int
    source_rows: int
    target_rows: int
    source_sum: float
    target_sum: float


def differences(source: Backend, target: Backend, wanted: TimeRange) -> Iterator[Difference]:
    """The days on which the two differ, table by table."""
    for table in TABLES:
        # Repetitions are counted once, which takes long, so only where it can matter.
        some = wanted if table.more_key else unlike(source, target, table, wanted)
        if some is not None:
            yield from compared(table.name, days(source, table, some), days(target, table, some))
    yield from compared(CURSORS, *_cursor_days(source, target, wanted))


def _cursor_days(source: Backend, target: Backend, wanted: TimeRange) -> tuple[Days, Days]:
    """The source's cursors and last values by day, and of these what the target has.

    A cursor is there if joining the source's with it would change nothing: the target's may be
    further, where a receiver writes already.
    """
    left: dict[int, tuple[int, float]] = {}
    right: dict[int, tuple[int, float]] = {}
    for page in cursor_pages(source, wanted, rows=_CURSORS_A_PAGE):
        found = {one.series_id: one for one in cursors_of(target, [one.series_id for one in page])}
        for cursor in page:
            add(left, cursor.last.time_unix_nano, cursor.last.value)
            here = found.get(cursor.series_id)
            if here is not None and here.merge(cursor) == here:
                add(right, cursor.last.time_unix_nano, cursor.last.value)
    return left, right


def add(days: dict[int, tuple[int, float]], time_unix_nano: int, number: float) -> None:
    """Count one row and its number on its day."""
    micro = time_unix_nano // _NANOSECONDS_PER_MICROSECOND
    day = micro - micro % DAY_MICROSECONDS
    rows, total = days.get(day, (0, 0.0))
    days[day] = (rows + 1, total + number)


def compared(name: str, source: Days, target: Days) -> Iterator[Difference]:
    """The days of one table on which the two differ."""
    for day in sorted(source.keys() | target.keys()):
        rows, total = source.get(day, (0, 0.0))
        found_rows, found_total = target.get(day, (0, 0.0))
        if rows != found_rows or not math.isclose(
            total, found_total, rel_tol=TOLERANCE, abs_tol=TOLERANCE
        ):
            yield Difference(name, day, rows, found_rows, total, found_total)


def days(backend: Backend, table: Table, wanted: TimeRange, chosen: Sql = _ALL) -> Days:
    """What a table holds, by day; repetitions of a series and time count once, the greatest.

    Args:
        backend: open, for reading at least.
        table: one of ours.
        wanted: which stretch of time.
        chosen: a condition on its rows `m`.
    """
    dialect = backend.dialect
    micros = sql(dialect.micros, time=Sql(("m.timestamp",)))
    number = Sql((f"m.{table.number}",))
    statement = sql(
        "SELECT d.day, COUNT(*), SUM(d.number) FROM (SELECT {micros} / {day} AS day, "
        "m.timestamp, m.series_id, MAX({number}) AS number FROM {table} AS m "
        "WHERE {wanted} AND {chosen} "
        "GROUP BY m.timestamp, m.series_id{more}) AS d GROUP BY d.day",
        micros=micros,
        day=Sql((str(DAY_MICROSECONDS),)),
        number=sql(dialect.number, value=number),
        table=Sql((table.name,)),
        wanted=time_condition(wanted, dialect),
        chosen=chosen,
        more=Sql(("".join(f", m.{name}" for name in table.more_key),)),
    )
    found = fetch_all(backend, statement)
    return {int(day) * DAY_MICROSECONDS: (int(count), sum_of(total)) for day, count, total in found}
