"""What is stored: metrics, series and sizes of tables."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final, cast

from exporter.backends.dialect import Dialect
from exporter.errors import QueryError
from exporter.model import StoreSizes, TableSize
from exporter.query.filters import series_table
from exporter.query.rows import MetricRow, SeriesRow, StoreSizesRow, TableSizeRow
from exporter.query.sql_builder import Sql, joined, sql
from exporter.time_units import MICROSECONDS_PER_SECOND, NANOSECONDS_PER_SECOND

DEFINITION_COLUMNS: Final = (
    "series_id",
    "metric_name",
    "metric_type",
    "unit",
    "temporality",
    "is_monotonic",
    "cluster_id",
    "node_id",
    "service_name",
    "attributes",
    "resource",
)
"""What `definitions_statement` selects, in this order."""
_SERIES_COLUMNS: Final = (*DEFINITION_COLUMNS[:4], "description", *DEFINITION_COLUMNS[4:], "scope")
_JSON_COLUMNS: Final = ("attributes", "resource", "scope")

_POINT_TABLES: Final = ("system_metrics", "metric_histograms", "metric_summaries")
# Reading them takes 30 ms per table of any size. A thousand series that send every ten seconds
# write as many in a quarter of an hour.
_RECENT_POINTS: Final = 100_000
_MAX_LISTED_NAMES: Final = 8


def metrics_statement(dialect: Dialect, *, with_counts: bool) -> Sql:
    """One row per metric: a name with a type and a unit.

    Points are keyed by time, so without counts a metric is searched in the newest points only. To
    count its points the statement reads every point of the store (0.3 s per million).

    Args:
        dialect: of the database.
        with_counts: read every point.
    """
    seen = [_points_by_series(table, dialect, with_counts=with_counts) for table in _POINT_TABLES]
    return sql(
        """
        SELECT s.metric_name, s.metric_type, s.unit, MAX(s.description), COUNT(*),
               COALESCE(SUM(seen.points), 0), MIN(seen.oldest), MAX(seen.newest)
        FROM metric_series AS s
        LEFT JOIN ({seen}) AS seen ON seen.series_id = s.series_id
        GROUP BY s.metric_name, s.metric_type, s.unit
        ORDER BY s.metric_name, s.metric_type, s.unit
        """,
        seen=joined(" UNION ALL ", seen),
    )


def _points_by_series(table: str, dialect: Dialect, *, with_counts: bool) -> Sql:
    points = sql("SELECT timestamp, series_id FROM {table}", table=Sql((table,)))
    if not with_counts:
        points = sql(
            "{points} ORDER BY timestamp DESC LIMIT {limit}", points=points, limit=_RECENT_POINTS
        )
    return sql(
        """
        SELECT m.series_id, COUNT(*) AS points, MIN({time}) AS oldest, MAX({time}) AS newest
        FROM ({points}) AS m GROUP BY m.series_id
        """,
        time=sql(dialect.micros, time=sql("m.timestamp")),
        points=points,
    )


def metric_rows(answer: Iterable[tuple[Any, ...]], *, with_counts: bool) -> list[MetricRow]:
    """The answer to `metrics_statement` as dicts."""
    rows = []
    for name, metric_type, unit, description, series, points, oldest, newest in answer:
        row: dict[str, Any] = {
            "metric_name": name,
            "metric_type": metric_type,
            "unit": unit,
            "description": description,
            "series": series,
        }
        if with_counts:
            row |= {"points": points, "first_timestamp": _seconds(oldest, MICROSECONDS_PER_SECOND)}
        rows.append(row | {"last_timestamp": _seconds(newest, MICROSECONDS_PER_SECOND)})
    return cast(list[MetricRow], rows)


def metric_names_statement() -> Sql:
    """The names of all metrics, in order."""
    return sql("SELECT DISTINCT s.metric_name FROM metric_series AS s ORDER BY s.metric_name")


def definitions_statement(condition: Sql | None, limit: int | None = None) -> Sql:
    """`DEFINITION_COLUMNS` of the series that match, in any order.

    Args:
        condition: on `metric_series AS s`, None for all series.
        limit: the maximum number of rows; None for all.
    """
    return sql(
        "SELECT {columns} FROM metric_series AS s WHERE {condition} {limit}",
        columns=_columns(DEFINITION_COLUMNS),
        condition=sql("TRUE") if condition is None else condition,
        limit=sql("") if limit is None else sql("LIMIT {limit}", limit=limit),
    )


def listed_series_condition(series_ids: Iterable[int], dialect: Dialect) -> Sql:
    """The condition on `metric_series AS s` that a series is one of these."""
    return sql(
        "s.series_id IN (SELECT listed.series_id FROM ({listed}) AS listed)",
        listed=series_table([(series_id, 0, 0) for series_id in series_ids], dialect),
    )


def series_statement(condition: Sql | None, limit: int) -> Sql:
    """The whole definitions of series, by metric name.

    Args:
        condition: on `metric_series AS s`, None for all series.
        limit: the maximum number of rows.
    """
    return sql(
        """
        SELECT {columns}
        FROM metric_series AS s
        WHERE {condition}
        ORDER BY s.metric_name, s.cluster_id, s.node_id, s.service_name, s.attributes, s.series_id
        LIMIT {limit}
        """,
        columns=_columns(_SERIES_COLUMNS),
        condition=sql("TRUE") if condition is None else condition,
        limit=limit,
    )


def _columns(names: Sequence[str]) -> Sql:
    return Sql((", ".join(f"s.{name}" for name in names),))


def series_rows(answer: Iterable[tuple[Any, ...]]) -> list[SeriesRow]:
    """The answer to `series_statement` as dicts."""
    rows = []
    for columns in answer:
        row = dict(zip(_SERIES_COLUMNS, columns, strict=True))
        row |= {name: json.loads(row[name]) for name in _JSON_COLUMNS}
        row["is_monotonic"] = is_monotonic(row["is_monotonic"])
        rows.append(row)
    return cast(list[SeriesRow], rows)


def is_monotonic(stored: int | None) -> bool | None:
    """The column of this name as a bool; SQLite stores 0 and 1."""
    return None if stored is None else bool(stored)


def unknown_metric_error(metric_name: str, names: Sequence[str], location: str) -> QueryError:
    """The error for a metric that is not stored.

    Args:
        metric_name: as it was asked for.
        names: of the stored metrics, in order.
        location: of the store.
    """
    if not names:
        return QueryError(f"metric {metric_name!r}: {location} has no metrics yet; send some first")
    if likely := similar_names(metric_name, names):
        advice = f"did you mean {', '.join(likely)}?"
    elif len(names) <= _MAX_LISTED_NAMES:
        advice = f"there are {', '.join(names)}"
    else:
        advice = f"list the metrics to see the {len(names)} that are"
    return QueryError(f"metric {metric_name!r} is not stored in {location}; {advice}")


def similar_names(wanted: str, names: Sequence[str]) -> list[str]:
    """Up to three of the names that a mistyped one may mean, the most likely first."""
    folded = {name.casefold(): name for name in reversed(names)}
    wanted = wanted.casefold().replace("*", "").replace("?", "")
    close = difflib.get_close_matches(wanted, folded, n=3, cutoff=0.6)
    partial = [name for name in folded if len(wanted) > 2 and wanted in name and name not in close]
    return [folded[name] for name in [*close, *sorted(partial)][:3]]


def sizes_row(sizes: StoreSizes) -> StoreSizesRow:
    """The sizes under the names of `StoreSizes` and `TableSize`, with times in epoch seconds.

    `oldest_unix_nano` and `newest_unix_nano` become `oldest_timestamp` and `newest_timestamp`.
    """
    return {
        "series": sizes.series,
        "total_bytes": sizes.total_bytes,
        "free_bytes": sizes.free_bytes,
        "tables": [_table_row(table) for table in sizes.tables],
    }


def _table_row(table: TableSize) -> TableSizeRow:
    row = {
        name.replace("unix_nano", "timestamp"): _seconds(value, NANOSECONDS_PER_SECOND)
        if name.endswith("unix_nano")
        else value
        for name, value in asdict(table).items()
    }
    return cast(TableSizeRow, row)


def _seconds(time: int | None, units_per_second: int) -> float | None:
    return None if time is None else time / units_per_second
