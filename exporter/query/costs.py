"""Cost entries as they are stored, and what chooses them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.errors import QueryError
from exporter.query.filters import Filters, TimeRange, tag_condition, time_condition
from exporter.query.sql import Sql, joined, sql

__all__ = [
    "COST_GROUPS",
    "CostFilters",
    "cost_columns",
    "cost_groups",
    "cost_rows",
    "costs_statement",
    "entry_time",
    "group_column",
    "parse_amount",
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
        """On `cost_entries AS m` or, without tags, a roll-up of them."""
        conditions = [time_condition(time_range, dialect)]
        for name, value in self.texts.items():
            if value is not None:
                conditions.append(sql("{column} = {value}", column=_TEXTS[name], value=value))
        for key, wanted in self.tags.items():
            conditions.append(tag_condition(key, wanted, dialect))
        return joined(" AND ", conditions)

    def on_entries(self, time_range: TimeRange, dialect: Dialect) -> Sql:
        """On `cost_entries AS m`; without those of points that came to nothing."""
        condition = self.condition(time_range, dialect)
        return sql("(m.series_id IS NULL OR m.amount <> 0) AND {all}", all=condition)


def cost_groups(names: Sequence[str]) -> tuple[str, ...]:
    """The names to group by, each once and without the currency.

    Raises:
        QueryError: one text where a list should be, or something else than texts.
    """
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise QueryError(f"group_by: {names!r} is not a list of names; give columns or tags")
    return tuple(dict.fromkeys(name for name in names if name != "currency"))


def cost_columns(dialect: Dialect) -> Sql:
    """All of an entry `m`, in the order of `CostEntry`; `parse_amount` reads the amount."""
    return sql(
        """
        m.entry_id, {micros}, m.resource_id, m.category, {amount}, m.currency, m.region,
        m.cluster_id, m.node_id, m.service_name, m.tags, m.description, m.billing_period,
        m.source""",
        micros=entry_time(dialect),
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
        condition=filters.on_entries(time_range, dialect),
        limit=limit,
    )


def cost_rows(rows: Iterable[_Row]) -> list[dict[str, Any]]:
    """Plain dicts, in the order of the rows; amounts are the nearest doubles."""
    parse: Callable[[str], dict[str, Any]] = cache(json.loads)  # many entries share a few texts
    return [
        {
            "entry_id": entry_id,
            "timestamp": micros / 1_000_000,
            "resource_id": resource_id,
            "category": category,
            "amount": float(parse_amount(amount)),
            "currency": currency,
            "region": region,
            "cluster_id": cluster_id,
            "node_id": node_id,
            "service_name": service_name,
            "tags": parse(tags).copy(),
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


def parse_amount(text: str) -> Decimal:
    """The amount that `Dialect.cost_amount` or `cost_total` wrote.

    From what a dialect writes: a number, or units and nanos.
    """
    units, _, nanos = str(text).partition(" ")
    return Decimal(units) + (Decimal(nanos).scaleb(-_NANOS) if nanos else 0)


def entry_time(dialect: Dialect) -> Sql:
    """Microseconds since 1970 of an entry `m`."""
    return sql(dialect.micros, time=sql("m.timestamp"))


def group_column(name: str, dialect: Dialect) -> Sql:
    """A column of an entry `m`, or a tag."""
    if name in _TEXTS:
        return _TEXTS[name]
    return sql(dialect.json_member, document=sql("m.tags"), key=name)
