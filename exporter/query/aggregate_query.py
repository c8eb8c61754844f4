"""What an aggregate is computed from: selected series in groups, time range, buckets and limit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.errors import QueryError
from exporter.query.catalog import is_monotonic, similar_names
from exporter.query.filters import series_id_in_list, series_table, time_condition
from exporter.query.sql_builder import Sql, bucket_start_micros, sql, time_bucket
from exporter.query.times import TimeRange

_Parse = Callable[[str], dict[str, Any]]

_GROUP_COLUMNS: Final = ("metric_name", "cluster_id", "node_id", "service_name")
_MAX_LISTED_ATTRIBUTES: Final = 10
# How long before the range a counter's previous value is searched: ten of the SDKs' default export
# intervals of 60 s.
_LOOK_BACK_MICROS: Final = 600_000_000


@dataclass(frozen=True, slots=True)
class SeriesGroup:
    """Series that give one row per bucket of time; the values of attributes are JSON.

    Series of different name, type or unit are always in different groups, because their values
    cannot be added.
    """

    metric_name: str
    metric_type: str
    unit: str
    columns: tuple[tuple[str, str | None], ...]
    attributes: tuple[tuple[str, str], ...]

    def labels(self) -> dict[str, Any]:
        """The columns grouped by, and the attributes grouped by under `attributes`."""
        values = {name: json.loads(value) for name, value in self.attributes}
        return {**dict(self.columns), "attributes": values}


@dataclass(frozen=True, slots=True)
class SelectedSeries:
    """A selected series; `group` is the index of its group."""

    series_id: int
    metric_name: str
    metric_type: str
    temporality: str | None
    is_monotonic: bool | None
    group: int


@dataclass(frozen=True, slots=True)
class SeriesSelection:
    """The series of an aggregate, and their groups in the order of the answer."""

    groups: tuple[SeriesGroup, ...]
    series: tuple[SelectedSeries, ...]

    def of_type(self, *metric_types: str) -> SeriesSelection:
        """The series of these types; groups keep their indexes."""
        kept = tuple(one for one in self.series if one.metric_type in metric_types)
        return SeriesSelection(self.groups, kept)


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """The parameters of an aggregate, and the pieces of SQL that its statements share.

    Attributes:
        selection: series and groups.
        time_range: of the points.
        bucket_micros: width of a bucket; buckets begin at multiples of it since 1970. None: the
            whole range is one.
        origin_micros: the start of the bucket if the whole range is one.
        limit: the maximum number of rows; None for all.
        dialect: of the database.
    """

    selection: SeriesSelection
    time_range: TimeRange
    bucket_micros: int | None
    origin_micros: int
    limit: int | None
    dialect: Dialect

    def of_type(self, *metric_types: str) -> AggregateQuery:
        """The same query for the series of these types only."""
        return replace(self, selection=self.selection.of_type(*metric_types))

    @property
    def look_back_range(self) -> TimeRange:
        """The range, extended back to where the previous values of counters are searched."""
        start = self.time_range.start_micros
        earlier = None if start is None else start - _LOOK_BACK_MICROS
        return TimeRange(earlier, self.time_range.end_micros)

    def selected_table(self) -> Sql:
        """The first table of a WITH clause: selected (series_id, grp, cumulative).

        Every temporality but delta counts as cumulative. That includes summaries, which have none:
        they come from Prometheus clients, which send running totals.
        """
        rows = [
            (one.series_id, one.group, int(one.temporality != "delta"))
            for one in self.selection.series
        ]
        # MATERIALIZED, because a list that is evaluated again for each point takes minutes.
        return sql("selected AS MATERIALIZED ({table})", table=series_table(rows, self.dialect))

    def points(self, table: str, time_range: TimeRange) -> Sql:
        """FROM and WHERE: the points `m` of the selected series `c` in a range.

        The range is read along the primary key (timestamp, series_id), and the series of each
        point is looked up in an index that SQLite makes of the list. A million points in the range
        take 0.11 s if 20 of a thousand series are selected, 0.63 s if all are. Plan:

            SEARCH m USING PRIMARY KEY (timestamp>? AND timestamp<?)
            SEARCH c USING AUTOMATIC COVERING INDEX (series_id=?)
        """
        condition = time_condition(time_range, self.dialect)
        series_ids = [one.series_id for one in self.selection.series]
        listed = series_id_in_list(series_ids, self.dialect)
        if listed is not None:
            condition = sql("{time} AND {listed}", time=condition, listed=listed)
        return sql(
            """
            FROM {table} AS m
            {ordered_join} selected AS c ON c.series_id = m.series_id
            WHERE {condition}
            """,
            table=Sql((table,)),
            ordered_join=Sql((self.dialect.ordered_join,)),
            condition=condition,
        )

    def bucket(self, time_micros: Sql) -> Sql:
        """The start of the bucket of a time in microseconds."""
        if self.bucket_micros is None:
            return sql("CAST({origin} AS BIGINT)", origin=self.origin_micros)
        return sql("({time} / {width}) * {width}", time=time_micros, width=self.bucket_micros)

    def stored_bucket(self, column: Sql) -> Sql:
        """The bucket of a stored time, to group by; cheaper for each row than `bucket`."""
        if self.bucket_micros is None:
            return self.bucket(column)
        return time_bucket(column, self.bucket_micros, self.dialect)

    def stored_bucket_start(self, bucket: Sql) -> Sql:
        """The start of a `stored_bucket` in microseconds."""
        if self.bucket_micros is None:
            return bucket
        return bucket_start_micros(bucket, self.bucket_micros, self.dialect)

    def micros(self, column: Sql) -> Sql:
        """A stored time in microseconds."""
        return sql(self.dialect.micros, time=column)

    def number(self, column: Sql) -> Sql:
        """A stored measurement, NULL for a NaN."""
        return sql(self.dialect.number, value=column)

    def order_and_limit(self) -> Sql:
        """ORDER BY and LIMIT of the answer: newest bucket first."""
        order = sql("ORDER BY bucket DESC, grp")
        if self.limit is None:
            return order
        return sql("{order} LIMIT {limit}", order=order, limit=self.limit)


def group_names(group_by: object) -> tuple[str, ...]:
    """The distinct names to group by; a single string is one name.

    Raises:
        QueryError: one of them is not a string.
    """
    names = (group_by,) if isinstance(group_by, str) else group_by
    if not isinstance(names, Iterable):
        raise QueryError(f"group_by: {group_by!r} is not usable; give a list of names")
    names = tuple(dict.fromkeys(names))
    for name in names:
        if not isinstance(name, str):
            raise QueryError(f"group_by: {name!r} is not a string; give names of attributes")
    return names


def select_series(definitions: Sequence[tuple[Any, ...]], names: Sequence[str]) -> SeriesSelection:
    """Group series by the values of some names.

    Args:
        definitions: `DEFINITION_COLUMNS` of each series.
        names: what to group by: metric_name, cluster_id, node_id, service_name, or an attribute of
            the point or, if the point lacks it, of the resource.

    Raises:
        QueryError: no series has an attribute of such a name.
    """
    keys = [name for name in names if name not in _GROUP_COLUMNS]
    parse: _Parse = cache(json.loads)  # thousands of series share a few resources
    _require_known_attributes(keys, definitions, parse)
    groups_of_rows = [_group_of(row, names, keys, parse) for row in definitions]
    groups = sorted(set(groups_of_rows), key=_sort_key)
    index_of_group = {group: index for index, group in enumerate(groups)}
    series = [
        SelectedSeries(
            series_id=row[0],
            metric_name=row[1],
            metric_type=row[2],
            temporality=row[4],
            is_monotonic=is_monotonic(row[5]),
            group=index_of_group[group],
        )
        for row, group in zip(definitions, groups_of_rows, strict=True)
    ]
    return SeriesSelection(tuple(groups), tuple(series))


def _require_known_attributes(
    keys: Sequence[str], definitions: Sequence[tuple[Any, ...]], parse: _Parse
) -> None:
    if not keys or not definitions:
        return
    known = {key for row in definitions for text in row[-2:] for key in parse(text)}
    for key in keys:
        if key not in known:
            likely = similar_names(key, sorted(known)) or sorted(known)[:_MAX_LISTED_ATTRIBUTES]
            raise QueryError(
                f"group_by: none of the {len(definitions)} selected series has an attribute "
                f"{key!r}; group by {', '.join(_GROUP_COLUMNS)} or an attribute such as "
                f"{', '.join(likely)}"
            )


def _group_of(
    row: tuple[Any, ...], names: Sequence[str], keys: Sequence[str], parse: _Parse
) -> SeriesGroup:
    name, metric_type, unit = row[1:4]
    columns = dict(zip(_GROUP_COLUMNS, (name, *row[6:9]), strict=True))
    attributes = {**parse(row[10]), **parse(row[9])} if keys else {}
    return SeriesGroup(
        name,
        metric_type,
        unit,
        tuple((key, columns[key]) for key in names if key in columns and key != "metric_name"),
        tuple((key, json.dumps(attributes.get(key), sort_keys=True)) for key in keys),
    )


def _sort_key(group: SeriesGroup) -> tuple[object, ...]:
    columns = tuple(value or "" for _, value in group.columns)
    return (group.metric_name, columns, group.attributes, group.metric_type, group.unit)
