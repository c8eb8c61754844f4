"""What cost entries add up to, in the database, out of a roll-up where there is one.

Amounts of two currencies never meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.backends.dialect import Dialect
from exporter.query.buckets import cut_of, start_of
from exporter.query.costs import COST_GROUPS, CostFilters, group_column, parse_amount
from exporter.query.filters import TimeRange
from exporter.query.rollup_planner import COST_ROLLUPS, Coverage, Rollup
from exporter.query.sql import Sql, joined, sql

__all__ = ["TotalsQuestion", "rollups_of", "total_rows", "totals_statement"]

_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class TotalsQuestion:
    """What is to be added up.

    Attributes:
        filters: which entries.
        time_range: of which time.
        groups: columns of `COST_GROUPS`, or tags; not the currency, which is always one.
        bucket_micros: length of a bucket; None: the whole range is one.
        limit: most rows; None for all.
    """

    filters: CostFilters
    time_range: TimeRange
    groups: tuple[str, ...] = ()
    bucket_micros: int | None = None
    limit: int | None = None


def totals_statement(
    question: TotalsQuestion, dialect: Dialect, coverage: Coverage | None = None
) -> Sql:
    """One row for each bucket, currency and group: newest bucket first, then the dearest.

    Args:
        question: what is asked.
        dialect: of the database.
        coverage: a roll-up that stands for a stretch of the entries, of `rollups_of`.
    """
    if coverage is None:
        chosen = question.filters.on_entries(question.time_range, dialect)
        parts, entries = sql(""), sql("count(*)")
        rows = sql("cost_entries AS m WHERE {chosen}", chosen=chosen)
    else:
        parts = sql("WITH {parts}", parts=_parts(question, coverage, dialect))
        rows = sql("parts AS m")
        entries = sql("CAST(sum(m.entries) AS BIGINT)")
    # A constant, too, must be something to group by: a bare number would be the place of a column.
    cut = bucket = sql("CAST(0 AS BIGINT)")
    if question.bucket_micros is not None:
        cut = cut_of(sql("m.timestamp"), question.bucket_micros, dialect)
        bucket = start_of(cut, question.bucket_micros, dialect)
    columns = [sql("m.currency"), *(group_column(name, dialect) for name in question.groups)]
    places = "".join(f", {at + 2}" for at in range(len(columns)))
    limited = sql("") if question.limit is None else sql("LIMIT {most}", most=question.limit)
    return sql(
        """
        {parts}
        SELECT {bucket}, {columns}, {total}, {entries}
        FROM {rows}
        GROUP BY {cut}{places}
        ORDER BY 1 DESC, 2, sum(m.amount) DESC{places}
        {limited}""",
        parts=parts,
        bucket=bucket,
        cut=cut,
        columns=joined(", ", columns),
        total=sql(dialect.cost_total),
        entries=entries,
        rows=rows,
        places=Sql((places,)),
        limited=limited,
    )


def rollups_of(question: TotalsQuestion) -> Sequence[Rollup]:
    """The roll-ups from which the answer can be put together; they have no tags."""
    if question.filters.tags or not set(question.groups) <= set(COST_GROUPS):
        return ()
    return COST_ROLLUPS


def _parts(question: TotalsQuestion, coverage: Coverage, dialect: Dialect) -> Sql:
    """For a WITH: `parts` has what is grouped by, amount and entries, of roll-up and entries."""
    names = ", ".join(f"m.{name}" for name in dict.fromkeys(["currency", *question.groups]))
    columns = sql("m.timestamp, {names}, m.amount", names=Sql((names,)))
    filters = question.filters

    def of_rollup(view: str, part: TimeRange, also: Sql) -> Sql:
        return sql(
            "SELECT {columns}, m.entries FROM {view} AS m WHERE {chosen} AND {also}",
            columns=columns,
            view=Sql((view,)),
            chosen=filters.condition(part, dialect),
            also=also,
        )

    def of_entries(part: TimeRange, also: Sql) -> Sql:
        return sql(
            "SELECT {columns}, 1 AS entries FROM cost_entries AS m WHERE {chosen} AND {also}",
            columns=columns,
            chosen=filters.on_entries(part, dialect),
            also=also,
        )

    return coverage.parts(question.time_range, of_rollup, of_entries)


def total_rows(question: TotalsQuestion, rows: Iterable[_Row]) -> list[dict[str, Any]]:
    """Plain dicts, in the order of the rows; amounts are exact."""
    answer = []
    for bucket, currency, *groups, total, entries in rows:
        row: dict[str, Any] = {}
        if question.bucket_micros is not None:
            row["timestamp"] = bucket / 1_000_000
        row |= zip(question.groups, groups, strict=True)
        answer.append(
            row | {"currency": currency, "amount": parse_amount(total), "entries": entries}
        )
    return answer
