"""Points and definitions that were read apart, and which series a statement names."""

import pytest

from exporter.backends.dialect import POSTGRESQL, SQLITE, Dialect
from exporter.query.filters import MAX_LISTED_SERIES, among
from exporter.query.point_rows import history_rows
from exporter.query.point_sql import DEFINITION_COLUMNS, point_columns


def definition(series_id: int, attributes: str = "{}") -> tuple[object, ...]:
    values = {
        "series_id": series_id,
        "metric_name": "level",
        "metric_type": "gauge",
        "attributes": attributes,
        "resource": "{}",
    }
    return tuple(values.get(name) for name in DEFINITION_COLUMNS)


def test_a_point_whose_series_was_deleted_meanwhile_is_left_out() -> None:
    points = [(2.0, 7, None, 0.5), (1.0, 8, None, 1.5)]
    [row] = history_rows(points, ("value",), [definition(8)])
    assert (row["timestamp"], row["value"]) == (1.0, 1.5)


def test_every_row_has_attributes_of_its_own() -> None:
    points = [(2.0, 8, None, 0.5), (1.0, 8, None, 1.5)]
    first, second = history_rows(points, ("value",), [definition(8, '{"a":1}')])
    first["attributes"]["b"] = 2
    first["resource"]["c"] = 3
    assert second["attributes"] == {"a": 1}
    assert second["resource"] == {}


def test_only_columns_of_the_tables_that_are_asked_travel() -> None:
    assert point_columns(["system_metrics"]) == ("value",)
    assert point_columns(["metric_summaries", "system_metrics"]) == (
        "value",
        "count",
        "sum",
        "quantiles",
        "quantile_values",
    )


def test_few_series_are_named_where_the_planner_gains_by_it() -> None:
    named = among([-3, 2**62], POSTGRESQL)
    assert named is not None
    assert named.render("%s") == "m.series_id = ANY(CAST(%s AS BIGINT[]))"
    assert named.parameters == (f"{{-3,{2**62}}}",)


@pytest.mark.parametrize(
    ("dialect", "series"),
    [(SQLITE, 1), (POSTGRESQL, MAX_LISTED_SERIES + 1)],
    ids=["sqlite", "many"],
)
def test_elsewhere_and_of_many_none_is(dialect: Dialect, series: int) -> None:
    assert among(range(series), dialect) is None
