"""Rows from points and definitions, and conditions that list series."""

import pytest

from exporter.backends.dialect import POSTGRESQL, SQLITE, Dialect
from exporter.query.catalog import DEFINITION_COLUMNS
from exporter.query.filters import MAX_LISTED_SERIES, series_id_in_list
from exporter.query.points import point_columns, point_rows


def definition(series_id: int, attributes: str = "{}") -> tuple[object, ...]:
    values = {
        "series_id": series_id,
        "metric_name": "level",
        "metric_type": "gauge",
        "attributes": attributes,
        "resource": "{}",
    }
    return tuple(values.get(name) for name in DEFINITION_COLUMNS)


def test_a_point_without_a_definition_is_left_out() -> None:
    points = [(2.0, 7, None, 0.5), (1.0, 8, None, 1.5)]
    [row] = point_rows(points, ("value",), [definition(8)])
    assert (row["timestamp"], row["value"]) == (1.0, 1.5)


def test_each_row_has_its_own_attributes() -> None:
    points = [(2.0, 8, None, 0.5), (1.0, 8, None, 1.5)]
    first, second = point_rows(points, ("value",), [definition(8, '{"a":1}')])
    first["attributes"]["b"] = 2
    first["resource"]["c"] = 3
    assert second["attributes"] == {"a": 1}
    assert second["resource"] == {}


def test_only_columns_of_the_tables_are_selected() -> None:
    assert point_columns(["system_metrics"]) == ("value",)
    assert point_columns(["metric_summaries", "system_metrics"]) == (
        "value",
        "count",
        "sum",
        "quantiles",
        "quantile_values",
    )


def test_postgresql_gets_a_list_of_few_series() -> None:
    condition = series_id_in_list([-3, 2**62], POSTGRESQL)
    assert condition is not None
    assert condition.render("%s") == "m.series_id = ANY(CAST(%s AS BIGINT[]))"
    assert condition.parameters == (f"{{-3,{2**62}}}",)


@pytest.mark.parametrize(
    ("dialect", "series"),
    [(SQLITE, 1), (POSTGRESQL, MAX_LISTED_SERIES + 1)],
    ids=["sqlite", "many"],
)
def test_sqlite_and_many_series_get_no_list(dialect: Dialect, series: int) -> None:
    assert series_id_in_list(range(series), dialect) is None
