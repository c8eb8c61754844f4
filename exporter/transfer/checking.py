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

__all__ = ["Difference", "differences"]

_DAY_MICROSECONDS: Final = 86_400_000_000
# Doubles are added in another order.
_TOLERANCE: Final = 1e-9


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
        left, right = _days(source, table, wanted), _days(target, table, wanted)
        for day in sorted(left.keys() | right.keys()):
            (rows, total), (found_rows, found_total) = (
                left.get(day, (0, 0.0)),
                right.get(day, (0, 0.0)),
            )
            if rows != found_rows or not math.isclose(
                total, found_total, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
            ):
                yield Difference(table.name, day, rows, found_rows, total, found_total)


def _days(backend: Backend, table: Table, wanted: TimeRange) -> Mapping[int, tuple[int, float]]:
    dialect = backend.dialect
    micros = sql(dialect.micros, time=Sql(("m.timestamp",)))
    number = Sql((f"m.{table.number}",))
    statement = sql(
        "SELECT d.day, COUNT(*), SUM(d.number) FROM (SELECT {micros} / {day} AS day, "
        "m.timestamp, m.series_id, MAX({number}) AS number FROM {table} AS m "
        "WHERE {wanted} GROUP BY m.timestamp, m.series_id{more}) AS d GROUP BY d.day",
        micros=micros,
        day=Sql((str(_DAY_MICROSECONDS),)),
        number=sql(dialect.number, value=number),
        table=Sql((table.name,)),
        wanted=within(wanted, dialect),
        more=Sql(("".join(f", m.{name}" for name in table.more_key),)),
    )
    found = fetched(backend, statement)
    return {
        int(day) * _DAY_MICROSECONDS: (int(count), float(total or 0)) for day, count, total in found
    }
