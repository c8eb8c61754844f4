"""Does a roll-up of TimescaleDB cover the question? Decides it, and asks the catalogue.

A roll-up may stand for points only where that gives the same answer. So it is read

- for gauges and sums, and what can be put together from its buckets;
- if the buckets of the answer are made of whole buckets of it. The ends of the range that are
  not, and what is not materialized yet, are read from the points;
- if nothing of that stretch has changed since it was materialized: late points, dropped chunks.
  TimescaleDB logs these until the next refresh. The log is read within the statement that reads
  the roll-up (`Coverage.is_fresh`), so that both are of one moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from exporter.query.scope import Scope
from exporter.query.selection import TimeRange
from exporter.query.sql import Sql, joined, sql

__all__ = ["ROLLUPS", "Coverage", "Rollup", "coverage_of", "whole_buckets"]

_Fetch = Callable[[Sql], list[tuple[Any, ...]]]

_AGGREGATIONS: Final = frozenset({"min", "max", "avg", "sum", "count", "last"})
_HOUR_MICROS: Final = 3_600_000_000
# With fewer, reading the ends from the points costs as much as the roll-up saves.
_FEWEST_BUCKETS: Final = 24


@dataclass(frozen=True, slots=True)
class Rollup:
    """A continuous aggregate of number points, with one row a bucket and series."""

    view: str
    width_micros: int


ROLLUPS: Final = (
    Rollup("metric_rollups_daily", 24 * _HOUR_MICROS),
    Rollup("metric_rollups_hourly", _HOUR_MICROS),
)
"""Those that `exporter.backends.timescaledb.rollups` makes, the widest first."""

_AGGREGATE: Final = "_timescaledb_catalog.continuous_agg"
_WATERMARK: Final = "_timescaledb_catalog.continuous_aggs_watermark"
# Each refresh moves entries from the first to the second; versions that have the third move them
# on to there before the transaction that materializes begins.
_CHANGES: Final = "_timescaledb_catalog.continuous_aggs_hypertable_invalidation_log"
_INVALID: Final = "_timescaledb_catalog.continuous_aggs_materialization_invalidation_log"
_UNDER_WAY: Final = "_timescaledb_catalog.continuous_aggs_materialization_ranges"

# Any PostgreSQL can answer this: a name that is not there is NULL. Who may read the points need
# not have the right to read the roll-up.
_HAS_ROLLUP: Final = """
    SELECT to_regclass({aggregate}) IS NOT NULL AND to_regclass({watermark}) IS NOT NULL
            AND to_regclass({changes}) IS NOT NULL AND to_regclass({invalid}) IS NOT NULL
            AND EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = to_regclass({view}) AND attname = 'last_timestamp'
                    AND has_column_privilege(attrelid, attnum, 'SELECT')
            ),
        to_regclass({under_way}) IS NOT NULL"""
# The watermark is the end of the newest bucket that is materialized.
_STATE: Final = """
    SELECT a.mat_hypertable_id, w.watermark
    FROM {aggregate} AS a JOIN {watermark} AS w USING (mat_hypertable_id)
    JOIN pg_namespace AS space ON space.nspname = a.user_view_schema
    JOIN pg_class AS seen
        ON seen.relnamespace = space.oid AND seen.relname = a.user_view_name
    WHERE seen.oid = to_regclass({view})"""
_IS_FRESH: Final = """
    EXISTS (
        SELECT FROM {aggregate} AS a
        WHERE a.mat_hypertable_id = {identifier} AND NOT EXISTS ({changed})
    )"""
_CHANGED: Final = """
    SELECT FROM {log} AS log
    WHERE {its_own} AND log.lowest_modified_value < {end} AND log.greatest_modified_value >= {start}
    """


@dataclass(frozen=True, slots=True)
class Coverage:
    """A roll-up and the stretch of the range that it can stand for.

    Attributes:
        rollup: which.
        stretch: whole buckets, all of them materialized; its end is not None.
        identifier: of the roll-up in the catalogue.
        logs_work_under_way: whether this version has the third log.
    """

    rollup: Rollup
    stretch: TimeRange
    identifier: int
    logs_work_under_way: bool

    def is_fresh(self) -> Sql:
        """The condition that the roll-up has the points of the stretch as they are now."""
        logs = [(_CHANGES, "log.hypertable_id = a.raw_hypertable_id")]
        logs.append((_INVALID, "log.materialization_id = a.mat_hypertable_id"))
        if self.logs_work_under_way:
            logs.append((_UNDER_WAY, "log.materialization_id = a.mat_hypertable_id"))
        changed = [
            sql(
                _CHANGED,
                log=Sql((log,)),
                its_own=Sql((its_own,)),
                # No point is older than 1970. For the time before the first that a timestamp can
                # hold there is an entry that no refresh takes away.
                start=self.stretch.start_micros or 0,
                end=self.stretch.end_micros,
            )
            for log, its_own in logs
        ]
        return sql(
            _IS_FRESH,
            aggregate=Sql((_AGGREGATE,)),
            identifier=self.identifier,
            changed=joined(" UNION ALL ", changed),
        )


def coverage_of(aggregation: str, scope: Scope, fetch: _Fetch) -> Coverage | None:
    """The widest roll-up that covers enough of the question; None if the points have to be read.

    Args:
        aggregation: its name.
        scope: series of gauges and sums, and the range.
        fetch: runs a statement.
    """
    if not scope.dialect.may_have_rollups or aggregation not in _AGGREGATIONS:
        return None
    for rollup in ROLLUPS:
        if whole_buckets(rollup, scope.time_range, scope.bucket_micros) is None:
            continue
        found = _look_up(rollup, fetch)
        if found is None:
            continue
        identifier, watermark, logs_work_under_way = found
        stretch = whole_buckets(rollup, scope.time_range, scope.bucket_micros, watermark)
        if stretch is not None:
            return Coverage(rollup, stretch, identifier, logs_work_under_way)
    return None


def whole_buckets(
    rollup: Rollup,
    time_range: TimeRange,
    bucket_micros: int | None,
    watermark_micros: int | None = None,
) -> TimeRange | None:
    """The whole buckets of a roll-up that lie in a range; None if they are not worth reading.

    Args:
        rollup: which.
        time_range: of the question.
        bucket_micros: length of its buckets; None if the range is one.
        watermark_micros: the end of what is materialized; None if it is not known yet.
    """
    width = rollup.width_micros
    if bucket_micros is not None and bucket_micros % width:
        return None
    ends = [end for end in (time_range.end_micros, watermark_micros) if end is not None]
    first = None if time_range.start_micros is None else -(-time_range.start_micros // width)
    last = min(ends) // width if ends else None
    stretch = TimeRange(
        None if first is None else first * width, None if last is None else last * width
    )
    if last is not None and last - (first or 0) < _FEWEST_BUCKETS:
        is_all = stretch == time_range and last > (first or 0)
        return stretch if is_all else None
    return stretch


def _look_up(rollup: Rollup, fetch: _Fetch) -> tuple[int, int, bool] | None:
    """Identifier, watermark in microseconds, and whether there is the third log."""
    [(is_there, logs_work_under_way)] = fetch(
        sql(
            _HAS_ROLLUP,
            aggregate=_AGGREGATE,
            watermark=_WATERMARK,
            changes=_CHANGES,
            invalid=_INVALID,
            under_way=_UNDER_WAY,
            view=rollup.view,
        )
    )
    if not is_there:
        return None
    tables = {"aggregate": Sql((_AGGREGATE,)), "watermark": Sql((_WATERMARK,))}
    for identifier, watermark in fetch(sql(_STATE, **tables, view=rollup.view)):
        return identifier, watermark, logs_work_under_way
    return None
