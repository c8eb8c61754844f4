"""Rows, sums and a fingerprint by day, in one pass that keeps nothing of a row.

Telling repetitions of a series and time apart takes a sort or a hash of all rows: 2 us a row in
PostgreSQL, 0.9 in SQLite, where this takes 0.6 and 0.2. Stores that agree in these totals hold the
same rows, equally often. Those that do not may still hold the same different rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from exporter.backends.base import Backend
from exporter.query.filters import TimeRange, time_condition
from exporter.query.sql import Sql, fetch_all, sql
from exporter.transfer.tables import Table

__all__ = ["DAY_MICROSECONDS", "TOLERANCE", "Total", "sum_of", "totals", "unlike"]

DAY_MICROSECONDS: Final = 86_400_000_000
TOLERANCE: Final = 1e-9
"""Doubles are added in another order."""

# A row of another series or time has another product, but for times that lie a multiple of 36
# minutes apart, to the microsecond. The factors have 32 and 31 bits, so that it fits into 64; cut
# to 31 bits, 4 billion a day can be added up.
_LOW_BITS: Final = 2**31 - 1
_PRINT: Final = "((((m.series_id & {bits}) * 2 + 1) * ({micros} & {bits})) & {bits})"
_STATEMENT: Final = """
    SELECT {micros} / {day} AS day, SUM(d.row_count), SUM(d.total), SUM(d.print)
    FROM (
        SELECT {within_day} AS near, COUNT(*) AS row_count, SUM({number}) AS total,
            SUM({print}) AS print
        FROM {table} AS m
        WHERE {wanted}
        GROUP BY {within_day}
    ) AS d
    GROUP BY 1"""


@dataclass(frozen=True, slots=True)
class Total:
    """What one day comes to.

    Attributes:
        rows: how many, repetitions included.
        sum: of their numbers, without NaN.
        print: of their series and times.
    """

    rows: int
    sum: float
    print: int

    def is_like(self, other: Total) -> bool:
        """Whether both are of the same rows."""
        return (self.rows, self.print) == (other.rows, other.print) and math.isclose(
            self.sum, other.sum, rel_tol=TOLERANCE, abs_tol=TOLERANCE
        )


def totals(backend: Backend, table: Table, wanted: TimeRange) -> Mapping[int, Total]:
    """What each day of a table comes to, by the begin of the day in microseconds since 1970.

    Args:
        backend: open, for reading at least.
        table: one whose rows are told apart by series and time alone.
        wanted: which stretch of time.
    """
    dialect = backend.dialect
    time = sql("m.timestamp")
    micros = sql(dialect.near_micros, time=time)
    statement = sql(
        _STATEMENT,
        micros=sql(dialect.micros, time=sql("d.near")),
        day=sql(str(DAY_MICROSECONDS)),
        within_day=sql(dialect.within_day, time=time),
        number=sql(dialect.number, value=Sql((f"m.{table.number}",))),
        print=sql(_PRINT, micros=micros, bits=sql(str(_LOW_BITS))),
        table=Sql((table.name,)),
        wanted=time_condition(wanted, dialect),
    )
    return {
        int(day) * DAY_MICROSECONDS: Total(int(rows), sum_of(total), int(print_))
        for day, rows, total, print_ in fetch_all(backend, statement)
    }


def sum_of(total: float | None) -> float:
    """A sum as a database gives it, as a number that equals itself.

    Of nothing it is NULL, and of infinities of both signs NaN, for which SQLite says NULL.
    """
    return 0.0 if total is None or math.isnan(total) else float(total)


def unlike(source: Backend, target: Backend, table: Table, wanted: TimeRange) -> TimeRange | None:
    """The stretch from the first to the last day whose totals differ; None if there is none.

    Both stores are asked at the same time.
    """
    with ThreadPoolExecutor(1, "totals") as beside:
        coming = beside.submit(totals, target, table, wanted)
        left = totals(source, table, wanted)
        right = coming.result()
    days = sorted(_unlike(left, right))
    if not days:
        return None
    first, after = days[0], days[-1] + DAY_MICROSECONDS
    if wanted.start_micros is not None:
        first = max(first, wanted.start_micros)
    if wanted.end_micros is not None:
        after = min(after, wanted.end_micros)
    return TimeRange(first, after)


def _unlike(left: Mapping[int, Total], right: Mapping[int, Total]) -> Iterator[int]:
    for day in left.keys() | right.keys():
        one, other = left.get(day), right.get(day)
        if one is None or other is None or not one.is_like(other):
            yield day
