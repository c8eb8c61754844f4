"""Points, metrics and series are read as they were stored, and filters select them."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from kit.batch_builder import BatchBuilder

from exporter.backends.base import Backend
from exporter.errors import QueryError
from exporter.query import Reader
from exporter.query.filters import MAX_LISTED_SERIES

# Names with characters that JSON paths, globs or SQL treat specially.
AWKWARD_KEYS = ["http.route", 'say "hi"', "it's", "naïve.ключ.鍵", "a[0]", "$", "", "%s ? :x", "\\"]


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["metric_name"] for row in rows]


def test_points_of_every_type_come_newest_first_with_all_fields(
    backend: Backend,
) -> None:
    labels = {"cluster": "c1", "node": "n1", "service": "shop", "attributes": {"k": [1, True]}}
    BatchBuilder().gauge("level", [(100.5, 1.5)], unit="By", **labels).sum(
        "total", [(200.000001, 7.0, 50.0)], temporality="delta", is_monotonic=False
    ).histogram(
        "time",
        [{"time": 300, "start": 240, "counts": (1, 0, 2), "sum": 9.0, "min": 0.5, "max": 6.0}],
        bounds=(1.0, 5.0),
        unit="s",
    ).exponential(
        "size",
        [{"time": 400, "scale": 3, "zero": 1, "positive": (-2, (1, 2)), "negative": (4, (3,))}],
        temporality="cumulative",
    ).summary("old", [{"time": 500, "count": 3, "sum": 6.0, "quantiles": {0.5: 2.0}}]).write(
        backend
    )

    summary, exponential, histogram, total, level = Reader(backend).query_historical_metrics()

    common: dict[str, Any] = {
        "unit": "",
        "cluster_id": "default",
        "node_id": "default",
        "service_name": None,
    }
    common |= {"attributes": {}, "is_monotonic": None}
    assert level == {
        "timestamp": 100.5,
        "metric_name": "level",
        "metric_type": "gauge",
        "value": 1.5,
        "unit": "By",
        "cluster_id": "c1",
        "node_id": "n1",
        "service_name": "shop",
        "attributes": {"k": [1, True]},
        "resource": {"test.series": -3},
        "temporality": None,
        "is_monotonic": None,
        "start_timestamp": None,
    }
    assert total == common | {
        "timestamp": 200.000001,
        "metric_name": "total",
        "metric_type": "sum",
        "value": 7.0,
        "resource": {"test.series": -2},
        "temporality": "delta",
        "is_monotonic": False,
        "start_timestamp": 50.0,
    }
    assert histogram == common | {
        "timestamp": 300.0,
        "metric_name": "time",
        "metric_type": "histogram",
        "value": None,
        "unit": "s",
        "resource": {"test.series": -1},
        "temporality": "delta",
        "start_timestamp": 240.0,
        "count": 3,
        "sum": 9.0,
        "min": 0.5,
        "max": 6.0,
        "bounds": [1.0, 5.0],
        "bucket_counts": [1, 0, 2],
    }
    assert exponential == common | {
        "timestamp": 400.0,
        "metric_name": "size",
        "metric_type": "exponential_histogram",
        "value": None,
        "resource": {"test.series": 0},
        "temporality": "cumulative",
        "start_timestamp": None,
        "count": 7,
        "sum": None,
        "min": None,
        "max": None,
        "scale": 3,
        "zero_count": 1,
        "zero_threshold": 0.0,
        "positive_offset": -2,
        "positive_counts": [1, 2],
        "negative_offset": 4,
        "negative_counts": [3],
    }
    assert summary == common | {
        "timestamp": 500.0,
        "metric_name": "old",
        "metric_type": "summary",
        "value": None,
        "resource": {"test.series": 1},
        "temporality": None,
        "start_timestamp": None,
        "count": 3,
        "sum": 6.0,
        "quantiles": [{"quantile": 0.5, "value": 2.0}],
    }


def test_nan_and_infinities_are_read_back(backend: Backend) -> None:
    values = [None, math.nan, math.inf, -math.inf]
    BatchBuilder().gauge("level", enumerate(values, start=1)).summary(
        "old", [{"time": 9, "count": None, "quantiles": {0.5: math.nan, 1.0: math.inf}}]
    ).write(backend)
    summary, *levels = Reader(backend).query_historical_metrics()
    assert [repr(row["value"]) for row in levels] == ["-inf", "inf", "nan", "None"]
    assert summary["count"] is None
    assert repr(summary["quantiles"]) == (
        "[{'quantile': 0.5, 'value': nan}, {'quantile': 1.0, 'value': inf}]"
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [30, 20, 10]),
        (20, None, [30, 20]),
        (None, 20, [10]),
        (10, 30, [20, 10]),
        (20.000001, 30.000001, [30]),
        (20, 20, []),
        (None, 0.0, []),
        (0.0, None, [30, 20, 10]),
        (datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC), 100, [30, 20]),
        (datetime(1970, 1, 1, 0, 0, 20), 100, [30, 20]),  # noqa: DTZ001
    ],
)
def test_a_range_includes_its_start_and_excludes_its_end(
    backend: Backend, start: Any, end: Any, expected: list[int]
) -> None:
    BatchBuilder().gauge("level", [(10, 1), (20, 2), (30, 3)]).write(backend)
    rows = Reader(backend).query_historical_metrics(start, end)
    assert [row["timestamp"] for row in rows] == expected


def test_the_limit_selects_the_newest_of_all_types(backend: Backend) -> None:
    BatchBuilder().gauge("g", [(time, 0) for time in range(1, 100, 3)]).histogram(
        "h", [{"time": time} for time in range(2, 100, 3)]
    ).summary("s", [{"time": time} for time in range(3, 100, 3)]).write(backend)
    rows = Reader(backend).query_historical_metrics(limit=7)
    assert [(row["timestamp"], row["metric_name"]) for row in rows] == [
        (99.0, "s"),
        (98.0, "h"),
        (97.0, "g"),
        (96.0, "s"),
        (95.0, "h"),
        (94.0, "g"),
        (93.0, "s"),
    ]
    assert Reader(backend).query_historical_metrics(limit=0) == []
    assert len(Reader(backend).query_historical_metrics(limit=10**30)) == 99


def test_a_series_must_match_all_filters(backend: Backend) -> None:
    store = BatchBuilder()
    for cluster in ("prod", "test"):
        for node in ("n1", "n2"):
            for service in ("shop", None):
                store.gauge("level", [(1, 0)], cluster=cluster, node=node, service=service)
    store.write(backend)

    def found(**filters: Any) -> int:
        return len(Reader(backend).query_historical_metrics(**filters))

    assert found() == 8
    assert found(cluster_id="prod") == 4
    assert found(cluster_id="prod", node_id="n1") == 2
    assert found(cluster_id="prod", node_id="n1", service_name="shop") == 1
    assert found(cluster_id="PROD") == 0
    assert found(service_name="") == 0


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("cpu.time", ["cpu.time"]),
        ("cpu.*", ["cpu.load[1]", "cpu.time"]),
        ("*.time", ["cpu.time", "disk.time"]),
        ("cpu.tim?", ["cpu.time"]),
        ("cpu.load[1]", ["cpu.load[1]"]),
        ("*load[1]", ["cpu.load[1]"]),
        ("c[ap]u.*", []),
        ("CPU.*", []),
        ("cpu%", []),
        ("cpu", []),
        ("*", ["cpu.load[1]", "cpu.time", "disk.time"]),
    ],
)
def test_a_metric_is_found_by_name_or_pattern(
    backend: Backend, pattern: str, expected: list[str]
) -> None:
    store = BatchBuilder()
    for name in ("cpu.time", "disk.time", "cpu.load[1]"):
        store.gauge(name, [(1, 0)])
    store.write(backend)
    rows = Reader(backend).query_historical_metrics(metric_name=pattern)
    assert sorted(names(rows)) == expected


@pytest.mark.parametrize(
    ("value", "asked", "other"),
    [
        ("x", "x", "X"),
        ("", "", " "),
        ("80", "80", "80.0"),
        (80, "80", "81"),
        (80, "80.0", "8e1.0"),
        (200.0, "200", "200.5"),
        (0.1 + 0.2, "0.30000000000000004", "0.3"),
        (2**53 + 1, str(2**53 + 1), str(2**53)),
        (-(2**63), str(-(2**63)), "0"),
        (1e300, "1e300", "1e301"),
        (True, "true", "1"),
        (False, "false", "0"),
        (None, "null", ""),
        ("true", "true", "True"),
        ([1, "a"], '[1,"a"]', "[1]"),
        ({"b": {"c": 1}}, '{"b":{"c":1}}', "{}"),
        ("naïve ключ 鍵", "naïve ключ 鍵", "naive"),
        ('it\'s "x" \\ % ?', 'it\'s "x" \\ % ?', "it's"),
    ],
)
def test_an_attribute_is_compared_as_text(
    backend: Backend, value: object, asked: str, other: str
) -> None:
    BatchBuilder().gauge("level", [(1, 0)], attributes={"key": value}).write(backend)
    reader = Reader(backend)
    assert names(reader.query_historical_metrics(attributes={"key": asked})) == ["level"]
    assert reader.query_historical_metrics(attributes={"key": other}) == []


@pytest.mark.parametrize("key", AWKWARD_KEYS)
def test_an_attribute_name_may_have_any_characters(backend: Backend, key: str) -> None:
    BatchBuilder().gauge("with", [(1, 0)], attributes={key: "v"}).gauge(
        "without", [(1, 0)], attributes={f"{key}2": "v"}
    ).write(backend)
    reader = Reader(backend)
    assert names(reader.query_historical_metrics(attributes={key: "v"})) == ["with"]
    rows = reader.aggregate("with", aggregation="last", group_by=[key])
    assert [row["attributes"] for row in rows] == [{key: "v"}]


def test_an_attribute_that_the_point_lacks_is_looked_up_on_the_resource(backend: Backend) -> None:
    on_resource = {"region": "eu"}
    BatchBuilder().gauge("point", [(1, 0)], attributes={"region": "eu"}).gauge(
        "resource", [(1, 0)], resource=on_resource
    ).gauge("both", [(1, 0)], attributes={"region": "us"}, resource=on_resource).gauge(
        "null", [(1, 0)], attributes={"region": None}, resource=on_resource
    ).write(backend)
    rows = Reader(backend).query_historical_metrics(attributes={"region": "eu"})
    assert sorted(names(rows)) == ["point", "resource"]


def test_a_series_must_match_all_attributes(backend: Backend) -> None:
    BatchBuilder().gauge("a", [(1, 0)], attributes={"x": 1, "y": 1}).gauge(
        "b", [(1, 0)], attributes={"x": 1, "y": 2}
    ).write(backend)
    rows = Reader(backend).query_historical_metrics(attributes={"x": "1", "y": "2"})
    assert names(rows) == ["b"]


def test_attribute_values_may_be_numbers_and_booleans(backend: Backend) -> None:
    BatchBuilder().gauge("a", [(1, 0)], attributes={"port": 80, "ok": True}).write(backend)
    asked: Any = {"port": 80, "ok": True}
    assert names(Reader(backend).query_historical_metrics(attributes=asked)) == ["a"]


def test_rows_belong_to_the_caller(backend: Backend) -> None:
    BatchBuilder().gauge("a", [(1, 0), (2, 0)], attributes={"k": "v"}).write(backend)
    first, second = Reader(backend).query_historical_metrics()
    first["attributes"]["k"] = "changed"
    assert second["attributes"] == {"k": "v"}
    assert Reader(backend).query_historical_metrics()[0]["attributes"] == {"k": "v"}


@pytest.mark.parametrize(
    "ask",
    [
        lambda reader: reader.query_historical_metrics(),
        lambda reader: reader.aggregate("late", aggregation="last"),
        lambda reader: reader.list_metrics(),
        lambda reader: reader.list_series(),
    ],
    ids=["query_historical_metrics", "aggregate", "list_metrics", "list_series"],
)
def test_each_read_flushes_first(backend: Backend, ask: Callable[[Reader], list[Any]]) -> None:
    reader = Reader(backend, flush=lambda: BatchBuilder().gauge("late", [(1, 0)]).write(backend))
    assert names(ask(reader)) == ["late"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"start_time": math.nan},
        {"end_time": "2026-11-23"},
        {"start_time": True},
        {"start_time": 20, "end_time": 10},
        {"limit": -1},
        {"limit": 1.5},
        {"limit": True},
        {"metric_name": 7},
        {"cluster_id": b"x"},
        {"service_name": "\ud800"},
        {"attributes": ["k=v"]},
        {"attributes": {1: "v"}},
        {"attributes": {"k": None}},
        {"attributes": {"k": "\udcff"}},
    ],
    ids=str,
)
def test_arguments_of_a_wrong_type_are_refused(backend: Backend, arguments: Any) -> None:
    with pytest.raises(QueryError, match=next(reversed(arguments)).split("_")[0]):
        Reader(backend).query_historical_metrics(**arguments)


def test_an_empty_store_has_no_rows(backend: Backend) -> None:
    reader = Reader(backend)
    assert reader.query_historical_metrics(metric_name="x") == []
    assert reader.list_metrics() == reader.list_metrics(with_counts=True) == []
    assert reader.list_series("x") == []
    with pytest.raises(QueryError, match="has no metrics yet"):
        reader.aggregate("x", aggregation="last")


def test_metrics_are_listed_by_name_type_and_unit(backend: Backend) -> None:
    BatchBuilder().gauge("b", [(5, 0), (7, 0)], unit="s").gauge("b", [(9, 0)], unit="s").gauge(
        "b", [(3, 0)], unit="ms"
    ).histogram("a", [{"time": 4}]).summary("never", []).write(backend)
    listed = [
        {"metric_name": "a", "metric_type": "histogram", "unit": "", "series": 1},
        {"metric_name": "b", "metric_type": "gauge", "unit": "ms", "series": 1},
        {"metric_name": "b", "metric_type": "gauge", "unit": "s", "series": 2},
        {"metric_name": "never", "metric_type": "summary", "unit": "", "series": 1},
    ]
    for row in listed:
        row["description"] = f"what {row['metric_name']} is"
    last = [4.0, 3.0, 9.0, None]
    assert Reader(backend).list_metrics() == [
        row | {"last_timestamp": time} for row, time in zip(listed, last, strict=True)
    ]
    counts = [(1, 4.0), (1, 3.0), (3, 5.0), (0, None)]
    assert Reader(backend).list_metrics(with_counts=True) == [
        row | {"points": points, "first_timestamp": first, "last_timestamp": time}
        for row, (points, first), time in zip(listed, counts, last, strict=True)
    ]


def test_series_are_listed_with_their_definitions(backend: Backend) -> None:
    BatchBuilder().counter("b", [(1, 0)], attributes={"k": 1}, cluster="c", service="s").gauge(
        "a", [(1, 0)], unit="By"
    ).write(backend)
    reader = Reader(backend)
    assert names(reader.list_series()) == ["a", "b"]
    assert reader.list_series("b", cluster_id="c", attributes={"k": "1"}) == [
        {
            "series_id": -3,
            "metric_name": "b",
            "metric_type": "sum",
            "unit": "",
            "description": "what b is",
            "temporality": "cumulative",
            "is_monotonic": True,
            "cluster_id": "c",
            "node_id": "default",
            "service_name": "s",
            "attributes": {"k": 1},
            "resource": {"test.series": -3},
            "scope": {"attributes": {}, "name": "test", "version": ""},
        }
    ]
    assert names(reader.list_series(limit=1)) == ["a"]
    assert reader.list_series("b", node_id="elsewhere") == []


@pytest.mark.parametrize("series", [1, MAX_LISTED_SERIES, MAX_LISTED_SERIES + 1])
def test_more_series_than_a_statement_lists(backend: Backend, series: int) -> None:
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
