"""Counts and sums of two stores, by table and day: what a copy is proven with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.backends.base import Backend
from exporter.query.selection import TimeRange, within
from exporter.query.sql import Sql, fetched, sql
from exporter.transfer.tables import TABLES, Table

__all__ = ["DAY_MICROSECONDS", "Days", "Difference", "compared", "days", "differences"]

DAY_MICROSECONDS: Final = 86_400_000_000

Days = Mapping[int, tuple[int, float]]
"""Rows and the sum of their numbers, by the begin of a day in microseconds since 1970."""

# Doubles are added in another order.
_TOLERANCE: Final = 1e-9
_ALL: Final = sql("TRUE")


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
        yield from compared(table.name, days(source, table, wanted), days(target, table, wanted))


def compared(name: str, source: Days, target: Days) -> Iterator[Difference]:
    """The days of one table on which the two differ."""
    for day in sorted(source.keys() | target.keys()):
        rows, total = source.get(day, (0, 0.0))
        found_rows, found_total = target.get(day, (0, 0.0))
        if rows != found_rows or not math.isclose(
            total, found_total, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
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
        wanted=within(wanted, dialect),
        chosen=chosen,
        more=Sql(("".join(f", m.{name}" for name in table.more_key),)),
    )
    found = fetched(backend, statement)
    return {
        int(day) * DAY_MICROSECONDS: (int(count), float(total or 0)) for day, count, total in found
    }
