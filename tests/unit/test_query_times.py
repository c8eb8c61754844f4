import contextlib
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import QueryError
from exporter.query.times import duration_micros, parse_duration, parse_time, time_micros

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
NOW = NOON.timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOON),
        ("0s", NOON),
        ("7d", NOON - timedelta(days=7)),
        ("2w", NOON - timedelta(days=14)),
        ("90m", NOON - timedelta(minutes=90)),
        ("1h30m", NOON - timedelta(minutes=90)),
        ("30m1h", NOON - timedelta(minutes=90)),
        ("1.5h", NOON - timedelta(minutes=90)),
        ("250ms", NOON - timedelta(milliseconds=250)),
        (" 10s ", NOON - timedelta(seconds=10)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T17:04", datetime(2026, 11, 23, 17, 4, tzinfo=UTC)),
        ("2026-11-23 17:04:05.25", datetime(2026, 11, 23, 17, 4, 5, 250_000, tzinfo=UTC)),
        ("2026-11-23T17:04:05Z", datetime(2026, 11, 23, 17, 4, 5, tzinfo=UTC)),
        ("2026-11-23T17:04:05+01:00", datetime(2026, 11, 23, 16, 4, 5, tzinfo=UTC)),
        ("20261123T170405Z", datetime(2026, 11, 23, 17, 4, 5, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1795453445", datetime(2026, 11, 23, 17, 4, 5, tzinfo=UTC)),
        ("1795453445.25", datetime(2026, 11, 23, 17, 4, 5, 250_000, tzinfo=UTC)),
        ("1.795453445e9", datetime(2026, 11, 23, 17, 4, 5, tzinfo=UTC)),
        ("-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_each_form_of_a_time(text: str, expected: datetime) -> None:
    assert parse_time(text, NOW) == expected.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "7x",
        "-7d",
        "7d ago",
        "1h30",
        "1H",
        "5M",
        "2026-13-01",
        "2026-11-23T25:00",
        "nan",
        "inf",
        "1e999",
        "1795453445000",
        "1795453445000000000",
        "99999999w",
        "٣d",
    ],
)
def test_an_invalid_time_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_time(text, NOW)
    assert repr(text) in str(caught.value)


def test_the_message_names_every_form() -> None:
    with pytest.raises(QueryError) as caught:
        parse_time("soon", NOW)
    for form in ('"now"', "90m", "7d", "2026-11-23", "epoch seconds", "UTC"):
        assert form in str(caught.value)


@pytest.mark.parametrize("text", ["2026", "20261123", "19991231"])
def test_a_date_without_dashes_is_not_read_as_epoch_seconds(text: str) -> None:
    with pytest.raises(QueryError, match="with dashes"):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("2w", 1_209_600.0),
        ("1d12h", 129_600.0),
        ("250ms", 0.25),
        ("0s", 0.0),
        ("60", 60.0),
        ("0.5", 0.5),
    ],
)
def test_each_form_of_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "-1h", "-5", "1 h", "h", "1y", "nan", "1e400", "9e15s", "1h-5m"]
)
def test_an_invalid_duration_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@given(st.dictionaries(st.sampled_from(["w", "d", "h", "m", "s"]), st.integers(0, 999), min_size=1))
def test_the_parts_of_a_duration_add_up(parts: dict[str, int]) -> None:
    names = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    expected = timedelta(**{names[unit]: amount for unit, amount in parts.items()})
    text = "".join(f"{amount}{unit}" for unit, amount in parts.items())
    assert parse_duration(text) == expected.total_seconds()


@given(st.text() | st.from_regex(r"[0-9.+:TZmshdw e-]*", fullmatch=True))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(QueryError):
        assert math.isfinite(parse_time(text, NOW))
    with contextlib.suppress(QueryError):
        assert parse_duration(text) >= 0


@given(st.integers(0, 4_102_444_800_000_000))
def test_a_stored_time_is_unchanged_after_epoch_seconds(micros: int) -> None:
    assert time_micros(micros / 1_000_000, "start_time") == micros


# Fixed offsets: Python compares a time near a daylight saving change as unequal to any other.
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=OFFSETS))  # noqa: DTZ001
def test_a_datetime_becomes_microseconds(moment: datetime) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=time_micros(moment, "start_time")
    )
    assert expected == moment


def test_a_naive_datetime_is_utc() -> None:
    assert time_micros(datetime(1970, 1, 2), "start_time") == 86_400_000_000  # noqa: DTZ001


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, True, "2026-11-23", b"1", 1j, [], 1.8e12, -1e12, 10**400],
)
def test_an_invalid_time_value_is_refused(value: object) -> None:
    with pytest.raises(QueryError, match="end_time"):
        time_micros(value, "end_time")


@pytest.mark.parametrize("value", [0, -60, 1e-9, math.nan, math.inf, True, None, "60", 1e15])
def test_an_invalid_duration_value_is_refused(value: object) -> None:
    with pytest.raises(QueryError, match="bucket_seconds"):
        duration_micros(value, "bucket_seconds")


def test_a_duration_may_be_a_fraction_of_a_second() -> None:
    assert duration_micros(0.25, "bucket_seconds") == 250_000
