"""Statistics of points by bucket and group, and the questions that are refused."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.backends.kinds import StoreFactory
from kit.batch_builder import BatchBuilder

from exporter.backends.base import Backend
from exporter.errors import QueryError
from exporter.query import Reader

NAN = math.nan


def cells(rows: list[dict[str, Any]]) -> list[tuple[float, Any]]:
    return [(row["timestamp"], row["value"]) for row in rows]


@pytest.mark.parametrize(
    ("aggregation", "newer", "older"),
    [
        ("min", 5.0, -1.0),
        ("max", 5.0, 4.0),
        ("avg", 5.0, 2.0),
        ("sum", 5.0, 6.0),
        ("count", 1, 3),
        ("last", 5.0, 4.0),
    ],
)
def test_statistics_by_bucket_newest_first(
    backend: Backend, aggregation: str, newer: float, older: float
) -> None:
    BatchBuilder().gauge("level", [(60, 3.0), (90, -1.0), (119.999999, 4.0), (120, 5.0)]).write(
        backend
    )
    rows = Reader(backend).aggregate("level", aggregation=aggregation, bucket_seconds=60)
    assert cells(rows) == [(120.0, newer), (60.0, older)]
    assert [type(row["value"]) for row in rows] == [type(newer), type(older)]


def test_a_row_has_the_metric_the_aggregation_and_the_groups(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(90, 3.0)], unit="By", node="n1", attributes={"k": 1}).write(
        backend
    )
    rows = Reader(backend).aggregate(
        "level", aggregation="max", bucket_seconds=60, group_by=["node_id", "k", "metric_name"]
    )
    assert rows == [
        {
            "timestamp": 60.0,
            "metric_name": "level",
            "metric_type": "gauge",
            "aggregation": "max",
            "value": 3.0,
            "unit": "By",
            "node_id": "n1",
            "attributes": {"k": 1},
        }
    ]


@pytest.mark.parametrize(
    ("aggregation", "unit", "expected"),
    [
        ("sum", "By", "By"),
        ("count", "By", ""),
        ("rate", "By", "By/s"),
        ("rate", "", "1/s"),
        ("increase", "By", "By"),
    ],
)
def test_the_unit_is_that_of_the_value(
    backend: Backend, aggregation: str, unit: str, expected: str
) -> None:
    BatchBuilder().counter("total", [(10, 1), (20, 2)], unit=unit).write(backend)
    assert Reader(backend).aggregate("total", aggregation=aggregation)[0]["unit"] == expected


@pytest.mark.parametrize(("start", "expected"), [(None, 10.0), (5, 5.0), (0.0, 0.0), (10.5, 10.5)])
def test_without_buckets_the_range_is_one_bucket(
    backend: Backend, start: float | None, expected: float
) -> None:
    BatchBuilder().gauge("level", [(10, 1), (11, 2)]).gauge("level", [(12, 3)]).write(backend)
    rows = Reader(backend).aggregate("level", aggregation="max", start_time=start)
    assert cells(rows) == [(expected, 3.0)]


def test_only_points_in_the_range_count(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(time, time) for time in range(10, 100, 10)]).write(backend)
    rows = Reader(backend).aggregate(
        "level", aggregation="count", bucket_seconds=30, start_time=40, end_time=80
    )
    assert cells(rows) == [(60.0, 2), (30.0, 2)]


def test_buckets_may_be_shorter_than_a_second(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(1.0, 1), (1.24, 2), (1.25, 3)]).write(backend)
    rows = Reader(backend).aggregate("level", aggregation="max", bucket_seconds=0.25)
    assert cells(rows) == [(1.25, 3.0), (1.0, 2.0)]


def test_points_without_a_value_are_skipped_and_nan_is_only_counted(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(1, None), (2, NAN), (3, 4.0), (4, 2.0), (11, None)]).write(
        backend
    )
    reader = Reader(backend)
    answers = {
        aggregation: cells(reader.aggregate("level", aggregation=aggregation, bucket_seconds=10))
        for aggregation in ("min", "max", "avg", "sum", "count", "last")
    }
    assert answers == {
        "min": [(0.0, 2.0)],
        "max": [(0.0, 4.0)],
        "avg": [(0.0, 3.0)],
        "sum": [(0.0, 6.0)],
        "count": [(0.0, 3)],
        "last": [(0.0, 2.0)],
    }


@pytest.mark.parametrize("aggregation", ["min", "max", "avg", "sum", "last"])
def test_a_bucket_of_nan_only_is_nan(backend: Backend, aggregation: str) -> None:
    BatchBuilder().gauge("level", [(1, NAN), (2, NAN)]).write(backend)
    [row] = Reader(backend).aggregate("level", aggregation=aggregation)
    assert math.isnan(row["value"])


def test_infinities_are_numbers(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(1, math.inf), (2, 1.0)]).write(backend)
    reader = Reader(backend)
    assert cells(reader.aggregate("level", aggregation="max")) == [(1.0, math.inf)]
    assert cells(reader.aggregate("level", aggregation="min")) == [(1.0, 1.0)]


def test_the_sum_adds_all_points_of_all_series(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(1, 10), (2, 10)]).gauge("level", [(1, 5)]).write(backend)
    assert cells(Reader(backend).aggregate("level", aggregation="sum")) == [(1.0, 25.0)]


def test_groups_come_in_order_within_each_bucket(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(1, 1), (11, 2)], service="b").gauge(
        "level", [(1, 3), (11, 4)], service="a"
    ).gauge("level", [(11, 5)]).write(backend)
    reader = Reader(backend)
    rows = reader.aggregate(
        "level", aggregation="last", bucket_seconds=10, group_by=["service_name"]
    )
    assert [(row["timestamp"], row["service_name"], row["value"]) for row in rows] == [
        (10.0, None, 5.0),
        (10.0, "a", 4.0),
        (10.0, "b", 2.0),
        (0.0, "a", 3.0),
        (0.0, "b", 1.0),
    ]
    assert rows[:2] == reader.aggregate(
        "level", aggregation="last", bucket_seconds=10, group_by="service_name", limit=2
    )


def test_attributes_grouped_by_keep_their_types_and_may_be_of_the_resource(
    backend: Backend,
) -> None:
    store = BatchBuilder()
    for number, value in enumerate([80, "80", True, 1, 1.5, None, [1, 2]]):
        store.gauge("level", [(1, number)], attributes={"k": value})
    store.gauge("level", [(1, 7)], resource={"k": "80"})
    store.gauge("level", [(1, 8)])
    store.gauge("level", [(1, 16)], attributes={"k": "point"}, resource={"k": "80"})
    store.write(backend)
    rows = Reader(backend).aggregate("level", aggregation="sum", group_by=["k"])
    groups = [(repr(row["attributes"]["k"]), row["value"]) for row in rows]
    assert sorted(groups) == [
        ("'80'", 8.0),
        ("'point'", 16.0),
        ("1", 3.0),
        ("1.5", 4.0),
        ("80", 0.0),
        ("None", 13.0),
        ("True", 2.0),
        ("[1, 2]", 6.0),
    ]


def test_metrics_of_different_name_type_or_unit_are_never_combined(backend: Backend) -> None:
    BatchBuilder().gauge("t", [(1, 1)], unit="s").gauge("t", [(1, 2)], unit="ms").counter(
        "t", [(1, 3)], unit="s"
    ).gauge("t2", [(1, 4)], unit="s").write(backend)
    rows = Reader(backend).aggregate("t*", aggregation="sum")
    found = [(row["metric_name"], row["metric_type"], row["unit"], row["value"]) for row in rows]
    assert found == [
        ("t", "gauge", "ms", 2.0),
        ("t", "gauge", "s", 1.0),
        ("t", "sum", "s", 3.0),
        ("t2", "gauge", "s", 4.0),
    ]


def test_filters_select_the_series(backend: Backend) -> None:
    BatchBuilder().gauge("level", [(1, 1)], cluster="a", attributes={"k": 1}).gauge(
        "level", [(1, 2)], cluster="b", attributes={"k": 1}
    ).gauge("level", [(1, 4)], cluster="b", attributes={"k": 2}).write(backend)
    reader = Reader(backend)
    rows = reader.aggregate("level", aggregation="sum", cluster_id="b", attributes={"k": "1"})
    assert cells(rows) == [(1.0, 2.0)]
    assert reader.aggregate("level", aggregation="sum", cluster_id="c") == []
    assert reader.aggregate("level", aggregation="sum", start_time=2) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"aggregation": "median"}, ["'median'", "min, max, avg", "p95"]),
        ({"aggregation": "p101"}, ["'p101'", "p0 to p100"]),
        ({"aggregation": None}, ["None"]),
        ({"aggregation": "rate"}, ["rate of 'level'", "gauge", "last"]),
        ({"aggregation": "p95"}, ["p95 of 'level'", "gauge", "avg"]),
        ({"metric_name": "levle"}, ["'levle'", "level"]),
        ({"metric_name": "LEVEL*"}, ["'LEVEL*'", "level"]),
        ({"group_by": ["colour"]}, ["'colour'", "color", "service_name"]),
        ({"group_by": 7}, ["7"]),
        ({"group_by": [7]}, ["7"]),
        ({"bucket_seconds": 0}, ["bucket_seconds", "0"]),
        ({"bucket_seconds": "60"}, ["bucket_seconds", "'60'"]),
        ({"limit": -1}, ["limit", "-1"]),
        ({"start_time": 9, "end_time": 3}, ["9", "3"]),
    ],
    ids=str,
)
def test_an_unsupported_aggregation_is_refused_and_supported_ones_are_named(
    backend: Backend, arguments: dict[str, Any], words: list[str]
) -> None:
    BatchBuilder().gauge("level", [(1, 1)], attributes={"color": "red"}).write(backend)
    question: dict[str, Any] = {"metric_name": "level", "aggregation": "last"} | arguments
    with pytest.raises(QueryError) as caught:
        Reader(backend).aggregate(**question)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(("temporality", "instead"), [("cumulative", "last"), ("delta", "use sum")])
@pytest.mark.parametrize("aggregation", ["rate", "increase"])
def test_a_sum_that_also_decreases_has_no_rate(
    backend: Backend, aggregation: str, temporality: Any, instead: str
) -> None:
    BatchBuilder().counter("queue", [(1, 1)], temporality=temporality, is_monotonic=False).write(
        backend
    )
    with pytest.raises(QueryError, match=instead):
        Reader(backend).aggregate("queue", aggregation=aggregation)


def test_an_unknown_metric_is_refused_and_similar_ones_are_named(backend: Backend) -> None:
    BatchBuilder().gauge("system.cpu.time", []).gauge("system.cpu.utilization", []).gauge(
        "http.server.request.duration", []
    ).write(backend)
    reader = Reader(backend)
    with pytest.raises(QueryError, match=r"did you mean system\.cpu\.time"):
        reader.aggregate("sytem.cpu.tme", aggregation="last")
    with pytest.raises(QueryError, match=r"did you mean http\.server\.request\.duration\?"):
        reader.aggregate("duration", aggregation="last")
    with pytest.raises(QueryError, match=r"there are http\.server\.request\.duration, system"):
        reader.aggregate("zzz", aggregation="last")
    assert reader.query_historical_metrics(metric_name="sytem.cpu.tme") == []


POINTS = st.dictionaries(
    st.integers(1, 300), st.none() | st.just(NAN) | st.floats(-1e6, 1e6), max_size=20
)
PLAIN: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "avg": statistics.fmean,
    "sum": math.fsum,
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    series=st.lists(st.tuples(st.sampled_from("ab"), POINTS), min_size=1, max_size=4),
    width=st.sampled_from([7, 60, 1000]),
    ends=st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted),
)
def test_statistics_equal_those_of_plain_python(
    new_store: StoreFactory,
    series: list[tuple[str, dict[int, float | None]]],
    width: int,
    ends: list[int],
) -> None:
    start, end = ends
    store = BatchBuilder()
    values: dict[tuple[float, str], list[float]] = defaultdict(list)
    for service, points in series:
        store.gauge("level", points.items(), service=service)
        for time, value in points.items():
            if start <= time < end and value is not None:
                values[time // width * width, service].append(value)
    with new_store() as backend:
        store.write(backend)
        for aggregation, function in PLAIN.items():
            rows = Reader(backend).aggregate(
                "level",
                aggregation=aggregation,
                bucket_seconds=width,
                group_by=["service_name"],
                start_time=start,
                end_time=end,
            )
            expected = {
                cell: function([value for value in of_cell if not math.isnan(value)] or [NAN])
                for cell, of_cell in values.items()
            }
            found = {(row["timestamp"], row["service_name"]): row["value"] for row in rows}
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-6, nan_ok=True)
