import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.render.quantities import format_number, format_quantity


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.0, "0"),
        (-0.0, "0"),
        (7, "7"),
        (7.0, "7"),
        (1234567, "1,234,567"),
        (123456789012345.0, "123,456,789,012,345"),
        (1e15, "1e+15"),
        (1234.5678, "1,235"),
        (12.5, "12.5"),
        (12.3456, "12.35"),
        (0.123456, "0.1235"),
        (0.00012346, "0.0001235"),
        (0.000012345, "1.234e-05"),
        (9999.6, "10,000"),
        (0.99999, "1"),
        (-12.3456, "-12.35"),
        (5e-324, "4.941e-324"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_numbers_have_four_significant_digits(value: float, expected: str) -> None:
    assert format_number(value) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, "By", "0 B"),
        (512, "By", "512 B"),
        (1024, "By", "1 KiB"),
        (1_300_000_000, "By", "1.211 GiB"),
        (-2048, "By", "-2 KiB"),
        (3.5, "MiBy", "3.5 MiB"),
        (2, "kBy", "1.953 KiB"),
        (2.0**70, "By", "1,024 EiB"),
        (1_048_576, "By/s", "1 MiB/s"),
        (0, "s", "0 s"),
        (2e-9, "s", "2 ns"),
        (0.00042, "s", "420 µs"),
        (0.25, "s", "250 ms"),
        (90, "s", "90 s"),
        (300, "s", "5 min"),
        (10_800, "s", "3 h"),
        (864_000, "s", "10 d"),
        (1500, "ms", "1.5 s"),
        (12, "us", "12 µs"),
        (0.5, "s/s", "500 ms/s"),
        (3_200_000_000, "Hz", "3.2 GHz"),
        (0.25, "W", "250 mW"),
        (0, "J", "0 J"),
        (21.5, "Cel", "21.5 °C"),
        (97.25, "%", "97.25 %"),
        (12, "{request}", "12 request"),
        (0.5, "{request}/s", "0.5 request/s"),
        (3, "1/s", "3/s"),
        (42, "", "42"),
        (42, "1", "42"),
        (4.5, "USD", "4.5 USD"),
        (math.nan, "By", "NaN"),
        (1e308, "GBy", "1e+308"),
    ],
)
def test_the_multiple_of_the_unit_suits_the_value(value: float, unit: str, expected: str) -> None:
    assert format_quantity(value, unit) == expected


def test_a_ratio_is_a_percentage() -> None:
    assert format_quantity(0.0123, "1", is_ratio=True) == "1.23 %"


UNITS = st.sampled_from(["By", "s", "ms", "h", "Hz", "1", "", "/s", "By/s", "{x}", "%", "GBy"])


@given(st.floats() | st.integers(-(2**63), 2**63), UNITS | st.text())
def test_every_number_can_be_formatted(value: float, unit: str) -> None:
    assert format_quantity(value, unit)
