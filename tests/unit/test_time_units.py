"""Conversions of time keep every digit that their target has."""

from datetime import UTC, datetime

from exporter.time_units import from_micros, from_nanos, seconds_to_micros, to_micros, to_nanos


def test_conversions_are_exact_in_both_directions() -> None:
    moment = datetime(2026, 11, 30, 23, 59, 59, 999_999, UTC)
    micros = 1_796_083_199_999_999
    assert to_micros(moment) == micros
    assert from_micros(micros) == moment
    assert to_nanos(moment) == micros * 1_000
    assert from_nanos(micros * 1_000 + 999) == moment
    assert seconds_to_micros(moment.timestamp()) == micros


def test_times_before_1970_round_down() -> None:
    assert from_nanos(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)
