"""Single points as they were received: the statements that read them, and the rows they become.

Points and the definitions of their series are read by separate statements. Thousands of points
share a few definitions, and to send a definition of 300 bytes with each point takes longer than to
send and read the point.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, cast

from exporter.backends.dialect import Dialect
from exporter.json_text import read_float
from exporter.query.catalog import DEFINITION_COLUMNS, is_monotonic
from exporter.query.filters import time_condition
from exporter.query.rows import PointRow
from exporter.query.sql_builder import Sql, joined, sql
from exporter.query.times import TimeRange
from exporter.tables import HISTOGRAMS, POINTS, SQL_TYPES, SUMMARIES

_Row = tuple[Any, ...]

TABLE_OF_TYPE: Final = {
    "gauge": "system_metrics",
    "sum": "system_metrics",
    "histogram": "metric_histograms",
    "exponential_histogram": "metric_histograms",
    "summary": "metric_summaries",
}

_LEADING_COLUMNS: Final = ("timestamp", "series_id", "start_timestamp")
_COLUMNS_OF_TABLE: Final = {
    table.name: {one.name: one.kind for one in table.columns if one.name not in _LEADING_COLUMNS}
    for table in (POINTS, HISTOGRAMS, SUMMARIES)
}
# The distinct column names of the three point tables.
_POINT_COLUMNS: Final = {
    name: kind for columns in _COLUMNS_OF_TABLE.values() for name, kind in columns.items()
}


def types_statement(condition: Sql | None) -> Sql:
    """The distinct metric types of the series that match.

    Args:
        condition: on `metric_series AS s`, None for all series.
    """
    return sql(
        "SELECT DISTINCT s.metric_type FROM metric_series AS s WHERE {condition}",
        condition=sql("TRUE") if condition is None else condition,
    )


def point_columns(tables: Iterable[str]) -> tuple[str, ...]:
    """The columns that `points_statement` selects after time, series_id and start time."""
    selected = {name for table in tables for name in _COLUMNS_OF_TABLE[table]}
    return tuple(name for name in _POINT_COLUMNS if name in selected)


def points_statement(
    tables: Sequence[str],
    condition: Sql | None,
    time_range: TimeRange,
    limit: int,
    dialect: Dialect,
) -> Sql:
    """The newest points of some tables together: time, series_id, start time, `point_columns`.

    Times are in seconds since 1970: the database divides faster than Python does.

    Each table is read backwards along its primary key (timestamp, series_id) until it has given
    `limit` points, so a short answer about recent points is fast in a table of any size. If a
    series stopped sending long ago, the table is read back to `start_micros`. Plan:

        SEARCH m USING PRIMARY KEY (timestamp>? AND timestamp<?)
        LIST SUBQUERY (the selected series, looked up for each point)

    Args:
        tables: names of point tables, at least one.
        condition: on a point `m`, which selects its series; None for all series.
        time_range: of the points.
        limit: the maximum number of rows.
        dialect: of the database.
    """
    columns = point_columns(tables)
    where = time_condition(time_range, dialect)
    if condition is not None:
        where = sql("{time} AND {series}", time=where, series=condition)
    newest = [_table_statement(table, columns, where, limit, dialect) for table in tables]
    if len(newest) == 1:
        return newest[0]
    return sql(
        "SELECT * FROM ({newest}) AS p ORDER BY time DESC, series_id DESC LIMIT {limit}",
        newest=joined(
            " UNION ALL ",
            [
                sql("SELECT * FROM ({points}) AS {table}", points=points, table=Sql((table,)))
                for points, table in zip(newest, tables, strict=True)
            ],
        ),
        limit=limit,
    )


def _table_statement(
    table: str, columns: Iterable[str], where: Sql, limit: int, dialect: Dialect
) -> Sql:
    return sql(
        """
        SELECT {time} AS time, m.series_id, {start} AS start, {columns}
        FROM {table} AS m
        WHERE {where}
        ORDER BY m.timestamp DESC, m.series_id DESC LIMIT {limit}
        """,
        time=sql(dialect.seconds, time=sql("m.timestamp")),
        start=sql(dialect.seconds, time=sql("m.start_timestamp")),
        columns=joined(", ", [_column(table, name, dialect) for name in columns]),
        table=Sql((table,)),
        where=where,
        limit=limit,
    )


def _column(table: str, name: str, dialect: Dialect) -> Sql:
    if name in _COLUMNS_OF_TABLE[table]:
        return Sql((f'm."{name}"',))
    # A NULL of the same type, so that one UNION can read all three tables.
    column_type = SQL_TYPES[dialect.name][_POINT_COLUMNS[name]]
    return Sql((f'CAST(NULL AS {column_type}) AS "{name}"',))


def point_rows(
    points: Sequence[_Row], columns: Sequence[str], definitions: Iterable[_Row]
) -> list[PointRow]:
    """Dicts in the order of the points; each has its own `attributes` and `resource`.

    Args:
        points: the answer to `points_statement`.
        columns: the `point_columns` of its tables.
        definitions: `DEFINITION_COLUMNS` of at least their series. A point is left out if its
            definition is missing: its series was deleted between the two statements.
    """
    parse: Callable[[str], dict[str, Any]] = cache(json.loads)  # definitions share few texts
    selected = {point[1] for point in points}
    templates = {row[0]: _template(row, parse) for row in definitions if row[0] in selected}
    value_at = columns.index("value") + len(_LEADING_COLUMNS) if "value" in columns else None
    rows = []
    # One microsecond more in this loop makes an answer of a million points one second slower.
    for point in points:
        template = templates.get(point[1])
        if template is None:
            continue
        row = template.copy()
        row["timestamp"], _, row["start_timestamp"] = point[:3]
        row["attributes"] = row["attributes"].copy()
        row["resource"] = row["resource"].copy()
        if value_at is not None and (value := point[value_at]) is not None:
            row["value"] = float(value)  # SQLite stores a NaN as text
        if row["metric_type"] in _FIELDS_OF_TYPE:
            cells = dict(zip(columns, point[3:], strict=True))
            row |= _FIELDS_OF_TYPE[row["metric_type"]](cells)
        rows.append(row)
    return cast(list[PointRow], rows)


def _template(definition: _Row, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What all points of a series share, with every key in its final order."""
    cells = dict(zip(DEFINITION_COLUMNS, definition, strict=True))
    return {
        "timestamp": None,
        "metric_name": cells["metric_name"],
        "metric_type": cells["metric_type"],
        "value": None,
        "unit": cells["unit"],
        "cluster_id": cells["cluster_id"],
        "node_id": cells["node_id"],
        "service_name": cells["service_name"],
        "attributes": parse(cells["attributes"]),
        "resource": parse(cells["resource"]),
        "temporality": cells["temporality"],
        "is_monotonic": is_monotonic(cells["is_monotonic"]),
        "start_timestamp": None,
    }


def _statistics(cells: dict[str, Any]) -> dict[str, Any]:
    return {"count": cells["count"]} | {
        key: read_float(cells[key]) for key in ("sum", "min", "max")
    }


def _explicit_fields(cells: dict[str, Any]) -> dict[str, Any]:
    return {
        **_statistics(cells),
        "bounds": _numbers(cells["bounds"]),
        "bucket_counts": _array(cells["bucket_counts"]),
    }


def _exponential_fields(cells: dict[str, Any]) -> dict[str, Any]:
    return {
        **_statistics(cells),
        "scale": cells["scale"],
        "zero_count": cells["zero_count"],
        "zero_threshold": read_float(cells["zero_threshold"]),
        "positive_offset": cells["positive_offset"],
        "positive_counts": _array(cells["positive_counts"]),
        "negative_offset": cells["negative_offset"],
        "negative_counts": _array(cells["negative_counts"]),
    }


def _summary_fields(cells: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(_numbers(cells["quantiles"]), _numbers(cells["quantile_values"]), strict=True)
    return {
        "count": cells["count"],
        "sum": read_float(cells["sum"]),
        "quantiles": [{"quantile": quantile, "value": value} for quantile, value in pairs],
    }


_FIELDS_OF_TYPE: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "histogram": _explicit_fields,
    "exponential_histogram": _exponential_fields,
    "summary": _summary_fields,
}


def _array(text: str | None) -> list[int]:
    return [] if text is None else list(json.loads(text))


def _numbers(text: str | None) -> list[float]:
    return [float(item) for item in _array(text)]
