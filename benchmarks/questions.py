"""Three questions, each put through `exporter.query` and in plain SQL to a plain table.

Both sides fetch the same values and end in the same dicts. The plain side knows the definitions of
all series beforehand, and its rows share what is the same in all rows of a series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.stored import END_UNIX_NANO
from exporter.query import Reader

__all__ = ["QUESTIONS", "Question"]

_Row = tuple[Any, ...]
_END: Final = END_UNIX_NANO // 1_000_000_000
_DAY: Final = 86_400
_METRIC: Final = "metric.42"
_NODE: Final = "node-7"
_CLUSTER: Final = "cluster-3"
_NEWEST: Final = 1_000
_EVERYTHING: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        name: for the table of results.
        ask: puts it to a reader.
        plain: the same in SQL, with the table's name as {table}.
        row: a row of that as the reader answers it, with the definitions by series_id.
        parameters: what is bound in it.
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


QUESTIONS: Final = (
    Question(
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
    Question(
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
    Question(
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
