"""The values of a batch as rows of the SQLite schema, and inserting many rows with few statements.

The rows of a table are kept as one flat list of values, because one statement inserts many rows and
binds one list.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from exporter.json_text import json_ready
from exporter.model import (
    Batch,
    Exemplar,
    ExponentialBuckets,
    HistogramPoint,
    Int64Array,
    Points,
    SummaryPoint,
)
from exporter.tables import EXEMPLARS, HISTOGRAMS, POINTS, SUMMARIES, Column, Table
from exporter.time_units import NANOSECONDS_PER_MICROSECOND

_NAN: Final = "NaN"  # SQLite stores a NaN as NULL, which means "no recorded value"
_MAX_STATEMENT_ROWS: Final = 4_096
_ROWS_PER_PADDING_ROW: Final = 4  # at most a quarter of the remaining rows is padding

_OnConflict = Literal["keep", "replace"]


@cache
def stored_columns(table: Table) -> tuple[str, ...]:
    """The names of the columns in SQLite, where an amount is three integers.

    A column of the key cannot be NULL, so the start of a point is stored in start_micros, 0 if it
    is unknown.
    """
    return tuple(name for column in table.columns for name in _stored_names(table, column))


def stored_key(table: Table) -> tuple[str, ...]:
    """The names of the columns of the key in SQLite."""
    return tuple(name for key in table.key for name in _stored_names(table, table.column(key)))


def _stored_names(table: Table, column: Column) -> tuple[str, ...]:
    if column.kind == "amount":
        return tuple(f"{column.name}_{part}" for part in ("units", "nanos", "attos"))
    if column.name == "start_timestamp" and column.name in table.key:
        return ("start_micros",)
    return (column.name,)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table, their values one after the other."""

    table: Table
    values: list[object]

    def __len__(self) -> int:
        return len(self.values) // len(stored_columns(self.table))

    def row_keys(self) -> Iterator[tuple[object, ...]]:
        """The key of each row; in a fact table it begins with the time in microseconds."""
        names = stored_columns(self.table)
        columns = (self.values[names.index(name) :: len(names)] for name in stored_key(self.table))
        return zip(*columns, strict=True)


def insert_rows(connection: sqlite3.Connection, rows: Rows) -> int:
    """Insert rows in the caller's transaction; `Table.replaces` decides between equal keys.

    `executemany` steps once a row, and sqlite3 releases the interpreter lock for each step. While
    another thread decodes, the writer may wait a whole switch interval (5 ms) for every row. One
    statement of many rows is one step: 1.7 to 1.9 times the rows/s alone, and 17 to 90 times in the
    slowest runs beside a busy thread (docs/decisions/0002).

    Returns:
        By how many rows the table grew.
    """
    table, width, added = rows.table, len(stored_columns(rows.table)), 0
    max_rows = _max_statement_rows(connection, width)
    begin, remaining = 0, len(rows)
    while remaining > 0:
        size = statement_rows(remaining, max_rows)
        chunk = rows.values[begin * width : (begin + size) * width]
        chunk += rows.values[-width:] * (size - remaining)  # padding: the last row again
        new = connection.execute(_insert_sql(table, size, "keep"), chunk).rowcount
        if table.replaces and new < min(size, remaining):
            # Replacing rows are rare. A replacing insert does not report how many rows are new, so
            # it comes second.
            connection.execute(_insert_sql(table, size, "replace"), chunk)
        added += new
        begin += size
        remaining -= size
    return added


def statement_rows(remaining: int, max_rows: int) -> int:
    """How many rows the next statement takes: a power of two, with at most a quarter of padding.

    Compiling a statement costs twice as much as running it. With few different statements the
    connection finds them in its cache. A repeated row has no effect: its key is stored already.
    """
    above = 1 << (remaining - 1).bit_length()
    if above <= max_rows and above - remaining <= remaining // _ROWS_PER_PADDING_ROW:
        return above
    return min(1 << (remaining.bit_length() - 1), max_rows)


def _max_statement_rows(connection: sqlite3.Connection, width: int) -> int:
    variables = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    return min(_MAX_STATEMENT_ROWS, 1 << ((variables // width).bit_length() - 1))


@lru_cache(maxsize=256)
def _insert_sql(table: Table, rows: int, on_conflict: _OnConflict) -> str:
    verb = "INSERT OR REPLACE" if on_conflict == "replace" else "INSERT"
    columns = stored_columns(table)
    row = f"({', '.join('?' * len(columns))})"
    insert = f"{verb} INTO {table.name} ({', '.join(columns)}) VALUES "
    return insert + ",".join([row] * rows) + (" ON CONFLICT DO NOTHING" * (on_conflict == "keep"))


def point_rows(batch: Batch) -> list[Rows]:
    """Rows of points, histograms and summaries, each table in the order of its key.

    Of points with one series, microsecond and start only the last has a row.
    """
    return [
        Rows(POINTS, _point_values(batch.points)),
        Rows(HISTOGRAMS, flattened(_last_of_each(map(_histogram_row, batch.histograms)))),
        Rows(SUMMARIES, flattened(_last_of_each(map(_summary_row, batch.summaries)))),
    ]


def exemplar_rows(batch: Batch) -> Rows:
    """Rows of exemplars."""
    return Rows(EXEMPLARS, flattened(map(_exemplar_row, batch.exemplars)))


def _point_values(points: Points) -> list[object]:
    timestamp = points.time_unix_nano // NANOSECONDS_PER_MICROSECOND
    start = points.start_time_unix_nano // NANOSECONDS_PER_MICROSECOND
    order = _order_of_last(timestamp, points.series_id, start)
    values: list[object] = [None] * (len(POINTS.columns) * len(order))
    values[0::4] = timestamp[order].tolist()
    values[1::4] = points.series_id[order].tolist()
    values[2::4] = _value_column(points.value[order], points.recorded[order])
    values[3::4] = start[order].tolist()
    return values


def _order_of_last(*key: Int64Array) -> npt.NDArray[np.intp]:
    """Indices that sort by (timestamp, series id, start); of equal keys only the last.

    Rows in the order of the key are appended at the end of the table, which is fast. The start is
    compared only if a series has several points of one time, which is rare.
    """
    order = np.lexsort(key[1::-1])
    if not _equals_next(order, key[:2]).any():
        return order
    order = np.lexsort(key[::-1])  # stable, so the last of equal keys stays last
    last = np.ones(len(order), np.bool_)
    last[:-1] = ~_equals_next(order, key)
    return order[last]


def _equals_next(order: npt.NDArray[np.intp], key: Sequence[Int64Array]) -> npt.NDArray[np.bool_]:
    """Whether each key but the last, in this order, is equal to the next one."""
    equal = np.ones(max(len(order) - 1, 0), np.bool_)
    for column in key:
        ordered = column[order]
        equal &= ordered[1:] == ordered[:-1]
    return equal


def _value_column(
    value: npt.NDArray[np.float64], recorded: npt.NDArray[np.bool_]
) -> Sequence[object]:
    column: list[object] = value.tolist()
    for index in np.flatnonzero(~recorded | np.isnan(value)).tolist():
        column[index] = _NAN if recorded[index] else None
    return column


def _histogram_row(point: HistogramPoint) -> tuple[object, ...]:
    explicit = point.exponential is None
    return (
        point.time_unix_nano // NANOSECONDS_PER_MICROSECOND,
        point.series_id,
        point.start_time_unix_nano // NANOSECONDS_PER_MICROSECOND,
        point.count,
        _number(point.sum),
        _number(point.min),
        _number(point.max),
        _array(point.bounds) if explicit else None,
        _array(point.bucket_counts) if explicit else None,
        *_exponential_columns(point.exponential),
    )


def _exponential_columns(buckets: ExponentialBuckets | None) -> tuple[object, ...]:
    if buckets is None:
        return (None,) * 7
    return (
        buckets.scale,
        buckets.zero_count,
        _number(buckets.zero_threshold),
        buckets.positive_offset,
        _array(buckets.positive_counts),
        buckets.negative_offset,
        _array(buckets.negative_counts),
    )


def _summary_row(point: SummaryPoint) -> tuple[object, ...]:
    return (
        point.time_unix_nano // NANOSECONDS_PER_MICROSECOND,
        point.series_id,
        point.start_time_unix_nano // NANOSECONDS_PER_MICROSECOND,
        point.count,
        _number(point.sum),
        _array(point.quantiles),
        _array(point.values),
    )


def _exemplar_row(exemplar: Exemplar) -> tuple[object, ...]:
    return (
        exemplar.time_unix_nano // NANOSECONDS_PER_MICROSECOND,
        exemplar.series_id,
        _number(exemplar.value),
        exemplar.trace_id,
        exemplar.span_id,
        exemplar.attributes,
    )


def _number(value: float | None) -> float | str | None:
    return _NAN if value is not None and math.isnan(value) else value


_encode_finite: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _array(values: Sequence[float]) -> str:
    """A JSON array, with NaN and infinities by name."""
    try:
        return _encode_finite(values)
    except ValueError:
        return _encode_finite(json_ready(values))


def _last_of_each(rows: Iterable[tuple[object, ...]]) -> Iterable[tuple[object, ...]]:
    return {row[:3]: row for row in rows}.values()  # time, series and start


def flattened(rows: Iterable[tuple[object, ...]]) -> list[object]:
    """The values of all rows in one list."""
    return [value for row in rows for value in row]
