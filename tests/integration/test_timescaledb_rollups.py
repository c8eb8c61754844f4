"""`exporter.query` reads a roll-up exactly when it gives the same answer as the points.

The expected answers come from the same reader on a backend without a hypertable catalogue.
"""

from __future__ import annotations

import math
import re
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg2
import pytest
from engines.databases import Databases
from engines.statements import execute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.batch_builder import BatchBuilder
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

from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend
from exporter.backends.timescaledb.hypertable_catalog import TimescaleDBCatalog
from exporter.backends.timescaledb.rollups import ROLLUPS

HOURLY, DAILY = "metric_rollups_hourly", "metric_rollups_daily"
AGGREGATIONS: Final = ("min", "max", "avg", "sum", "count", "last")
NAN: Final = math.nan


def compared(store: RollupStore, **question: Any) -> RecordingBackend:
    """Ask with roll-ups and without; the answers must be equal."""
    recording, answer, expected = store.answers(
        lambda reader: reader.aggregate("level*", **question)
    )
    assert same(answer, expected), (question, answer, expected)
    return recording


def same(answer: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    without = [[row | {"value": None} for row in rows] for rows in (answer, expected)]
    return without[0] == without[1] and all(
        (math.isnan(one["value"]) and math.isnan(other["value"]))
        or math.isclose(one["value"], other["value"], rel_tol=1e-9, abs_tol=1e-6)
        for one, other in zip(answer, expected, strict=True)
    )


def days(number: int, *, every: int = HOUR // 2, name: str = "level") -> BatchBuilder:
    """Two series of a name, with one point every half hour."""
    times = range(MIDNIGHT, MIDNIGHT + number * DAY, every)
    return (
        BatchBuilder()
        .gauge(name, [(time, float(time % 7)) for time in times], node="a")
        .gauge(name, [(time + 1, float(time % 11)) for time in times], node="b")
    )


def test_the_catalogue_names_the_roll_ups_that_are_created() -> None:
    widths = {"1 hour": HOUR, "1 day": DAY}
    catalog = TimescaleDBCatalog(lambda _statement, _parameters: [])
    found = [*catalog.rollups("system_metrics"), *catalog.rollups("cost_entries")]
    assert {rollup.view: rollup.bucket_micros for rollup in found} == {
        name: widths[created.bucket] * 1_000_000 for name, created in ROLLUPS.items()
    }


def test_the_columns_are_documented(timescaledb_database: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "schema-postgresql.md").read_text("utf-8")
    section = page[page.index("## Roll-ups") : page.index("## Privileges")]
    of_points, of_costs = (
        re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", part, re.MULTILINE)
        for part in section.split("\n### ")[1:]
    )
    with rollup_store(timescaledb_database, BatchBuilder().write) as store:
        for view in ROLLUPS:
            columns = execute(
                store.connection,
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = %s::regclass ORDER BY attnum",
                (view,),
            )
            assert columns == (of_costs if view.startswith("cost") else of_points)
        drop = re.search(r"`(DROP MATERIALIZED VIEW [^`]*)`", section)
        assert drop is not None
        execute(store.connection, drop[1])
        assert (
            execute(store.connection, "SELECT * FROM timescaledb_information.continuous_aggregates")
            == []
        )


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(
    ("view", "question"),
    [
        (HOURLY, {"bucket_seconds": HOUR}),
        (HOURLY, {"bucket_seconds": 6 * HOUR, "start_time": MIDNIGHT + 1_234.5}),
        (HOURLY, {"start_time": MIDNIGHT + 7, "end_time": MIDNIGHT + 2 * DAY + 7}),
        (DAILY, {"bucket_seconds": 2 * DAY}),
        (DAILY, {"start_time": MIDNIGHT + DAY, "end_time": MIDNIGHT + 2 * DAY}),
        (DAILY, {}),
    ],
    ids=str,
)
def test_answers_are_equal_and_come_from_the_roll_up(
    timescaledb_database: str, aggregation: str, view: str, question: dict[str, Any]
) -> None:
    with rollup_store(timescaledb_database, days(30 if view == DAILY else 4).write) as store:
        store.refresh(HOURLY)
        store.refresh(DAILY)
        for group_by in ((), ("node_id",)):
            recording = compared(store, aggregation=aggregation, group_by=group_by, **question)
            assert recording.views() == [view]


@pytest.mark.parametrize(
    "question",
    [
        {"aggregation": "rate"},
        {"aggregation": "increase", "bucket_seconds": HOUR},
        {"aggregation": "max", "bucket_seconds": HOUR // 2},
        {"aggregation": "max", "bucket_seconds": 1.5 * HOUR},
        {"aggregation": "max", "start_time": MIDNIGHT + 60, "end_time": MIDNIGHT + DAY},
    ],
    ids=str,
)
def test_questions_that_no_roll_up_covers_are_answered_from_the_points(
    timescaledb_database: str, question: dict[str, Any]
) -> None:
    times = range(MIDNIGHT, MIDNIGHT + 3 * DAY, HOUR // 2)
    store = BatchBuilder().counter("level", [(time, float(time)) for time in times])
    with rollup_store(timescaledb_database, store.write) as stored:
        stored.refresh(HOURLY)
        assert compared(stored, **question).views() == []


def chunks_read(plan: list[str], relation: str) -> int:
    """The number of chunks of a table that were scanned."""
    scanned = "\n".join(line for line in plan if "never executed" not in line)
    return len(set(re.findall(rf" on (_hyper_{relation}_\d+_chunk)\b", scanned)))


def test_either_the_roll_up_or_the_points_are_read(timescaledb_database: str) -> None:
    question: dict[str, Any] = {"aggregation": "max", "bucket_seconds": HOUR}
    with rollup_store(timescaledb_database, days(3).write) as store:
        [(points, rolled)] = execute(
            store.connection,
            "SELECT raw_hypertable_id, mat_hypertable_id FROM _timescaledb_catalog.continuous_agg"
            " WHERE user_view_name = %s",
            (HOURLY,),
        )
        store.refresh(HOURLY)
        plan = compared(store, **question).plan()
        assert chunks_read(plan, rolled) >= 1, plan
        assert chunks_read(plan, points) == 0, plan

        late = days(1, every=DAY)
        late.write(store.backend)
        plan = compared(store, **question).plan()
        assert chunks_read(plan, rolled) == 0, plan
        assert chunks_read(plan, points) == 3, plan

        since = {"start_time": MIDNIGHT + 1.5 * DAY, "end_time": MIDNIGHT + 2.75 * DAY}
        plan = compared(store, **question, **since).plan()
        assert chunks_read(plan, rolled) >= 1, plan
        assert chunks_read(plan, points) == 0, plan

        store.refresh(HOURLY)
        plan = compared(store, **question).plan()
        assert chunks_read(plan, points) == 0, plan


def test_points_since_the_last_refresh_are_read_from_the_table(timescaledb_database: str) -> None:
    with rollup_store(timescaledb_database, days(3).write) as store:
        store.refresh(HOURLY, MIDNIGHT, MIDNIGHT + 2 * DAY)
        recording = compared(
            store, aggregation="count", bucket_seconds=12 * HOUR, start_time=MIDNIGHT + 10
        )
        assert recording.views() == [HOURLY]
        assert compared(store, aggregation="count", bucket_seconds=HOUR).views() == [HOURLY]
        plan = recording.plan()
        assert any("never executed" in line for line in plan), plan


def test_late_points_written_compressed_are_included(timescaledb_database: str) -> None:
    options = HypertableOptions(enable_compression=True, direct_compress="on")
    with rollup_store(timescaledb_database, days(3).write, options) as store:
        store.refresh(HOURLY)
        question: dict[str, Any] = {"aggregation": "count", "bucket_seconds": HOUR}
        before = compared(store, **question).reader().aggregate("level", **question)
        days(3, every=30).write(store.backend)
        after = compared(store, **question).reader().aggregate("level", **question)
        assert [row["value"] for row in before] == [4] * 72
        assert [row["value"] for row in after] == [4 + 240] * 72
        store.refresh(HOURLY)
        assert compared(store, **question).views() == [HOURLY]


def test_dropped_chunks_disappear_from_answers_at_once(timescaledb_database: str) -> None:
    options = HypertableOptions(retention_days=90)
    with rollup_store(timescaledb_database, days(4).write, options) as store:
        store.refresh(HOURLY)
        store.backend.delete_before((MIDNIGHT + 2 * DAY) * 10**9)
        question: dict[str, Any] = {"aggregation": "count", "bucket_seconds": DAY}
        assert len(compared(store, **question).reader().aggregate("level", **question)) == 2
        policies = execute(
            store.connection,
            "SELECT hypertable_name FROM timescaledb_information.jobs"
            " WHERE proc_name = 'policy_retention' AND hypertable_name = ANY (%s)",
            ([HOURLY, DAILY],),
        )
        assert policies == []
        store.refresh(HOURLY)
        assert execute(store.connection, f"SELECT min(bucket)::date::text FROM {HOURLY}") == [  # noqa: S608
            ("2023-11-17",)
        ]
        compared(store, **question)


def test_without_select_on_the_roll_up_the_points_are_read(timescaledb_database: str) -> None:
    with rollup_store(timescaledb_database, days(3).write) as store:
        store.refresh(HOURLY)
        role = f"role_{uuid.uuid4().hex}"
        password = psycopg2.extensions.parse_dsn(timescaledb_database).get("password", "")
        execute(store.connection, f"CREATE ROLE {role} LOGIN PASSWORD %s", (password,))
        try:
            tables = "system_metrics, metric_series, schema_migrations"
            execute(store.connection, f"GRANT SELECT ON {tables} TO {role}")
            recording = RecordingBackend(store.backend)
            question: dict[str, Any] = {"aggregation": "max", "bucket_seconds": HOUR}
            expected = recording.reader().aggregate("level", **question)
            as_role = psycopg2.extensions.make_dsn(timescaledb_database, user=role)
            for views, grant in (
                ([], None),
                ([HOURLY], f"GRANT SELECT ON {HOURLY} TO {role}"),
            ):
                if grant:
                    execute(store.connection, grant)
                with closing(timescaledb_backend(as_role, read_only=True)) as backend:
                    backend.start()
                    recording = RecordingBackend(backend)
                    assert recording.reader().aggregate("level", **question) == expected
                    assert recording.views() == views
        finally:
            execute(store.connection, f"DROP OWNED BY {role}")
            execute(store.connection, f"DROP ROLE {role}")


# ---- any steps in any order ----

VALUES = st.none() | st.sampled_from([NAN, math.inf, -math.inf, 0.0]) | st.floats(-1e6, 1e6)
POINTS = st.dictionaries(TIMES, VALUES, min_size=1, max_size=12)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from("ab"), POINTS, st.booleans()),
    common_steps(HOURLY, DAILY),
)
QUESTIONS = st.fixed_dictionaries(
    {
        "aggregation": st.sampled_from(AGGREGATIONS),
        "bucket_seconds": st.sampled_from([None, HOUR, 6 * HOUR, DAY, 2 * DAY]),
        "group_by": st.sampled_from([(), ("node_id",)]),
    }
)


def run_step(store: RollupStore, step: tuple[Any, ...]) -> None:
    match step:
        case ("write", node, points, again):
            # Both series each time, so that they keep their ids.
            batch = BatchBuilder()
            for name in "ab":
                batch.gauge("level", points.items() if name == node else (), node=name)
            batch.write(store.backend)
            if again:
                batch.write(store.backend)
        case _:
            store.run_step(step)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(STEPS, min_size=1, max_size=6),
    question=QUESTIONS,
    ends=st.tuples(STARTS, STARTS).filter(lambda two: None in two or two[0] <= two[1]),
)
def test_answers_equal_those_from_the_points_after_any_steps(
    timescaledb_server: Databases,
    steps: list[tuple[Any, ...]],
    question: dict[str, Any],
    ends: tuple[float | None, float | None],
) -> None:
    with (
        timescaledb_server.fresh() as dsn,
        rollup_store(dsn, days(4, every=3 * HOUR).write) as store,
    ):
        for step in [("refresh", HOURLY, None), ("refresh", DAILY, None), *steps]:
            run_step(store, step)
            compared(store, start_time=ends[0], end_time=ends[1], **question)
