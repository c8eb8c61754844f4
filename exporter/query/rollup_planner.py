"""Plans which part of a question a roll-up answers, and which part is read from the rows.

A roll-up is read only if it gives the same answer as the rows: for aggregations that can be
computed from its buckets, and for whole buckets that are materialized and fresh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporter.backends.hypertable_catalog import HypertableCatalog, RollupInfo
from exporter.query.sql_builder import Sql, joined, sql
from exporter.query.times import TimeRange

# With fewer buckets, reading the remaining ends from the rows costs what the roll-up saves.
_MIN_BUCKETS: Final = 24


@dataclass(frozen=True, slots=True)
class RollupPlan:
    """A roll-up, and the part of the range that it can answer.

    Attributes:
        view: name of the roll-up.
        covered: whole buckets, all of them materialized; its end is not None.
        is_fresh: `RollupState.is_fresh` for `covered`.
    """

    view: str
    covered: TimeRange
    is_fresh: Sql

    def parts(
        self,
        whole: TimeRange,
        select_rollup: Callable[[str, TimeRange, Sql], Sql],
        select_rows: Callable[[TimeRange, Sql], Sql],
    ) -> Sql:
        """The tables of a WITH clause, the last of which is `parts`.

        It has rows of the roll-up for the covered range if that is fresh, else the rows
        themselves, and the rows outside of it. PostgreSQL evaluates the condition before it reads
        either, so both are of one snapshot and only one of them is read.

        Args:
            whole: the range of the question.
            select_rollup: selects from a table expression with a column `timestamp`, in a range,
                on a condition.
            select_rows: selects the same columns from the rows, in a range, on a condition.
        """
        rollup = f"(SELECT r.*, r.bucket AS timestamp FROM {self.view} AS r)"  # noqa: S608 - a fixed name
        fresh = sql("(SELECT yes FROM fresh)")
        pieces = [
            select_rollup(rollup, self.covered, fresh),
            select_rows(self.covered, sql("NOT {fresh}", fresh=fresh)),
        ]
        if whole.start_micros != self.covered.start_micros:
            before = TimeRange(whole.start_micros, self.covered.start_micros)
            pieces.append(select_rows(before, sql("TRUE")))
        if whole.end_micros != self.covered.end_micros:
            after = TimeRange(self.covered.end_micros, whole.end_micros)
            pieces.append(select_rows(after, sql("TRUE")))
        return sql(
            "fresh AS MATERIALIZED (SELECT {fresh} AS yes), parts AS ({pieces})",
            fresh=self.is_fresh,
            pieces=joined(" UNION ALL ", pieces),
        )


def plan_rollup(
    catalog: HypertableCatalog | None, table: str, time_range: TimeRange, bucket_micros: int | None
) -> RollupPlan | None:
    """The plan with the widest roll-up that covers enough of the question.

    Args:
        catalog: of the backend; None: it has no roll-ups.
        table: the fact table of the question.
        time_range: of the question.
        bucket_micros: width of its buckets; None if the range is one.

    Returns:
        None if the rows have to be read.
    """
    if catalog is None:
        return None
    for rollup in catalog.rollups(table):
        if whole_buckets(rollup, time_range, bucket_micros) is None:
            continue  # the range is too short for this roll-up, whatever its watermark
        state = catalog.rollup_state(rollup)
        if state is None:
            continue
        covered = whole_buckets(rollup, time_range, bucket_micros, state.watermark_micros)
        if covered is not None:
            # No row is older than 1970.
            start, end = covered.start_micros or 0, covered.end_micros
            return RollupPlan(rollup.view, covered, sql(state.is_fresh, start=start, end=end))
    return None


def whole_buckets(
    rollup: RollupInfo,
    time_range: TimeRange,
    bucket_micros: int | None,
    watermark_micros: int | None = None,
) -> TimeRange | None:
    """The whole buckets of a roll-up in a range; None if reading them would not pay.

    Args:
        rollup: to be read.
        time_range: of the question.
        bucket_micros: width of its buckets; None if the range is one.
        watermark_micros: the end of what is materialized; None if it is not known yet.
    """
    width = rollup.bucket_micros
    if bucket_micros is not None and bucket_micros % width:
        return None
    ends = [end for end in (time_range.end_micros, watermark_micros) if end is not None]
    first = None if time_range.start_micros is None else -(-time_range.start_micros // width)
    last = min(ends) // width if ends else None
    covered = TimeRange(
        None if first is None else first * width, None if last is None else last * width
    )
    if last is not None and last - (first or 0) < _MIN_BUCKETS:
        is_whole_range = covered == time_range and last > (first or 0)
        return covered if is_whole_range else None
    return covered
