"""Compares two stores by table and day: row counts and sums.

First `_daily_totals` compares all rows in one cheap pass. Only the days that differ are counted
again without repetitions: that takes a sort or hash of all rows, 2 us a row in PostgreSQL and 0.9
in SQLite, where the cheap pass takes 0.6 and 0.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from exporter import tables
from exporter.backends.base import Backend
from exporter.costs.streams import merge_streams
from exporter.query.costs import cost_total, parse_amount
from exporter.query.filters import time_condition
from exporter.query.sql_builder import Sql, fetch_all, sql
from exporter.query.times import TimeRange
from exporter.time_units import (
    MICROSECONDS_PER_SECOND,
    NANOSECONDS_PER_MICROSECOND,
    SECONDS_PER_DAY,
)
from exporter.transfer.pages import read_streams, stream_pages
from exporter.transfer.row_decoders import COPIED_TABLES, CopiedTable

DailySums = Mapping[int, tuple[int, float | Decimal]]
"""Number of rows and the sum of their values, by the start of a day in microseconds since 1970.

A sum of amounts is exact if it is a Decimal.
"""

_ALL_ROWS: Final = sql("TRUE")
_STREAMS_PER_PAGE: Final = 50_000
_DAY_MICROS: Final = SECONDS_PER_DAY * MICROSECONDS_PER_SECOND
# Databases add doubles in different orders.
_TOLERANCE: Final = 1e-9

# The product of series id and time, as a fingerprint of a row. Rows of another series or time have
# another one, except for times that differ by a multiple of 36 minutes to the microsecond. The
# factors have 32 and 31 bits, so that the product fits into 64; cut to 31 bits, 4 billion rows a
# day can be added up.
_FINGERPRINT_BITS: Final = 2**31 - 1
_FINGERPRINT: Final = "((((m.series_id & {bits}) * 2 + 1) * ({micros} & {bits})) & {bits})"
_DAILY_TOTALS: Final = """
    SELECT {micros} / {day} AS day, SUM(d.row_count), SUM(d.total), SUM(d.fingerprint)
    FROM (
        SELECT {within_day} AS near, COUNT(*) AS row_count, SUM({number}) AS total,
            SUM({fingerprint}) AS fingerprint
        FROM {table} AS m
        WHERE {condition}
        GROUP BY {within_day}
    ) AS d
    GROUP BY 1"""
_EXACT_SUMS: Final = """
    SELECT {micros} / {day} AS day, COUNT(*), {total}
    FROM {table} AS m
    WHERE {time_condition} AND {condition}
    GROUP BY 1"""
_DISTINCT_SUMS: Final = """
    SELECT d.day, COUNT(*), SUM(d.number)
    FROM (
        SELECT {micros} / {day} AS day, m.timestamp, m.series_id, MAX({number}) AS number
        FROM {table} AS m
        WHERE {time_condition} AND {condition}
        GROUP BY m.timestamp, m.series_id{extra_key}
    ) AS d
    GROUP BY d.day"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A day of a table that is not the same in both stores.

    Attributes:
        table: its name.
        day_micros: start of the day, UTC, in microseconds since 1970.
        source_rows: distinct rows in the source; repetitions of a key count once.
        target_rows: distinct rows in the target.
        source_sum: sum of the values, or of the counts, in the source.
        target_sum: sum of the values, or of the counts, in the target.
    """

    table: str
    day_micros: int
    source_rows: int
    target_rows: int
    source_sum: float | Decimal
    target_sum: float | Decimal


@dataclass(frozen=True, slots=True)
class _DayTotal:
    """The totals of all rows of one day, repetitions included.

    Attributes:
        rows: their number.
        sum: the sum of their values without NaN.
        fingerprint: the sum of their fingerprints.
    """

    rows: int
    sum: float
    fingerprint: int

    def matches(self, other: _DayTotal) -> bool:
        """Whether both are of the same rows."""
        has_same_rows = (self.rows, self.fingerprint) == (other.rows, other.fingerprint)
        return has_same_rows and _is_close(self.sum, other.sum)


def differences(source: Backend, target: Backend, time_range: TimeRange) -> Iterator[Difference]:
    """The days on which the two differ, table by table."""
    for table in COPIED_TABLES:
        # The fingerprint is of series and time alone.
        part = time_range
        if table.compares_totals:
            mismatched = _mismatched_range(source, target, table, time_range)
            if mismatched is None:
                continue
            part = mismatched
        yield from compare_days(
            table.name,
            daily_sums(source, table, part),
            daily_sums(target, table, part),
        )
    yield from compare_days(
        tables.COST_STREAMS.name, *_stream_daily_sums(source, target, time_range)
    )


def compare_days(table: str, source: DailySums, target: DailySums) -> Iterator[Difference]:
    """The days of one table on which the two differ."""
    for day in sorted(source.keys() | target.keys()):
        source_rows, source_sum = source.get(day, (0, 0.0))
        target_rows, target_sum = target.get(day, (0, 0.0))
        if source_rows != target_rows or not _are_equal(source_sum, target_sum):
            yield Difference(table, day, source_rows, target_rows, source_sum, target_sum)


def daily_sums(
    backend: Backend, table: CopiedTable, time_range: TimeRange, condition: Sql = _ALL_ROWS
) -> DailySums:
    """Rows and sums by day. Repetitions of a key count once, with the largest value.

    Args:
        backend: open, for reading at least.
        table: the table to read.
        time_range: which rows.
        condition: a further condition on the rows `m`.
    """
    dialect = backend.dialect
    is_exact = table.table.column(table.sum_column).kind == "amount"
    statement = sql(
        _EXACT_SUMS if is_exact else _DISTINCT_SUMS,
        micros=sql(dialect.micros, time=sql("m.timestamp")),
        day=sql(str(_DAY_MICROS)),
        number=sql(dialect.number, value=Sql((f"m.{table.sum_column}",))),
        total=cost_total(dialect),
        table=Sql((table.name,)),
        time_condition=time_condition(time_range, dialect),
        condition=condition,
        extra_key=Sql(("".join(f", m.{name}" for name in table.extra_key),)),
    )
    return {
        int(day) * _DAY_MICROS: (int(rows), parse_amount(total) if is_exact else _number(total))
        for day, rows, total in fetch_all(backend, statement)
    }


def add_to_day(sums: dict[int, tuple[int, float]], time_unix_nano: int, value: float) -> None:
    """Count one row and its value on its day."""
    micros = time_unix_nano // NANOSECONDS_PER_MICROSECOND
    day = micros - micros % _DAY_MICROS
    rows, total = sums.get(day, (0, 0.0))
    sums[day] = (rows + 1, total + value)


def _stream_daily_sums(
    source: Backend, target: Backend, time_range: TimeRange
) -> tuple[DailySums, DailySums]:
    """The streams of the source and their last values by day, and those that the target has.

    The target has a stream if merging the source's into it changes nothing. It can have a newer
    one, if a receiver writes to it already.
    """
    source_sums: dict[int, tuple[int, float]] = {}
    target_sums: dict[int, tuple[int, float]] = {}
    for page in stream_pages(source, time_range, rows=_STREAMS_PER_PAGE):
        series_ids = sorted({stream.series_id for stream in page})
        stored = {
            (stream.series_id, stream.stream_start): stream
            for stream in read_streams(target, series_ids)
        }
        for stream in page:
            if stream.last is None:
                continue
            point = stream.last
            add_to_day(source_sums, point.time_unix_nano, point.value)
            here = stored.get((stream.series_id, stream.stream_start))
            if here is not None and merge_streams(here, stream) == here:
                add_to_day(target_sums, point.time_unix_nano, point.value)
    return source_sums, target_sums


def _mismatched_range(
    source: Backend, target: Backend, table: CopiedTable, time_range: TimeRange
) -> TimeRange | None:
    """The range from the first to the last day whose totals differ; None if all are equal."""
    # Both stores are asked at the same time.
    with ThreadPoolExecutor(1, "daily-totals") as thread:
        upcoming = thread.submit(_daily_totals, target, table, time_range)
        source_totals = _daily_totals(source, table, time_range)
        target_totals = upcoming.result()
    days = sorted(_mismatched_days(source_totals, target_totals))
    if not days:
        return None
    start, end = days[0], days[-1] + _DAY_MICROS
    if time_range.start_micros is not None:
        start = max(start, time_range.start_micros)
    if time_range.end_micros is not None:
        end = min(end, time_range.end_micros)
    return TimeRange(start, end)


def _mismatched_days(
    source: Mapping[int, _DayTotal], target: Mapping[int, _DayTotal]
) -> Iterator[int]:
    for day in source.keys() | target.keys():
        source_total, target_total = source.get(day), target.get(day)
        if source_total is None or target_total is None or not source_total.matches(target_total):
            yield day


def _daily_totals(
    backend: Backend, table: CopiedTable, time_range: TimeRange
) -> Mapping[int, _DayTotal]:
    """The totals of each day, by the start of the day in microseconds since 1970.

    Args:
        backend: open, for reading at least.
        table: a table whose totals can be compared.
        time_range: which rows.
    """
    dialect = backend.dialect
    time = sql("m.timestamp")
    micros = sql(dialect.approximate_micros, time=time)
    statement = sql(
        _DAILY_TOTALS,
        micros=sql(dialect.micros, time=sql("d.near")),
        day=sql(str(_DAY_MICROS)),
        within_day=sql(dialect.day_group, time=time),
        number=sql(dialect.number, value=Sql((f"m.{table.sum_column}",))),
        fingerprint=sql(_FINGERPRINT, micros=micros, bits=sql(str(_FINGERPRINT_BITS))),
        table=Sql((table.name,)),
        condition=time_condition(time_range, dialect),
    )
    return {
        int(day) * _DAY_MICROS: _DayTotal(int(rows), _number(total), int(fingerprint))
        for day, rows, total, fingerprint in fetch_all(backend, statement)
    }


def _number(total: float | None) -> float:
    """Converts a sum from the database to a comparable number: NULL and NaN become 0.

    The sum of no values is NULL. The sum of infinities of both signs is NaN, which SQLite returns
    as NULL.
    """
    return 0.0 if total is None or math.isnan(total) else float(total)


def _are_equal(one: float | Decimal, other: float | Decimal) -> bool:
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one == other
    return _is_close(float(one), float(other))


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
