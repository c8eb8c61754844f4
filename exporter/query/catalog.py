"""What there is to ask about: metrics and series."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.errors import QueryError
from exporter.query.sql import Sql, joined, sql

__all__ = [
    "metric_names_statement",
    "metric_rows",
    "metrics_statement",
    "nearest",
    "no_such_metric",
    "series_rows",
    "series_statement",
]

_POINT_TABLES: Final = ("system_metrics", "metric_histograms", "metric_summaries")
# Takes 30 ms a table however large it is. A thousand series that send every ten seconds fill it
# in a quarter of an hour.
_RECENT_POINTS: Final = 100_000
_FEW_NAMES: Final = 8


def metrics_statement(dialect: Dialect, *, with_counts: bool) -> Sql:
    """One row a metric: a name with a type and a unit.

    Points are keyed by time, so a metric is looked for in the newest points only; to count its
    points means to read every point there is (0.3 s a million).

    Args:
        dialect: of the database.
        with_counts: read every point.
    """
    seen = [_seen(table, dialect, with_counts=with_counts) for table in _POINT_TABLES]
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


def _seen(table: str, dialect: Dialect, *, with_counts: bool) -> Sql:
    points = sql("SELECT timestamp, series_id FROM {table}", table=Sql((table,)))
    if not with_counts:
        points = sql(
            "{points} ORDER BY timestamp DESC LIMIT {most}", points=points, most=_RECENT_POINTS
        )
    return sql(
        """
        SELECT m.series_id, COUNT(*) AS points, MIN({time}) AS oldest, MAX({time}) AS newest
        FROM ({points}) AS m GROUP BY m.series_id
        """,
        time=sql(dialect.micros, time=sql("m.timestamp")),
        points=points,
    )


def metric_rows(answer: Iterable[tuple[Any, ...]], *, with_counts: bool) -> list[dict[str, Any]]:
    """The answer to `metrics_statement` as dicts."""
    rows = []
    for name, metric_type, unit, description, series, points, oldest, newest in answer:
        row = {
            "metric_name": name,
            "metric_type": metric_type,
            "unit": unit,
            "description": description,
            "series": series,
        }
        if with_counts:
            row |= {"points": points, "first_timestamp": _seconds(oldest)}
        rows.append(row | {"last_timestamp": _seconds(newest)})
    return rows


def metric_names_statement() -> Sql:
    """The names of all metrics, in order."""
    return sql("SELECT DISTINCT s.metric_name FROM metric_series AS s ORDER BY s.metric_name")


def series_statement(series: Sql | None, limit: int) -> Sql:
    """The definitions of series, by metric name.

    Args:
        series: the condition on `metric_series AS s`, None for all of them.
        limit: most rows that come back.
    """
    return sql(
        """
        SELECT s.series_id, s.metric_name, s.metric_type, s.unit, s.description, s.temporality,
               s.is_monotonic, s.cluster_id, s.node_id, s.service_name, s.attributes, s.resource,
               s.scope
        FROM metric_series AS s
        WHERE {series}
        ORDER BY s.metric_name, s.cluster_id, s.node_id, s.service_name, s.attributes, s.series_id
        LIMIT {limit}
        """,
        series=sql("TRUE") if series is None else series,
        limit=limit,
    )


_SERIES_KEYS: Final = (
    "series_id",
    "metric_name",
    "metric_type",
    "unit",
    "description",
    "temporality",
    "is_monotonic",
    "cluster_id",
    "node_id",
    "service_name",
    "attributes",
    "resource",
    "scope",
)


def series_rows(answer: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The answer to `series_statement` as dicts."""
    rows = []
    for columns in answer:
        row = dict(zip(_SERIES_KEYS, columns, strict=True))
        row |= {key: json.loads(row[key]) for key in ("attributes", "resource", "scope")}
        row["is_monotonic"] = None if row["is_monotonic"] is None else bool(row["is_monotonic"])
        rows.append(row)
    return rows


def no_such_metric(metric_name: str, names: Sequence[str], where: str) -> QueryError:
    """What to say of a metric that is not stored.

    Args:
        metric_name: as it was asked for.
        names: of those that are, in order.
        where: they are stored.
    """
    if not names:
        return QueryError(f"metric {metric_name!r}: {where} has no metrics yet; send some first")
    if likely := nearest(metric_name, names):
        advice = f"did you mean {', '.join(likely)}?"
    elif len(names) <= _FEW_NAMES:
        advice = f"there are {', '.join(names)}"
    else:
        advice = f"list the metrics to see the {len(names)} that are"
    return QueryError(f"metric {metric_name!r} is not stored in {where}; {advice}")


def nearest(wanted: str, names: Sequence[str]) -> list[str]:
    """Up to three of the names that a mistyped one may stand for, the likeliest first."""
    folded = {name.casefold(): name for name in reversed(names)}
    wanted = wanted.casefold().replace("*", "").replace("?", "")
    close = difflib.get_close_matches(wanted, folded, n=3, cutoff=0.6)
    partial = [name for name in folded if len(wanted) > 2 and wanted in name and name not in close]
    return [folded[name] for name in [*close, *sorted(partial)][:3]]


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1_000_000
