"""Rows of a `Reader` as an Arrow table."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from kit.backends.samples import cost
from kit.batch_builder import BatchBuilder

import exporter
from exporter.backends.base import Backend
from exporter.column_files import ColumnFileError
from exporter.model import Batch
from exporter.query import Reader

pyarrow = pytest.importorskip("pyarrow")

TIME = pyarrow.timestamp("us", tz="UTC")


def test_points_of_every_type_fit_into_one_table(backend: Backend) -> None:
    (
        BatchBuilder()
        .gauge("level", [(1, 0.5)], attributes={"host": "grün"})
        .histogram("time", [{"time": 2, "counts": (1, 2), "sum": 4.0}], bounds=(1.0,))
        .summary("size", [{"time": 3, "quantiles": {0.5: 7.0}, "sum": 8.0}])
        .write(backend)
    )
    table = exporter.to_arrow(Reader(backend).query_historical_metrics())
    types = {field.name: field.type for field in table.schema}
    assert types["timestamp"] == types["start_timestamp"] == TIME
    assert types["value"] == types["sum"] == pyarrow.float64()
    assert types["attributes"] == types["metric_name"] == pyarrow.string()
    assert (types["count"], types["is_monotonic"]) == (pyarrow.int64(), pyarrow.bool_())
    summary, histogram, gauge = table.to_pylist()
    assert gauge["timestamp"] == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert (gauge["value"], gauge["attributes"]) == (0.5, '{"host": "grün"}')
    assert (gauge["count"], gauge["bounds"], gauge["quantiles"]) == (None, None, None)
    assert (histogram["bounds"], histogram["bucket_counts"]) == ([1.0], [1, 2])
    assert summary["quantiles"] == [{"quantile": 0.5, "value": 7.0}]


def test_amounts_stay_exact_and_tags_that_were_grouped_by_are_columns(backend: Backend) -> None:
    tags = '{"count":"many","last_timestamp":"never","team":"search"}'
    entries = tuple(cost(amount, amount, tags=tags) for amount in ("0.1", "0.2"))
    backend.write(Batch(costs=entries))
    reader = Reader(backend)
    totals = exporter.to_arrow(
        reader.cost_totals(group_by=["team", "region", "count", "last_timestamp"])
    )
    [total] = totals.to_pylist()
    assert (total["team"], total["region"]) == ("search", None)
    assert (total["count"], total["last_timestamp"]) == ("many", "never")
    assert (total["currency"], total["amount"], total["entries"]) == ("USD", Decimal("0.3"), 2)
    assert totals.schema.field("region").type == pyarrow.string()
    costs = exporter.to_arrow(reader.query_historical_costs())
    assert costs.schema.field("amount").type == pyarrow.float64()
    assert [json.loads(tags)["team"] for tags in costs.column("tags").to_pylist()] == ["search"] * 2


def test_aggregates_metrics_and_series_have_tables_too(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(1, 0.5)], node="a").write(backend)
    reader = Reader(backend)
    [row] = exporter.to_arrow(
        reader.aggregate("level", aggregation="count", group_by=["node_id"])
    ).to_pylist()
    assert (row["value"], row["node_id"]) == (1.0, "a")
    assert exporter.to_arrow(reader.list_metrics(with_counts=True)).num_rows == 1
    assert exporter.to_arrow(reader.list_series()).num_rows == 1
    assert exporter.to_arrow(reader.store_sizes()["tables"]).num_rows == 6


def test_no_rows_are_an_empty_table() -> None:
    assert exporter.to_arrow([]).num_rows == 0


def test_without_pyarrow_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ColumnFileError, match=r"openfinops-otel-exporter\[parquet\]"):
        exporter.to_arrow([])
