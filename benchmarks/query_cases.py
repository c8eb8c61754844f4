"""Three queries, each through `exporter.query` and as SQL on a plain table.

Both sides fetch the same values and return the same dicts. The plain side has read all series
definitions beforehand, and its rows share the values of their series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.stored_rows import END_UNIX_NANO
from exporter.query import Reader

_Row = tuple[Any, ...]
_END: Final = END_UNIX_NANO // 1_000_000_000
_DAY: Final = 86_400
_METRIC: Final = "metric.42"
_NODE: Final = "node-7"
_CLUSTER: Final = "cluster-3"
_NEWEST: Final = 1_000
_EVERYTHING: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class QueryCase:
    """One query in both forms.

    Attributes:
        name: shown in the results.
        ask: runs it with a reader.
        plain: the SQL, with {table} for the name of the table.
        row: converts a row of the SQL to the dict of the reader; takes the definitions by
            series_id.
        parameters: the bound values of the SQL.
    """

    name: str
    ask: Callable[[Reader], Sequence[dict[str, Any]]]
    plain: str
    row: Callable[[_Row, Mapping[int, dict[str, Any]]], dict[str, Any]]
    parameters: tuple[object, ...]


def _one_series(reader: Reader) -> Sequence[dict[str, Any]]:
    return reader.query_historical_metrics(
        _END - 7 * _DAY, _END, metric_name=_METRIC, node_id=_NODE, limit=_EVERYTHING
    )


def _ten_series(reader: Reader) -> Sequence[dict[str, Any]]:
    return reader.aggregate(
        _METRIC,
        aggregation="avg",
        start_time=_END - _DAY,
        end_time=_END,
        bucket_seconds=300,
        group_by=["node_id"],
    )


def _newest(reader: Reader) -> Sequence[dict[str, Any]]:
    return reader.query_historical_metrics(cluster_id=_CLUSTER, limit=_NEWEST)


def _point(row: _Row, definitions: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    seconds, series_id, start, value = row
    return {
        **definitions[series_id],
        "timestamp": seconds,
        "start_timestamp": start,
        "value": value,
    }


def _bucket(row: _Row, _: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    seconds, node_id, value = row
    return {
        "timestamp": seconds,
        "metric_name": _METRIC,
        "metric_type": "gauge",
        "aggregation": "avg",
        "value": value,
        "unit": "1",
        "node_id": node_id,
        "attributes": {},
    }


QUERY_CASES: Final = (
    QueryCase(
        "one series, 7 days",
        _one_series,
        """
        SELECT date_part('epoch', m."timestamp"), m.series_id,
            date_part('epoch', m.start_timestamp), m.value
        FROM {table} AS m JOIN metric_series AS s USING (series_id)
        WHERE s.metric_name = %s AND s.node_id = %s
            AND m."timestamp" >= to_timestamp(%s) AND m."timestamp" < to_timestamp(%s)
        ORDER BY m."timestamp" DESC""",
        _point,
        (_METRIC, _NODE, _END - 7 * _DAY, _END),
    ),
    QueryCase(
        "ten series, 5-minute buckets, 24 h",
        _ten_series,
        """
        SELECT date_part('epoch', bucket), node_id, value
        FROM (
            SELECT date_bin('5 minutes', m."timestamp", 'epoch') AS bucket, s.node_id,
                avg(m.value) AS value
            FROM {table} AS m JOIN metric_series AS s USING (series_id)
            WHERE s.metric_name = %s
                AND m."timestamp" >= to_timestamp(%s) AND m."timestamp" < to_timestamp(%s)
            GROUP BY 1, 2
        ) AS buckets
        ORDER BY bucket DESC, node_id""",
        _bucket,
        (_METRIC, _END - _DAY, _END),
    ),
    QueryCase(
        "newest 1,000 of a cluster",
        _newest,
        """
        SELECT date_part('epoch', m."timestamp"), m.series_id,
            date_part('epoch', m.start_timestamp), m.value
        FROM {table} AS m JOIN metric_series AS s USING (series_id)
        WHERE s.cluster_id = %s
        ORDER BY m."timestamp" DESC, m.series_id DESC LIMIT %s""",
        _point,
        (_CLUSTER, _NEWEST),
    ),
)
