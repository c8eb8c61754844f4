"""A filter that fits more series than a statement names is answered like any other."""

from __future__ import annotations

import pytest
from kit.batch_builder import BatchBuilder

from exporter.backends.base import Backend
from exporter.query import Reader
from exporter.query.filters import MAX_LISTED_SERIES


@pytest.mark.parametrize("series", [1, MAX_LISTED_SERIES, MAX_LISTED_SERIES + 1])
def test_points_of_few_and_many_series(backend: Backend, series: int) -> None:
    store = BatchBuilder().gauge("other", [(2, -1.0)])
    for number in range(series):
        store.gauge("level", [(1, float(number)), (2, 1.0)], node=f"node-{number}")
    store.write(backend)
    reader = Reader(backend)
    rows = reader.query_historical_metrics(metric_name="level", limit=10 * series)
    first = sorted(row["value"] for row in rows if row["timestamp"] == 1.0)
    assert first == [float(number) for number in range(series)]
    assert len(rows) == 2 * series
    assert {row["node_id"] for row in rows} == {f"node-{number}" for number in range(series)}
    [total] = reader.aggregate("level", aggregation="count")
    assert total["value"] == 2 * series
