"""The newest points of many series out of a columnstore, without unpacking a whole chunk.

A columnstore is ordered by series, so it cannot be read backwards in time: the newest thousand rows
cost as much as all rows of the newest chunk. But each batch of rows that a COPY compressed knows
its first and last time, and those of the last minutes are few. So the time is found where the
chunk ends, by halving, and a short window before it is read first; then one that should hold the
rest, going by what was found, or a much longer one where nothing was; then everything else. A
handful of windows at most, without overlap, whose answers follow one another.

Likewise where the newest chunk is no columnstore yet and others are: together they are planned for
two hundred series as a sort of all their rows in that chunk, 110 ms instead of 10. Its rows are
read backwards until there are enough, so there it is the ids of the series that are asked for; a
join would sort the window. In columns each id is looked for in each batch, and it is the join.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.query.filters import TimeRange
from exporter.query.sql import Sql, sql

__all__ = ["MANY_SERIES", "NewestChunk", "Stretch", "read_windows"]

_Rows = list[tuple[Any, ...]]
_Fetch = Callable[[Sql], _Rows]
# Begin and end in microseconds, and whether it is a columnstore.
_Chunk = tuple[int, int, bool]

# Of fewer, a columnstore finds the batches by their ids.
MANY_SERIES: Final = 20
FIRST_WINDOW_MICROS: Final = 300_000_000
# The next window is so much longer than the rows until then say, because series come unevenly.
_MARGIN: Final = 1.5
# And so much where there were none: 5 minutes, 40, 5 hours. Of senders that report each quarter of
# an hour, everything else took 49 to 70 ms, and this takes 11 to 17.
_LONGER: Final = 7
_MOST_WINDOWS: Final = 4
# A day is cut to less than three minutes.
_HALVINGS: Final = 9
# The catalogue takes longer than a window, 2 to 5 ms. A chunk that is newer than the one believed
# to be the newest costs time and nothing else: no window ends where that one does.
_KEPT_SECONDS: Final = 10.0

_HAS_CHUNKS: Final = "SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL"
_NEWEST_CHUNK: Final = """
    SELECT {begin}, {end}, is_compressed, bool_or(is_compressed) OVER ()
    FROM timescaledb_information.chunks
    WHERE hypertable_name = 'system_metrics'
        AND format('%I.%I', hypertable_schema, hypertable_name)::regclass
            = to_regclass('system_metrics')
    ORDER BY range_end DESC LIMIT 1"""
# The bounds are written out beside the halves, so that the other chunks are left out of the plan.
_LAST_POINT: Final = """
    WITH RECURSIVE half (low, high, step) AS (
        SELECT {begin}, {end}, 0
        UNION ALL
        SELECT CASE WHEN is_there THEN middle ELSE low END,
               CASE WHEN is_there THEN high ELSE middle END,
               step + 1
        FROM (
            SELECT low, high, middle, step, EXISTS (
                SELECT FROM system_metrics AS m
                WHERE m.timestamp >= {begin} AND m.timestamp < {end}
                    AND m.timestamp >= middle AND m.timestamp < high
            ) AS is_there
            FROM (
                SELECT low, high, step, low + (high - low) / 2 AS middle
                FROM half WHERE step < {halvings}
            ) AS cut
            OFFSET 0
        ) AS looked
    )
    SELECT {high} FROM half ORDER BY step DESC LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where the newest points lie.

    Attributes:
        time_range: from the begin of the newest chunk to about the last point.
        has_columns: whether that chunk is a columnstore.
    """

    time_range: TimeRange
    has_columns: bool


class NewestChunk:
    """Where the newest chunk lies; any thread may ask.

    Args:
        fetch: runs a statement.
        dialect: of the database.
        clock: seconds, of which only differences count.
    """

    def __init__(
        self, fetch: _Fetch, dialect: Dialect, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._dialect = dialect
        self._clock = clock
        self._has_chunks: bool | None = None  # not looked up yet
        self._known: _Known | None = None

    def stretch(self, time_range: TimeRange) -> Stretch | None:
        """Where the last points before the end of a range lie.

        None if windows do not pay: there is no columnstore, or the range begins later.
        """
        chunk = self._chunk()
        if chunk is None:
            return None
        begin, end, has_columns = chunk
        if time_range.end_micros is not None:
            end = min(end, time_range.end_micros)
        if begin >= end:
            return None
        moment, high = self._dialect.time_parameter, sql(self._dialect.micros, time=sql("high"))
        bounds = {"begin": moment(begin), "end": moment(end), "high": high}
        [(last,)] = self._fetch(sql(_LAST_POINT, **bounds, halvings=_HALVINGS))
        return Stretch(TimeRange(begin, last), has_columns)

    def _chunk(self) -> _Chunk | None:
        """The chunk, if any of the table is a columnstore."""
        known, now = self._known, self._clock()
        if known is None or now >= known.until:
            known = self._known = _Known(self._look_up(), now + _KEPT_SECONDS)
        return known.chunk

    def _look_up(self) -> _Chunk | None:
        if self._has_chunks is None:
            self._has_chunks = bool(self._fetch(sql(_HAS_CHUNKS))[0][0])
        if not self._has_chunks:
            return None
        ends = {"begin": sql("range_start"), "end": sql("range_end")}
        columns = {name: sql(self._dialect.micros, time=end) for name, end in ends.items()}
        for begin, end, has_columns, any_has in self._fetch(sql(_NEWEST_CHUNK, **columns)):
            return (begin, end, has_columns) if any_has else None
        return None


@dataclass(frozen=True, slots=True)
class _Known:
    """What was looked up, and how long it may be believed, in seconds of the clock."""

    chunk: _Chunk | None
    until: float


def read_windows(
    ask: Callable[[TimeRange, int], _Rows],
    ask_all: Callable[[TimeRange, int], _Rows],
    time_range: TimeRange,
    stretch: TimeRange,
    limit: int,
) -> _Rows:
    """The newest rows of a range, newest first.

    Args:
        ask: answers with the newest rows of a short range, so many at most, newest first.
        ask_all: the same of a long one.
        time_range: of the question.
        stretch: of the newest chunk.
        limit: most rows.
    """
    earliest = max(stretch.start_micros or 0, time_range.start_micros or 0)
    last = stretch.end_micros or 0
    if time_range.end_micros is not None:
        last = min(last, time_range.end_micros)  # what is asked behind a window ends before it
    begin, end = last - FIRST_WINDOW_MICROS, time_range.end_micros
    rows: _Rows = []
    for _ in range(_MOST_WINDOWS):
        if begin <= earliest or len(rows) >= limit:
            break
        rows += ask(TimeRange(begin, end), limit - len(rows))
        times_longer = (limit - len(rows)) / len(rows) * _MARGIN if rows else _LONGER
        begin, end = begin - int((last - begin) * times_longer), begin
    if len(rows) < limit:
        rows += ask_all(TimeRange(time_range.start_micros, end), limit - len(rows))
    return rows
