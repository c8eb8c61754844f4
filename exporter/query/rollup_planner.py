"""Does a roll-up of TimescaleDB cover the question? Decides it, and asks the catalogue.

A roll-up may stand for points, or cost entries, only where that gives the same answer. So it is
read

- for what can be put together from its buckets, which is the caller's to say;
- if the buckets of the answer are made of whole buckets of it. The ends of the range that are
  not, and what is not materialized yet, are read from the rows themselves;
- if nothing of that stretch has changed since it was materialized: late rows, dropped chunks.
  TimescaleDB logs these until the next refresh. The log is read within the statement that reads
  the roll-up (`Coverage.is_fresh`), so that both are of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.query.filters import TimeRange
from exporter.query.sql import Sql, joined, sql

__all__ = [
    "COST_ROLLUPS",
    "METRIC_ROLLUPS",
    "Coverage",
    "Rollup",
    "coverage_of",
    "whole_buckets",
]

_Fetch = Callable[[Sql], list[tuple[Any, ...]]]

_HOUR_MICROS: Final = 3_600_000_000
# With fewer, reading the ends from the points costs as much as the roll-up saves.
_FEWEST_BUCKETS: Final = 24


@dataclass(frozen=True, slots=True)
class Rollup:
    """A continuous aggregate that `exporter.backends.timescaledb.rollups` makes.

    Attributes:
        view: its name.
        width_micros: length of its buckets.
        column: one of those that are read; who may not read it is answered from the rows.
    """

    view: str
    width_micros: int
    column: str


def _both(subject: str, column: str) -> tuple[Rollup, ...]:
    return (
        Rollup(f"{subject}_rollups_daily", 24 * _HOUR_MICROS, column),
        Rollup(f"{subject}_rollups_hourly", _HOUR_MICROS, column),
    )


METRIC_ROLLUPS: Final = _both("metric", "last_timestamp")
"""Of number points, the widest first."""
COST_ROLLUPS: Final = _both("cost", "entries")
"""Of cost entries, likewise."""

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
                WHERE attrelid = to_regclass({view}) AND attname = {column}
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
                # Nothing is older than 1970. For the time before the first that a timestamp can
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

    def parts(
        self,
        whole: TimeRange,
        rolled: Callable[[str, TimeRange, Sql], Sql],
        plain: Callable[[TimeRange, Sql], Sql],
    ) -> Sql:
        """For a WITH: `parts` has rows of the roll-up and, of what it lacks, the rows as such.

        Of the stretch it is one or the other. PostgreSQL finds out which before it reads either, so
        the answer is of one moment and no row is looked at in vain.

        Args:
            whole: the range of the question.
            rolled: selects from this, the roll-up with a column `timestamp`, in a range, on a
                condition.
            plain: the same columns of the rows themselves, likewise.
        """
        view = f"(SELECT r.*, r.bucket AS timestamp FROM {self.rollup.view} AS r)"  # noqa: S608 - a literal of ours
        fresh = sql("(SELECT yes FROM fresh)")
        pieces = [
            rolled(view, self.stretch, fresh),
            plain(self.stretch, sql("NOT {fresh}", fresh=fresh)),
        ]
        if whole.start_micros != self.stretch.start_micros:
            before = TimeRange(whole.start_micros, self.stretch.start_micros)
            pieces.append(plain(before, sql("TRUE")))
        if whole.end_micros != self.stretch.end_micros:
            after = TimeRange(self.stretch.end_micros, whole.end_micros)
            pieces.append(plain(after, sql("TRUE")))
        return sql(
            "fresh AS MATERIALIZED (SELECT {fresh} AS yes), parts AS ({pieces})",
            fresh=self.is_fresh(),
            pieces=joined(" UNION ALL ", pieces),
        )


def coverage_of(
    rollups: Iterable[Rollup],
    time_range: TimeRange,
    bucket_micros: int | None,
    dialect: Dialect,
    fetch: _Fetch,
) -> Coverage | None:
    """The first roll-up that covers enough of the question; None if the rows have to be read.

    Args:
        rollups: those from which the answer can be put together.
        time_range: of the question.
        bucket_micros: length of its buckets; None if the range is one.
        dialect: of the database.
        fetch: runs a statement.
    """
    if not dialect.may_have_rollups:
        return None
    for rollup in rollups:
        if whole_buckets(rollup, time_range, bucket_micros) is None:
            continue
        found = _look_up(rollup, fetch)
        if found is None:
            continue
        identifier, watermark, logs_work_under_way = found
        stretch = whole_buckets(rollup, time_range, bucket_micros, watermark)
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
            column=rollup.column,
        )
    )
    if not is_there:
        return None
    tables = {"aggregate": Sql((_AGGREGATE,)), "watermark": Sql((_WATERMARK,))}
    for identifier, watermark in fetch(sql(_STATE, **tables, view=rollup.view)):
        return identifier, watermark, logs_work_under_way
    return None
