"""Which series an aggregate takes, and which of them go into one line of its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.errors import QueryError
from exporter.query.catalog import nearest
from exporter.query.sql import Sql, sql

__all__ = [
    "GROUP_COLUMNS",
    "Chosen",
    "Group",
    "Member",
    "choose",
    "group_names",
    "members_statement",
]

_Parse = Callable[[str], dict[str, Any]]

GROUP_COLUMNS: Final = ("metric_name", "cluster_id", "node_id", "service_name")


@dataclass(frozen=True, slots=True)
class Group:
    """One line of an answer for each bucket of time; values of attributes are JSON.

    Series of different name, type or unit never meet in one group, asked for or not: their
    values cannot be added.
    """

    metric_name: str
    metric_type: str
    unit: str
    columns: tuple[tuple[str, str | None], ...]
    attributes: tuple[tuple[str, str], ...]

    def labels(self) -> dict[str, Any]:
        """What was grouped by: the columns by name, and `attributes`."""
        values = {name: json.loads(value) for name, value in self.attributes}
        return {**dict(self.columns), "attributes": values}


@dataclass(frozen=True, slots=True)
class Member:
    """A chosen series, and the place of its group in the list of groups."""

    series_id: int
    metric_name: str
    metric_type: str
    temporality: str | None
    is_monotonic: bool | None
    group: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """The series of an aggregate; groups are in the order of the answer."""

    groups: tuple[Group, ...]
    members: tuple[Member, ...]

    def of_type(self, *metric_types: str) -> Chosen:
        """The members of these types; groups keep their places."""
        kept = tuple(member for member in self.members if member.metric_type in metric_types)
        return Chosen(self.groups, kept)

    def table(self, dialect: Dialect) -> Sql:
        """A SELECT of series_id, grp and cumulative.

        The list travels as one JSON value, or as three array literals, because a statement has
        room for some thousand bound values only. What is not delta counts as cumulative,
        summaries included: Prometheus clients, which they come from, send running totals.
        """
        rows = [
            (member.series_id, member.group, int(member.temporality != "delta"))
            for member in self.members
        ]
        columns = list(zip(*rows, strict=True)) or [()] * 3
        series_ids, groups, cumulatives = (f"{{{','.join(map(str, one))}}}" for one in columns)
        return sql(
            dialect.members,
            members=json.dumps(rows),
            series_ids=series_ids,
            groups=groups,
            cumulatives=cumulatives,
        )


def group_names(group_by: object) -> tuple[str, ...]:
    """The names to group by, each once; a single string is one name.

    Raises:
        QueryError: they are no strings.
    """
    names = (group_by,) if isinstance(group_by, str) else group_by
    if not isinstance(names, Iterable):
        raise QueryError(f"group_by: {group_by!r} is not usable; give a list of names")
    names = tuple(dict.fromkeys(names))
    for name in names:
        if not isinstance(name, str):
            raise QueryError(f"group_by: {name!r} is not a string; give names of attributes")
    return names


def members_statement(series: Sql | None) -> Sql:
    """The definitions of the series that an aggregate takes.

    Args:
        series: the condition on `metric_series AS s`, None for all of them.
    """
    return sql(
        """
        SELECT s.series_id, s.metric_name, s.metric_type, s.unit, s.temporality, s.is_monotonic,
               s.cluster_id, s.node_id, s.service_name, s.attributes, s.resource
        FROM metric_series AS s
        WHERE {series}
        """,
        series=sql("TRUE") if series is None else series,
    )


def choose(answer: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Chosen:
    """Groups and members out of the answer to `members_statement`.

    Args:
        answer: one row a series.
        names: what to group by: names of `GROUP_COLUMNS`, else of attributes, of the point or,
            where it has none of that name, of the resource.

    Raises:
        QueryError: no series has an attribute of such a name.
    """
    keys = [name for name in names if name not in GROUP_COLUMNS]
    parse: _Parse = cache(json.loads)  # thousands of series share a few resources
    _require_known(keys, answer, parse)
    groups_of_rows = [_group(row, names, keys, parse) for row in answer]
    groups = sorted(set(groups_of_rows), key=_order)
    places = {group: place for place, group in enumerate(groups)}
    members = [
        Member(
            series_id=row[0],
            metric_name=row[1],
            metric_type=row[2],
            temporality=row[4],
            is_monotonic=None if row[5] is None else bool(row[5]),
            group=places[group],
        )
        for row, group in zip(answer, groups_of_rows, strict=True)
    ]
    return Chosen(tuple(groups), tuple(members))


def _require_known(keys: Sequence[str], answer: Sequence[tuple[Any, ...]], parse: _Parse) -> None:
    if not keys or not answer:
        return
    known = {key for row in answer for text in row[-2:] for key in parse(text)}
    for key in keys:
        if key not in known:
            likely = nearest(key, sorted(known)) or sorted(known)[:10]
            raise QueryError(
                f"group_by: none of the {len(answer)} chosen series has an attribute {key!r}; "
                f"group by {', '.join(GROUP_COLUMNS)} or an attribute such as {', '.join(likely)}"
            )


def _group(row: tuple[Any, ...], names: Sequence[str], keys: Sequence[str], parse: _Parse) -> Group:
    name, metric_type, unit = row[1:4]
    columns = dict(zip(GROUP_COLUMNS, (name, *row[6:9]), strict=True))
    attributes = {**parse(row[10]), **parse(row[9])} if keys else {}
    return Group(
        name,
        metric_type,
        unit,
        tuple((key, columns[key]) for key in names if key in columns and key != "metric_name"),
        tuple((key, json.dumps(attributes.get(key), sort_keys=True)) for key in keys),
    )


def _order(group: Group) -> tuple[object, ...]:
    columns = tuple(value or "" for _, value in group.columns)
    return (group.metric_name, columns, group.attributes, group.metric_type, group.unit)
