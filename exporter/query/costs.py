"""Cost entries as they are stored, and their sums by bucket of time, currency and group."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, Final, cast

from exporter.backends.dialect import Dialect
from exporter.backends.hypertable_catalog import HypertableCatalog
from exporter.costs.entry_calculation import EXACT
from exporter.errors import QueryError
from exporter.query.filters import SeriesFilters, tag_condition, time_condition
from exporter.query.rollup_planner import RollupPlan, plan_rollup
from exporter.query.rows import CostReportRow, CostRow, CostTotalRow
from exporter.query.sql_builder import Sql, bucket_start_micros, joined, sql, time_bucket
from exporter.query.times import TimeRange
from exporter.time_units import MICROSECONDS_PER_SECOND

_Row = tuple[Any, ...]

COST_GROUPS: Final = (
    "category",
    "resource_id",
    "currency",
    "region",
    "cluster_id",
    "node_id",
    "service_name",
    "billing_period",
    "source",
    "source_name",
)
"""The columns that entries can be filtered and grouped by; any other name is that of a tag."""
REPORT_GROUPS: Final = ("category", "resource_id")
"""What `report_statement` adds up by, besides buckets of time."""
_COLUMNS: Final = {name: sql(f"m.{name}") for name in COST_GROUPS}
# A roll-up has these. Names of metrics would be a second copy of what category and source say.
_ROLLUP_COLUMNS: Final = frozenset(COST_GROUPS) - {"source_name"}
# What one is in each integer of an amount of SQLite, in attos, from the last to the first:
# `Dialect.cost_amount` has three of them, `cost_total` all.
_ATTOS: Final = (1, 10**9, 10**18, 2**32 * 10**18)


@dataclass(frozen=True, slots=True)
class CostFilters:
    """Conditions on a cost entry; None and empty mappings match every entry.

    Attributes:
        columns: the values of columns of `COST_GROUPS`.
        tags: the values of tags; compared as text, numbers also by value.

    Raises:
        QueryError: there is no such column, or a value has the wrong type.
    """

    columns: Mapping[str, str | None] = field(default_factory=dict)
    tags: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        SeriesFilters(attributes=self.tags)  # its checks
        for name, value in self.columns.items():
            if name not in _COLUMNS:
                known = ", ".join(_COLUMNS)
                raise QueryError(f"filter {name}: cost entries have no such column; use {known}")
            if value is not None and not isinstance(value, str):
                raise QueryError(f"filter {name}: {value!r} is not a string; give one")

    def condition(self, time_range: TimeRange, dialect: Dialect) -> Sql:
        """On `cost_entries AS m` or, without tags, on a roll-up of them."""
        conditions = [time_condition(time_range, dialect)]
        for name, value in self.columns.items():
            if value is not None:
                conditions.append(sql("{column} = {value}", column=_COLUMNS[name], value=value))
        for key, wanted in self.tags.items():
            conditions.append(tag_condition(key, wanted, dialect))
        return joined(" AND ", conditions)

    def on_entries(self, time_range: TimeRange, dialect: Dialect) -> Sql:
        """On `cost_entries AS m`, without the entries of points that cost nothing."""
        condition = self.condition(time_range, dialect)
        return sql("(m.series_id IS NULL OR m.amount <> 0) AND {all}", all=condition)


def cost_columns(dialect: Dialect) -> Sql:
    """Columns of an entry `m`, in the order of `CostEntry`; `parse_amount` reads the amount.

    Times are microseconds since 1970; an unknown start of the period is NULL.
    """
    return sql(
        """
        m.entry_id, {micros}, m.resource_id, m.category, {amount}, m.currency, m.region,
        m.cluster_id, m.node_id, m.service_name, m.tags, m.description, m.billing_period,
        m.source, m.source_name, {period_start}, {period_end}""",
        micros=sql(dialect.micros, time=sql("m.timestamp")),
        period_start=sql(dialect.micros, time=sql("m.period_start")),
        period_end=sql(dialect.micros, time=sql("m.period_end")),
        amount=sql(dialect.cost_amount),
    )


def costs_statement(
    filters: CostFilters, time_range: TimeRange, limit: int, dialect: Dialect
) -> Sql:
    """`cost_columns` of single entries, newest first."""
    return sql(
        """
        SELECT {columns}
        FROM cost_entries AS m
        WHERE {condition}
        ORDER BY m.timestamp DESC, m.entry_id
        LIMIT {limit}""",
        columns=cost_columns(dialect),
        condition=filters.on_entries(time_range, dialect),
        limit=limit,
    )


def cost_rows(answer: Iterable[_Row]) -> list[CostRow]:
    """The answer to `costs_statement` as dicts."""
    parse: Callable[[str], dict[str, Any]] = cache(json.loads)  # many entries share a few texts
    return [
        {
            "entry_id": entry_id,
            "timestamp": micros / MICROSECONDS_PER_SECOND,
            "resource_id": resource_id,
            "category": category,
            "amount": float(exact := parse_amount(amount)),
            "amount_exact": format(exact, "f"),
            "currency": currency,
            "region": region,
            "cluster_id": cluster_id,
            "node_id": node_id,
            "service_name": service_name,
            "tags": parse(tags).copy(),
            "description": description,
            "billing_period": billing_period,
            "source": source,
            "source_name": source_name,
            "period_start": None if start is None else start / MICROSECONDS_PER_SECOND,
            "period_end": end / MICROSECONDS_PER_SECOND,
        }
        for (
            entry_id,
            micros,
            resource_id,
            category,
            amount,
            currency,
            region,
            cluster_id,
            node_id,
            service_name,
            tags,
            description,
            billing_period,
            source,
            source_name,
            start,
            end,
        ) in answer
    ]


def parse_amount(text: str) -> Decimal:
    """The exact amount from what `Dialect.cost_amount` or `cost_total` selects.

    It has no trailing zeros after the decimal point, so that all databases give the same digits.
    """
    numbers = text.split()
    if len(numbers) > 1:
        parts = zip(reversed(numbers), _ATTOS, strict=False)
        attos = sum(int(number) * unit for number, unit in parts)
        text = format(Decimal(attos).scaleb(-18, EXACT), "f")
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def cost_total(dialect: Dialect, sums: Iterable[str] | None = None) -> Sql:
    """The exact sum of the amounts of a group of entries `m`, as a text for `parse_amount`.

    Args:
        dialect: of the database.
        sums: the sums of `Dialect.cost_parts`, if they are computed already.
    """
    if sums is None:
        sums = (f"sum({part})" for part, _ in dialect.cost_parts)
    return Sql((" || ' ' || ".join(f"CAST({one} AS TEXT)" for one in sums),))


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """The sum with all of its digits; `sum` would round it to 28."""
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


@dataclass(frozen=True, slots=True)
class CostTotalsQuery:
    """Which entries are added up, and how they are grouped.

    Attributes:
        filters: of the entries.
        time_range: of the entries.
        groups: columns of `COST_GROUPS`, or tags. Never the currency, which always is a group:
            amounts of two currencies are not added.
        bucket_micros: width of a bucket; None: the whole range is one.
        limit: the maximum number of rows; None for all.
    """

    filters: CostFilters
    time_range: TimeRange
    groups: tuple[str, ...] = ()
    bucket_micros: int | None = None
    limit: int | None = None


def cost_group_names(names: Sequence[str]) -> tuple[str, ...]:
    """The distinct names to group by, without the currency.

    Raises:
        QueryError: they are not a list of non-empty strings.
    """
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise QueryError(f"group_by: {names!r} is not a list of names; give columns or tags")
    return tuple(dict.fromkeys(name for name in names if name != "currency"))


def plan_cost_rollup(
    query: CostTotalsQuery, catalog: HypertableCatalog | None
) -> RollupPlan | None:
    """The roll-up to read; None if the entries have to be read, as for tags."""
    filtered = {name for name, value in query.filters.columns.items() if value is not None}
    if query.filters.tags or not filtered.union(query.groups) <= _ROLLUP_COLUMNS:
        return None
    return plan_rollup(catalog, "cost_entries", query.time_range, query.bucket_micros)


def totals_statement(
    query: CostTotalsQuery, dialect: Dialect, plan: RollupPlan | None = None
) -> Sql:
    """One row for each bucket, currency and group: newest bucket first, then largest amount.

    Args:
        query: what to add up.
        dialect: of the database.
        plan: the roll-up that answers a part of the range, from `plan_cost_rollup`.
    """
    with_parts, rows = _source(query, dialect, plan)
    entries = sql("count(*)" if plan is None else "CAST(sum(m.entries) AS BIGINT)")
    bucket, start = _bucket(query, dialect)
    columns = [sql("m.currency"), *(_group_column(name, dialect) for name in query.groups)]
    column_numbers = "".join(f", {at + 2}" for at in range(len(columns)))
    return sql(
        """
        {with_parts}
        SELECT {start}, {columns}, {total}, {entries}
        FROM {rows}
        GROUP BY {bucket}{column_numbers}
        ORDER BY 1 DESC, 2, sum(m.amount) DESC{column_numbers}
        {limit}""",
        with_parts=sql("") if with_parts is None else sql("WITH {parts}", parts=with_parts),
        start=start,
        bucket=bucket,
        columns=joined(", ", columns),
        total=cost_total(dialect),
        entries=entries,
        rows=rows,
        column_numbers=Sql((column_numbers,)),
        limit=sql("") if query.limit is None else sql("LIMIT {most}", most=query.limit),
    )


def report_statement(
    query: CostTotalsQuery, top: int, dialect: Dialect, plan: RollupPlan | None = None
) -> Sql:
    """The sums of each bucket, category and resource, from two passes over the entries.

    One pass for all three would make as many groups as there are entries if there are many
    resources. Entries that cost nothing are not left out one by one, which would take as long as
    adding up: a group without costs is.

    Args:
        query: with a width of buckets, and the groups `REPORT_GROUPS`.
        top: the maximum number of resources of a currency; one row more is the sum of all others.
        dialect: of the database.
        plan: as in `totals_statement`.
    """
    with_parts, rows = _source(query, dialect, plan, with_zeros=True)
    bucket, start = _bucket(query, dialect, sql("g.bucket"))
    sums = [f"s{at}" for at in range(len(dialect.cost_parts))]
    value = " + ".join(
        f"{one} * {unit}" for one, (_, unit) in zip(sums, dialect.cost_parts, strict=True)
    )
    return sql(
        """
        WITH {with_parts}
        g AS (
            SELECT m.currency AS currency, m.category AS category, {bucket} AS bucket, {sums}
            FROM {rows}
            GROUP BY m.category, m.currency, {bucket}
            HAVING {is_cost}
        ),
        resources AS (
            SELECT m.currency AS currency, m.resource_id AS resource_id, {sums}
            FROM {rows}
            GROUP BY m.resource_id, m.currency
            HAVING {is_cost}
        ),
        ranked AS (
            SELECT r.*, row_number() OVER (
                PARTITION BY currency ORDER BY {value} DESC, resource_id) AS place
            FROM resources AS r
        )
        SELECT 'bucket', currency, {start}, CAST('' AS TEXT), {total}, 1
        FROM g GROUP BY currency, bucket
        UNION ALL
        SELECT 'category', currency, 0, category, {total}, 1
        FROM g GROUP BY currency, category
        UNION ALL
        SELECT 'resource_id', currency, CASE WHEN place > {top} THEN {top} + 1 ELSE place END,
            min(resource_id), {total}, CAST(count(*) AS INTEGER)
        FROM ranked GROUP BY 2, 3""",
        with_parts=sql("") if with_parts is None else sql("{parts},", parts=with_parts),
        bucket=bucket,
        start=start,
        rows=rows,
        sums=Sql(
            (
                ", ".join(
                    f"sum({part}) AS {one}"
                    for one, (part, _) in zip(sums, dialect.cost_parts, strict=True)
                ),
            )
        ),
        is_cost=Sql((" OR ".join(f"sum({part}) <> 0" for part, _ in dialect.cost_parts),)),
        value=Sql((value,)),
        total=cost_total(dialect, [f"sum({one})" for one in sums]),
        top=Sql((str(top),)),
    )


def _source(
    query: CostTotalsQuery,
    dialect: Dialect,
    plan: RollupPlan | None,
    *,
    with_zeros: bool = False,
) -> tuple[Sql | None, Sql]:
    """The tables of a WITH clause, and the rest of FROM: entries `m`, or rows of a roll-up.

    Args:
        query: which entries.
        dialect: of the database.
        plan: the roll-up to read.
        with_zeros: also entries of points that cost nothing.
    """
    if plan is not None:
        return _parts(query, plan, dialect), sql("parts AS m")
    condition = query.filters.condition if with_zeros else query.filters.on_entries
    condition_sql = condition(query.time_range, dialect)
    return None, sql("cost_entries AS m WHERE {condition}", condition=condition_sql)


def _bucket(
    query: CostTotalsQuery, dialect: Dialect, computed: Sql | None = None
) -> tuple[Sql, Sql]:
    """The bucket of an entry `m`, and its start in microseconds.

    Args:
        query: with the width.
        dialect: of the database.
        computed: the bucket from which the start is computed, if it has a name.
    """
    if query.bucket_micros is None:
        # A bare number in GROUP BY would be the index of a column.
        constant = sql("CAST(0 AS BIGINT)")
        return constant, constant
    bucket = time_bucket(sql("m.timestamp"), query.bucket_micros, dialect)
    return bucket, bucket_start_micros(computed or bucket, query.bucket_micros, dialect)


def _group_column(name: str, dialect: Dialect) -> Sql:
    """A column of an entry `m`, or a tag."""
    return _COLUMNS.get(name) or sql(dialect.json_member, document=sql("m.tags"), key=name)


def _parts(query: CostTotalsQuery, plan: RollupPlan, dialect: Dialect) -> Sql:
    """`RollupPlan.parts` with the groups, amount and entries, of the roll-up and of entries."""
    names = ", ".join(f"m.{name}" for name in dict.fromkeys(["currency", *query.groups]))

    def select(table: str, entries: str, condition: Sql, also: Sql) -> Sql:
        return sql(
            "SELECT m.timestamp, {names}, m.amount, {entries} FROM {table} AS m "
            "WHERE {condition} AND {also}",
            names=Sql((names,)),
            entries=Sql((entries,)),
            table=Sql((table,)),
            condition=condition,
            also=also,
        )

    def select_rollup(view: str, part: TimeRange, also: Sql) -> Sql:
        return select(view, "m.entries", query.filters.condition(part, dialect), also)

    def select_entries(part: TimeRange, also: Sql) -> Sql:
        condition = query.filters.on_entries(part, dialect)
        return select("cost_entries", "1 AS entries", condition, also)

    return plan.parts(query.time_range, select_rollup, select_entries)


def total_rows(query: CostTotalsQuery, answer: Iterable[_Row]) -> list[CostTotalRow]:
    """The answer to `totals_statement` as dicts; amounts are exact."""
    rows = []
    for start, currency, *groups, total, entries in answer:
        row: dict[str, Any] = {}
        if query.bucket_micros is not None:
            row["timestamp"] = start / MICROSECONDS_PER_SECOND
        row |= zip(query.groups, groups, strict=True)
        rows.append(row | {"currency": currency, "amount": parse_amount(total), "entries": entries})
    return cast(list[CostTotalRow], rows)


def report_rows(answer: Iterable[_Row]) -> list[CostReportRow]:
    """The answer to `report_statement` as dicts."""
    return [
        {
            "part": part,
            "currency": currency,
            "timestamp": place / MICROSECONDS_PER_SECOND if part == "bucket" else None,
            "name": name,
            "amount": parse_amount(total),
            "groups": groups,
        }
        for part, currency, place, name, total, groups in sorted(answer)
    ]
