"""`Reader.cost_totals` reads a roll-up exactly when it gives the same answer as the entries."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from engines.databases import Databases
from engines.statements import execute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.rollups import (
    DAY,
    HOUR,
    MIDNIGHT,
    STARTS,
    TIMES,
    RecordingBackend,
    RollupStore,
    common_steps,
    rollup_store,
)

from exporter.backends.base import Backend
from exporter.cli.report import cost_report
from exporter.model import Batch, CostEntry

HOURLY, DAILY = "cost_rollups_hourly", "cost_rollups_daily"

_Entry = tuple[float, str, str]


def entry(number: int, time: float, amount: str, category: str) -> CostEntry:
    return CostEntry(
        entry_id=f"entry-{number}",
        time_unix_nano=round(time * 1_000_000) * 1_000,
        resource_id=f"resource-{number % 3}",
        category=category,
        amount=Decimal(amount),
        currency="USD" if number % 5 else "EUR",
        region="eu-west-1" if number % 2 else None,
        tags='{"team":"search"}' if number % 2 else "{}",
    )


def store(entries: Sequence[_Entry], backend: Backend, *, first: int = 0) -> None:
    """Write entries, numbered from `first`."""
    numbered = enumerate(entries, first)
    backend.write(Batch(costs=tuple(entry(number, *one) for number, one in numbered)))


def days(number: int, *, every: int = HOUR) -> list[_Entry]:
    times = range(MIDNIGHT, MIDNIGHT + number * DAY, every)
    return [(time, f"0.{at:09d}", ("compute", "storage")[at % 2]) for at, time in enumerate(times)]


def compared(stored: RollupStore, *ends: float | None, **question: Any) -> RecordingBackend:
    """Ask with roll-ups and without; the answers must be equal, to the last digit."""
    recording, answer, expected = stored.answers(
        lambda reader: reader.cost_totals(*ends, **question)
    )
    assert answer == expected
    return recording


@pytest.mark.parametrize(
    ("view", "question"),
    [
        (HOURLY, {"bucket_seconds": HOUR}),
        (HOURLY, {"bucket_seconds": 6 * HOUR, "start_time": MIDNIGHT + 1_234.5}),
        (HOURLY, {"start_time": MIDNIGHT + 7, "end_time": MIDNIGHT + 2 * DAY + 7}),
        (DAILY, {"bucket_seconds": 2 * DAY}),
        (DAILY, {"start_time": MIDNIGHT + DAY, "end_time": MIDNIGHT + 2 * DAY}),
        (DAILY, {"category": "storage"}),
        (DAILY, {"region": "eu-west-1", "limit": 3}),
        (DAILY, {}),
    ],
    ids=str,
)
def test_totals_are_equal_and_come_from_the_roll_up(
    timescaledb_database: str, view: str, question: dict[str, Any]
) -> None:
    entries = days(30 if view == DAILY else 4)
    with rollup_store(timescaledb_database, partial(store, entries)) as stored:
        stored.refresh(HOURLY)
        stored.refresh(DAILY)
        for group_by in ((), ("category",), ("resource_id", "region")):
            recording = compared(stored, group_by=group_by, **question)
            assert recording.views() == [view]


@pytest.mark.parametrize(
    "question",
    [
        {"group_by": ["team"]},
        {"tags": {"team": "search"}},
        {"bucket_seconds": HOUR / 2},
        {"start_time": MIDNIGHT + 60, "end_time": MIDNIGHT + DAY},
    ],
    ids=str,
)
def test_questions_that_no_roll_up_covers_are_answered_from_the_entries(
    timescaledb_database: str, question: dict[str, Any]
) -> None:
    with rollup_store(timescaledb_database, partial(store, days(3))) as stored:
        stored.refresh(HOURLY)
        assert compared(stored, **question).views() == []


def test_entries_changed_since_the_last_refresh_are_read_from_the_table(
    timescaledb_database: str,
) -> None:
    with rollup_store(timescaledb_database, partial(store, days(3))) as stored:
        stored.refresh(HOURLY)
        assert not _reads_entries(compared(stored, bucket_seconds=HOUR))
        execute(stored.connection, "UPDATE cost_entries SET amount = 7 WHERE entry_id = 'entry-5'")
        assert _reads_entries(compared(stored, bucket_seconds=HOUR))
        assert not _reads_entries(compared(stored, MIDNIGHT + DAY, bucket_seconds=HOUR))
        stored.refresh(HOURLY)
        assert not _reads_entries(compared(stored, bucket_seconds=HOUR))


def _reads_entries(recording: RecordingBackend) -> bool:
    """Whether a chunk of the entries was scanned for the last answer."""
    return any(
        "cost_entries" in line and "never executed" not in line and "->" in line
        for line in recording.plan()
    )


def test_entries_of_points_that_cost_nothing_are_not_in_a_roll_up(
    timescaledb_database: str,
) -> None:
    with rollup_store(timescaledb_database, partial(store, days(3))) as stored:
        execute(
            stored.connection,
            "UPDATE cost_entries SET amount = 0, series_id = 7 WHERE entry_id < 'entry-2'",
        )
        stored.refresh(HOURLY)
        recording = compared(stored, bucket_seconds=HOUR, group_by=["category"])
        assert recording.views() == [HOURLY]


def test_a_report_is_the_same_with_roll_ups(timescaledb_database: str) -> None:
    with rollup_store(timescaledb_database, partial(store, days(60))) as stored:
        stored.refresh(HOURLY)
        stored.refresh(DAILY)
        start, end = MIDNIGHT + 30 * DAY, MIDNIGHT + 60 * DAY
        with_rollups, without = (
            cost_report(
                RecordingBackend(stored.backend, rollups=rollups).reader(),
                start,
                end,
                None,
                top=3,
                filters={},
            )
            for rollups in (True, False)
        )
        assert with_rollups == without
        assert [one.currency for one in without.currencies] == ["EUR", "USD"]


# ---- any steps in any order ----

AMOUNTS = st.decimals(-1_000, 1_000, places=9).map(str)
ENTRIES = st.lists(st.tuples(TIMES, AMOUNTS, st.sampled_from(["compute", "network"])), min_size=1)
STEPS = st.one_of(
    st.tuples(st.just("write"), ENTRIES),
    st.tuples(st.just("change"), st.integers(0, 31), AMOUNTS),
    common_steps(HOURLY, DAILY),
)
QUESTIONS = st.fixed_dictionaries(
    {
        "bucket_seconds": st.sampled_from([None, HOUR, 6 * HOUR, DAY, 2 * DAY]),
        "group_by": st.sampled_from([(), ("category",), ("resource_id",), ("team",)]),
    }
)


def run_step(stored: RollupStore, at: int, step: tuple[Any, ...]) -> None:
    match step:
        case ("write", entries):
            store(entries, stored.backend, first=1_000 * (at + 1))
        case ("change", number, amount):
            execute(
                stored.connection,
                "UPDATE cost_entries SET amount = %s, series_id = 7 WHERE entry_id = %s",
                (amount, f"entry-{number}"),
            )
        case _:
            stored.run_step(step)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(STEPS, min_size=1, max_size=6),
    question=QUESTIONS,
    ends=st.tuples(STARTS, STARTS).filter(lambda two: None in two or two[0] <= two[1]),
)
def test_totals_equal_those_from_the_entries_after_any_steps(
    timescaledb_server: Databases,
    steps: list[tuple[Any, ...]],
    question: dict[str, Any],
    ends: tuple[float | None, float | None],
) -> None:
    first = partial(store, days(4, every=3 * HOUR))
    with timescaledb_server.fresh() as dsn, rollup_store(dsn, first) as stored:
        for at, step in enumerate([("refresh", HOURLY, None), ("refresh", DAILY, None), *steps]):
            run_step(stored, at, step)
            compared(stored, *ends, **question)
