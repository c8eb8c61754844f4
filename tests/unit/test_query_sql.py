import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backends.dialect import SQLITE
from exporter.query.filters import SeriesFilters, series_condition, time_condition
from exporter.query.sql_builder import Sql, joined, sql
from exporter.query.times import TimeRange


def test_values_are_bound_and_pieces_are_inserted() -> None:
    inner = sql("b = {value}", value="{x} ? %s")
    outer = sql("a = {first} AND ({inner}) OR {inner}", first=1, inner=inner)
    assert outer.render("?") == "a = ? AND (b = ?) OR b = ?"
    assert outer.parameters == (1, "{x} ? %s", "{x} ? %s")
    assert outer.render("%s") == "a = %s AND (b = %s) OR b = %s"


def test_a_text_without_names_is_unchanged() -> None:
    assert sql("SELECT 1") == Sql(("SELECT 1",))


def test_a_missing_part_is_an_error() -> None:
    with pytest.raises(KeyError, match="missing"):
        sql("{missing}", given=1)


def test_pieces_are_joined_in_their_order() -> None:
    pieces = [sql("a"), sql("{value}", value=1), sql("c = {value}", value=2)]
    assert joined(", ", pieces) == Sql(("a, ", ", c = ", ""), (1, 2))
    assert joined(", ", []) == Sql(("",))


@given(st.lists(st.integers() | st.text() | st.none()))
def test_each_value_has_a_placeholder(values: list[object]) -> None:
    result = joined(" OR ", [sql("x = {value}", value=value) for value in values])
    assert len(result.texts) == len(values) + 1
    assert result.parameters == tuple(values)


@given(
    st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3), st.integers(0, 2**40)
)
def test_the_statement_is_valid_for_any_filter_and_contains_none_of_its_text(
    name: str, cluster: str, attributes: dict[str, str], start: int
) -> None:
    condition = series_condition(SeriesFilters(name, cluster, attributes=attributes), SQLITE)
    assert condition is not None
    times = time_condition(TimeRange(start, start + 1), SQLITE)
    text = sql(
        "SELECT 1 FROM metric_series AS s, system_metrics AS m WHERE {condition} AND {times}",
        condition=condition,
        times=times,
    )
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE metric_series (metric_name, cluster_id, attributes, resource)")
    connection.execute("CREATE TABLE system_metrics (timestamp)")
    try:
        assert connection.execute(text.render("?"), text.parameters).fetchall() == []
    finally:
        connection.close()
    shapes = {
        series_condition(
            SeriesFilters(form, "c", attributes=dict.fromkeys(map(str, attributes), "v")), SQLITE
        )
        for form in ("n", "n*")
    }
    assert condition.texts in {shape.texts for shape in shapes if shape is not None}


def test_another_dialect_is_another_value() -> None:
    dialect = replace(
        SQLITE,
        name="other",
        placeholder="%s",
        time_parameter=lambda micros: f"{micros} us",
        glob="{column} LIKE {pattern}",
        glob_pattern=lambda pattern: pattern.replace("*", "%").replace("?", "_"),
    )
    condition = series_condition(SeriesFilters("cpu.*", service_name="shop"), dialect)
    assert condition is not None
    assert condition.render(dialect.placeholder) == "s.metric_name LIKE %s AND s.service_name = %s"
    assert condition.parameters == ("cpu.%", "shop")
    since = time_condition(TimeRange(5, None), dialect)
    assert since.render("%s") == "m.timestamp >= %s"
    assert since.parameters == ("5 us",)
