"""Values as JSON text."""

import math
from decimal import Decimal

import pytest

from exporter.json_text import canonical_json, json_ready, non_finite_name, read_float


def test_canonical_text_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": [1.0, "é"]}) == '{"a":[1.0,"é"],"b":1}'


def test_canonical_text_refuses_what_json_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"a": math.inf})


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1.5])
def test_a_name_reads_back_as_its_number(value: float) -> None:
    assert read_float(json_ready(value)) == value


def test_nan_and_null_are_told_apart() -> None:
    assert non_finite_name(math.nan) == "NaN"
    assert math.isnan(read_float("NaN") or 0.0)
    assert read_float(None) is None


def test_values_inside_of_others_are_named_too() -> None:
    value = {"a": (math.nan, Decimal("1.10"), Decimal("1E-9")), "b": -math.inf}
    assert json_ready(value) == {"a": ["NaN", "1.10", "0.000000001"], "b": "-Infinity"}
