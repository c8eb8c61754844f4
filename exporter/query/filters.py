"""Which series and which stretch of time a question is about, as SQL conditions."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.backends.dialect import Dialect
from exporter.errors import QueryError
from exporter.query.sql import Sql, joined, sql
from exporter.query.times import time_micros

__all__ = [
    "MAX_LISTED_SERIES",
    "Filters",
    "TimeRange",
    "among",
    "checked_limit",
    "series_condition",
    "tag_condition",
    "time_condition",
]

# So many ids are named in a statement: 20 KB of text.
MAX_LISTED_SERIES: Final = 1_000

_JSON_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_COLUMNS: Final = {
    "cluster_id": sql("s.cluster_id"),
    "node_id": sql("s.node_id"),
    "service_name": sql("s.service_name"),
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a series must be like; None asks nothing.

    `metric_name` may have the wildcards `*` and `?`. An attribute is looked for on the point
    and, where the point has none of that name, on the resource; it is compared as text, so that
    `80`, `true` and `x` are all written as they are read. A number also equals its other
    spellings (`80`, `80.0`), because some SDKs send every integer as a double.
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
    except UnicodeEncodeError:  # half a surrogate pair, such as an argument that is no UTF-8
        raise QueryError(f"{what}: {value!r} is not valid Unicode; nothing stored is") from None


def series_condition(filters: Filters, dialect: Dialect) -> Sql | None:
    """The condition on `metric_series AS s`; None if every series will do."""
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
        json=_composite(text),
    )


def _number(text: str) -> int | float | None:
    if not _JSON_NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit() and -(2**63) <= (whole := int(text)) < 2**63:
        return whole  # exact, where a double would not be
    return float(text)


def _composite(text: str) -> str | None:
    """The text if it is a JSON array or object that can be stored, else None."""
    if not text.startswith(("[", "{")):
        return None
    try:
        plain = json.dumps(json.loads(text), ensure_ascii=False, allow_nan=False)
        plain.encode()
    except (ValueError, RecursionError):
        return None
    return None if r"\u0000" in plain else plain


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Microseconds since 1970 UTC, from `start` up to but without `end`; None is unbounded."""

    start_micros: int | None
    end_micros: int | None

    @classmethod
    def of(cls, start_time: object, end_time: object) -> TimeRange:
        """From epoch seconds or datetimes.

        Raises:
            QueryError: one of them is no time, or the start lies after the end.
        """
        start = None if start_time is None else time_micros(start_time, "start_time")
        end = None if end_time is None else time_micros(end_time, "end_time")
        if start is not None and end is not None and start > end:
            raise QueryError(
                f"start_time {start_time!r} lies after end_time {end_time!r}; exchange them"
            )
        return cls(start, end)


def time_condition(time_range: TimeRange, dialect: Dialect) -> Sql:
    """The condition on a point table `m`, on the bare column so that its key is used."""
    conditions = [
        sql("m.timestamp {compare} {time}", compare=compare, time=dialect.time_parameter(micros))
        for compare, micros in (
            (sql(">="), time_range.start_micros),
            (sql("<"), time_range.end_micros),
        )
        if micros is not None
    ]
    return joined(" AND ", conditions) if conditions else sql("TRUE")


def among(series_ids: Collection[int], dialect: Dialect) -> Sql | None:
    """The condition that a point `m` is of one of these series, where naming them helps.

    A columnstore skips what is of other series only if the statement names the ids, and a btree
    is entered with them; a join shows the planner none. Of very many it makes long statements.
    """
    if dialect.series_id_in_list is None or len(series_ids) > MAX_LISTED_SERIES:
        return None
    return sql(dialect.series_id_in_list, series_ids=f"{{{','.join(map(str, series_ids))}}}")


def checked_limit(limit: object) -> int:
    """How many rows are asked for.

    Raises:
        QueryError: that is no whole number from 0 up.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise QueryError(f"limit: {limit!r} is not usable; give a whole number from 0 up")
    return min(limit, sys.maxsize)
