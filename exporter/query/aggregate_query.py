"""What an aggregate covers, and the pieces of SQL that all its statements share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from exporter.backends.dialect import Dialect
from exporter.query.buckets import cut_of, start_of
from exporter.query.filters import TimeRange, among, time_condition
from exporter.query.series_selection import Chosen
from exporter.query.sql import Sql, sql

__all__ = ["LOOK_BACK_MICROS", "Scope"]

# How long before the start of the range the value is looked for from which a counter goes on:
# ten of the SDKs' default export intervals of 60 s.
LOOK_BACK_MICROS: Final = 600_000_000


@dataclass(frozen=True, slots=True)
class Scope:
    """The series, the time, and how it is cut.

    Attributes:
        chosen: series and groups.
        time_range: which points.
        bucket_micros: length of a bucket; buckets begin at multiples of it since 1970. None: the
            whole range is one.
        origin_micros: what the one bucket is called where there is only one.
        limit: most rows, None for all.
        dialect: of the database.
    """

    chosen: Chosen
    time_range: TimeRange
    bucket_micros: int | None
    origin_micros: int
    limit: int | None
    dialect: Dialect

    def of_type(self, *metric_types: str) -> Scope:
        """The same for the series of these types only."""
        return replace(self, chosen=self.chosen.of_type(*metric_types))

    @property
    def look_back_range(self) -> TimeRange:
        """The range with the stretch before it in which counters have their starting value."""
        start = self.time_range.start_micros
        earlier = None if start is None else start - LOOK_BACK_MICROS
        return TimeRange(earlier, self.time_range.end_micros)

    def series_table(self) -> Sql:
        """A WITH clause's first table: chosen (series_id, grp, cumulative)."""
        # MATERIALIZED, because a list that is read anew for each point takes minutes.
        return sql("chosen AS MATERIALIZED ({table})", table=self.chosen.table(self.dialect))

    def points(self, table: str, time_range: TimeRange) -> Sql:
        """FROM and WHERE: the points `m` of the chosen series `c` in a range.

        The range is read along the primary key (timestamp, series_id), and the series of each
        point is looked up in an index that SQLite makes of the list. For a million points in
        the range 0.11 s if the list has 20 of a thousand series, 0.63 s if it has them all. Plan:

            SEARCH m USING PRIMARY KEY (timestamp>? AND timestamp<?)
            SEARCH c USING AUTOMATIC COVERING INDEX (series_id=?)
        """
        condition = time_condition(time_range, self.dialect)
        named = among([member.series_id for member in self.chosen.members], self.dialect)
        if named is not None:
            condition = sql("{time} AND {named}", time=condition, named=named)
        return sql(
            """
            FROM {table} AS m
            {look_up} chosen AS c ON c.series_id = m.series_id
            WHERE {condition}
            """,
            table=Sql((table,)),
            look_up=Sql((self.dialect.ordered_join,)),
            condition=condition,
        )

    def bucket(self, time: Sql) -> Sql:
        """The start of the bucket that a time in microseconds lies in."""
        if self.bucket_micros is None:
            return sql("CAST({origin} AS BIGINT)", origin=self.origin_micros)
        return sql("({time} / {width}) * {width}", time=time, width=self.bucket_micros)

    def cut(self, column: Sql) -> Sql:
        """The bucket that a stored time lies in, to group by: cheaper for each row than `bucket`.

        One bucket for the whole range is called by its start, which nothing is computed from.
        """
        if self.bucket_micros is None:
            return self.bucket(column)
        return cut_of(column, self.bucket_micros, self.dialect)

    def start_of(self, cut: Sql) -> Sql:
        """The start in microseconds of what `cut` gives."""
        if self.bucket_micros is None:
            return cut
        return start_of(cut, self.bucket_micros, self.dialect)

    def time(self, column: Sql) -> Sql:
        """A stored time in microseconds."""
        return sql(self.dialect.micros, time=column)

    def number(self, column: Sql) -> Sql:
        """A stored measurement, NULL for a NaN."""
        return sql(self.dialect.number, value=column)

    def tail(self) -> Sql:
        """The order of the answer, newest bucket first, and its limit."""
        order = sql("ORDER BY bucket DESC, grp")
        if self.limit is None:
            return order
        return sql("{order} LIMIT {limit}", order=order, limit=self.limit)
