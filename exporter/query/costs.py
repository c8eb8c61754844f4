"""Cost entries and what they add up to, in the database; amounts of two currencies never meet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.errors import QueryError
from exporter.query.selection import Filters, TimeRange, tag_condition, within
from exporter.query.sql import Sql, joined, sql

__all__ = [
    "COST_GROUPS",
    "CostFilters",
    "TotalsQuestion",
    "cost_columns",
    "cost_groups",
    "cost_rows",
    "costs_statement",
    "exact_amount",
    "total_rows",
    "totals_statement",
]

_Row = tuple[Any, ...]

_TEXTS: Final = {
    "category": sql("m.category"),
    "resource_id": sql("m.resource_id"),
    "currency": sql("m.currency"),
    "region": sql("m.region"),
    "cluster_id": sql("m.cluster_id"),
    "node_id": sql("m.node_id"),
    "service_name": sql("m.service_name"),
    "billing_period": sql("m.billing_period"),
    "source": sql("m.source"),
}
# What can be grouped by; any other name is a tag's.
COST_GROUPS: Final = tuple(_TEXTS)
_NANOS: Final = 9


@dataclass(frozen=True, slots=True)
class CostFilters:
    """What an entry must be like; None asks nothing.

    Attributes:
        texts: what columns of `COST_GROUPS` must equal.
        tags: what tags must equal; compared as text, numbers also by value.
    """

    texts: Mapping[str, str | None] = field(default_factory=dict)
    tags: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Filters(attributes=self.tags)  # its checks
        for name, value in self.texts.items():
            if name not in _TEXTS:
                known = ", ".join(_TEXTS)
                raise QueryError(f"filter {name}: cost entries have no such column; use {known}")
            if value is not None and not isinstance(value, str):
                raise QueryError(f"filter {name}: {value!r} is not a string; give one")

    def condition(self, time_range: TimeRange, dialect: Dialect) -> Sql:
        """On `cost_entries AS m`; without those of points that came to nothing."""
        conditions = [within(time_range, dialect), sql("(m.series_id IS NULL OR m.amount <> 0)")]
        for name, value in self.texts.items():
            if value is not None:
                conditions.append(sql("{column} = {value}", column=_TEXTS[name], value=value))
        for key, wanted in self.tags.items():
            conditions.append(tag_condition(key, wanted, dialect))
        return joined(" AND ", conditions)


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


def cost_groups(names: Sequence[str]) -> tuple[str, ...]:
    """The names to group by, each once and without the currency.

    Raises:
        QueryError: one text where a list should be, or something else than texts.
    """
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise QueryError(f"group_by: {names!r} is not a list of names; give columns or tags")
    return tuple(dict.fromkeys(name for name in names if name != "currency"))


def cost_columns(dialect: Dialect) -> Sql:
    """All of an entry `m`, in the order of `CostEntry`; `exact_amount` reads the amount."""
    return sql(
        """
        m.entry_id, {micros}, m.resource_id, m.category, {amount}, m.currency, m.region,
        m.cluster_id, m.node_id, m.service_name, m.tags, m.description, m.billing_period,
        m.source""",
        micros=_micros(dialect),
        amount=sql(dialect.cost_amount),
    )


def costs_statement(
    filters: CostFilters, time_range: TimeRange, limit: int, dialect: Dialect
) -> Sql:
    """Single entries, newest first."""
    return sql(
        """
        SELECT {columns}
        FROM cost_entries AS m
        WHERE {condition}
        ORDER BY m.timestamp DESC, m.entry_id
        LIMIT {limit}""",
        columns=cost_columns(dialect),
        condition=filters.condition(time_range, dialect),
        limit=limit,
    )


def cost_rows(rows: Iterable[_Row]) -> list[dict[str, Any]]:
    """Plain dicts, in the order of the rows; amounts are the nearest doubles."""
    return [
        {
            "entry_id": entry_id,
            "timestamp": micros / 1_000_000,
            "resource_id": resource_id,
            "category": category,
            "amount": float(exact_amount(amount)),
            "currency": currency,
            "region": region,
            "cluster_id": cluster_id,
            "node_id": node_id,
            "service_name": service_name,
            "tags": json.loads(tags),
            "description": description,
            "billing_period": billing_period,
            "source": source,
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
        ) in rows
    ]


def totals_statement(question: TotalsQuestion, dialect: Dialect) -> Sql:
    """One row for each bucket, currency and group: newest bucket first, then the dearest."""
    columns = [_bucket(question, dialect), sql("m.currency")]
    columns += [_group(name, dialect) for name in question.groups]
    places = ", ".join(map(str, range(1, len(columns) + 1)))
    limited = sql("") if question.limit is None else sql("LIMIT {most}", most=question.limit)
    return sql(
        """
        SELECT {columns}, {total}, count(*)
        FROM cost_entries AS m
        WHERE {condition}
        GROUP BY {places}
        ORDER BY 1 DESC, 2, sum(m.amount) DESC, {places}
        {limited}""",
        columns=joined(", ", columns),
        total=sql(dialect.cost_total),
        condition=question.filters.condition(question.time_range, dialect),
        places=Sql((places,)),
        limited=limited,
    )


def total_rows(question: TotalsQuestion, rows: Iterable[_Row]) -> list[dict[str, Any]]:
    """Plain dicts, in the order of the rows; amounts are exact."""
    answer = []
    for bucket, currency, *groups, total, entries in rows:
        row: dict[str, Any] = {}
        if question.bucket_micros is not None:
            row["timestamp"] = bucket / 1_000_000
        row |= zip(question.groups, groups, strict=True)
        answer.append(
            row | {"currency": currency, "amount": exact_amount(total), "entries": entries}
        )
    return answer


def _bucket(question: TotalsQuestion, dialect: Dialect) -> Sql:
    # A constant, too, must be something to group by: a bare number would be the place of a column.
    if question.bucket_micros is None:
        return sql("CAST(0 AS BIGINT)")
    width = Sql((str(question.bucket_micros),))
    return sql("{micros} / {width} * {width}", micros=_micros(dialect), width=width)


def _group(name: str, dialect: Dialect) -> Sql:
    if name in _TEXTS:
        return _TEXTS[name]
    return sql(dialect.member_text, document=sql("m.tags"), key=name)


def _micros(dialect: Dialect) -> Sql:
    return sql(dialect.micros, time=sql("m.timestamp"))


def exact_amount(text: str) -> Decimal:
    """The amount that `Dialect.cost_amount` or `cost_total` wrote.

    From what a dialect writes: a number, or units and nanos.
    """
    units, _, nanos = str(text).partition(" ")
    return Decimal(units) + (Decimal(nanos).scaleb(-_NANOS) if nanos else 0)
