"""Filters of series, times and tags, as SQL conditions; nothing here runs a statement."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from exporter.backends.dialect import Dialect
from exporter.errors import QueryError
from exporter.query.sql_builder import Sql, joined, sql
from exporter.query.times import TimeRange

# How many ids a statement may list: 20 KB of text.
MAX_LISTED_SERIES: Final = 1_000

_JSON_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_COLUMNS: Final = {
    "cluster_id": sql("s.cluster_id"),
    "node_id": sql("s.node_id"),
    "service_name": sql("s.service_name"),
}


@dataclass(frozen=True, slots=True)
class SeriesFilters:
    """Conditions on a series; None and an empty mapping match every series.

    `metric_name` may have the wildcards `*` and `?`. An attribute is looked up on the point and, if
    the point lacks it, on the resource. Values are compared as text, so filters use the displayed
    form (`80`, `true`, `x`). A number also equals its other spellings (`80`, `80.0`), because some
    SDKs send every integer as a double.

    Raises:
        QueryError: a name or value has the wrong type, or is not valid Unicode.
    """

    metric_name: str | None = None
    cluster_id: str | None = None
    node_id: str | None = None
    service_name: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("metric_name", *_COLUMNS):
            if getattr(self, name) is not None:
                _require_text(getattr(self, name), f"filter {name}")
        if not isinstance(self.attributes, Mapping):
            raise QueryError(
                f"filter attributes: {self.attributes!r} is not a mapping; give names and values"
            )
        for key, value in self.attributes.items():
            _require_text(key, "filter attributes: name")
            if not isinstance(value, bool | int | float):
                _require_text(value, f"filter attributes: value of {key!r}")


def _require_text(value: object, what: str) -> None:
    if not isinstance(value, str):
        raise QueryError(f"{what}: {value!r} is not a string; give one")
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, such as from an argument that is not UTF-8
        raise QueryError(
            f"{what}: {value!r} is not valid Unicode, and no stored text is like it; "
            "give valid Unicode"
        ) from None


def series_condition(filters: SeriesFilters, dialect: Dialect) -> Sql | None:
    """The condition on `metric_series AS s`; None if every series matches."""
    conditions = []
    if filters.metric_name is not None:
        conditions.append(_name_condition(filters.metric_name, dialect))
    for name, column in _COLUMNS.items():
        value = getattr(filters, name)
        if value is not None:
            conditions.append(sql("{column} = {value}", column=column, value=value))
    for key, value in filters.attributes.items():
        conditions.append(_attribute_condition(key, value, dialect))
    return joined(" AND ", conditions) if conditions else None


def _name_condition(metric_name: str, dialect: Dialect) -> Sql:
    column = sql("s.metric_name")
    if "*" in metric_name or "?" in metric_name:
        return sql(dialect.glob, column=column, pattern=dialect.glob_pattern(metric_name))
    return sql("{column} = {name}", column=column, name=metric_name)


def tag_condition(key: str, value: object, dialect: Dialect) -> Sql:
    """The condition on `cost_entries AS m` that a tag equals a value."""
    return sql("COALESCE({tag}, FALSE)", tag=_member_equals(sql("m.tags"), key, value, dialect))


def _attribute_condition(key: str, value: object, dialect: Dialect) -> Sql:
    return sql(
        "COALESCE({point}, {resource}, FALSE)",
        point=_member_equals(sql("s.attributes"), key, value, dialect),
        resource=_member_equals(sql("s.resource"), key, value, dialect),
    )


def _member_equals(document: Sql, key: str, value: object, dialect: Dialect) -> Sql:
    text = value if isinstance(value, str) else json.dumps(value)
    return sql(
        dialect.attribute_equals,
        document=document,
        key=key,
        text=text,
        number=_number(text),
        json=_array_or_object(text),
    )


def _number(text: str) -> int | float | None:
    if not _JSON_NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit() and -(2**63) <= (whole := int(text)) < 2**63:
        return whole  # an integer stays exact, a double would not
    return float(text)


def _array_or_object(text: str) -> str | None:
    """The text if it is a JSON array or object that can be stored, else None."""
    if not text.startswith(("[", "{")):
        return None
    try:
        plain = json.dumps(json.loads(text), ensure_ascii=False, allow_nan=False)
        plain.encode()
    except (ValueError, RecursionError):
        return None
    return None if r"\u0000" in plain else plain


def time_condition(time_range: TimeRange, dialect: Dialect) -> Sql:
    """The condition on a table `m` of points or costs.

    It compares the bare column, so that the primary key can be used.
    """
    conditions = [
        sql("m.timestamp {compare} {time}", compare=compare, time=dialect.time_parameter(micros))
        for compare, micros in (
            (sql(">="), time_range.start_micros),
            (sql("<"), time_range.end_micros),
        )
        if micros is not None
    ]
    return joined(" AND ", conditions) if conditions else sql("TRUE")


def series_id_in_list(series_ids: Collection[int], dialect: Dialect) -> Sql | None:
    """The condition that a point `m` belongs to one of these series, by a list of their ids.

    With the ids in the statement, a columnstore skips the rows of other series and a B-tree is
    searched for each id; the planner does not see the ids behind a join.

    Returns:
        None if a join is as fast in this database, or if the list would be too long.
    """
    if dialect.series_id_in_list is None or len(series_ids) > MAX_LISTED_SERIES:
        return None
    return sql(dialect.series_id_in_list, series_ids=_array_literal(series_ids))


def series_id_in_subquery(condition: Sql) -> Sql:
    """The condition that a point `m` belongs to a series that matches; for any number of series.

    Args:
        condition: on `metric_series AS s`.
    """
    return sql(
        "m.series_id IN (SELECT s.series_id FROM metric_series AS s WHERE {condition})",
        condition=condition,
    )


def series_table(rows: Sequence[tuple[int, int, int]], dialect: Dialect) -> Sql:
    """A SELECT of series_id, grp and cumulative over these rows.

    The rows are one bound value: a JSON array, or three array literals. A statement can bind only
    some thousand values.
    """
    series_ids, groups, cumulatives = zip(*rows, strict=True) if rows else ((), (), ())
    return sql(
        dialect.members,
        members=json.dumps(rows),
        series_ids=_array_literal(series_ids),
        groups=_array_literal(groups),
        cumulatives=_array_literal(cumulatives),
    )


def _array_literal(numbers: Collection[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


def checked_limit(limit: object) -> int:
    """The number of rows asked for.

    Raises:
        QueryError: it is not a whole number from 0 up.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise QueryError(f"limit: {limit!r} is not usable; give a whole number from 0 up")
    return min(limit, sys.maxsize)
