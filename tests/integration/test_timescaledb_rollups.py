"""`exporter.query` reads roll-ups where that gives the answer that the points give, and only there.

The points themselves are asked by the same reader with a dialect that knows of no roll-ups.
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
from kit.queries import Store
from kit.rollups import DAY, HOUR, MIDNIGHT, STARTS, TIMES, Filled, Watched, common_steps, filled

from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend
from exporter.backends.timescaledb.rollups import ROLLUPS as MADE
from exporter.query.rollup_planner import COST_ROLLUPS, METRIC_ROLLUPS

HOURLY, DAILY = "metric_rollups_hourly", "metric_rollups_daily"
AGGREGATIONS: Final = ("min", "max", "avg", "sum", "count", "last")
NAN: Final = math.nan


def ask_both(store: Filled, **question: Any) -> Watched:
    """Ask with roll-ups and without; the answers must be equal."""
    watched, answer, expected = store.answers(lambda reader: reader.aggregate("level*", **question))
    assert same(answer, expected), (question, answer, expected)
    return watched


def same(answer: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    without = [[row | {"value": None} for row in rows] for rows in (answer, expected)]
    return without[0] == without[1] and all(
        (math.isnan(one["value"]) and math.isnan(other["value"]))
        or math.isclose(one["value"], other["value"], rel_tol=1e-9, abs_tol=1e-6)
        for one, other in zip(answer, expected, strict=True)
    )


def days(number: int, *, every: int = HOUR // 2, name: str = "level") -> Store:
    """Two series of a name, with a point each half an hour."""
    times = range(MIDNIGHT, MIDNIGHT + number * DAY, every)
    return (
        Store()
        .gauge(name, [(time, float(time % 7)) for time in times], node="a")
        .gauge(name, [(time + 1, float(time % 11)) for time in times], node="b")
    )


def test_the_names_and_widths_are_those_that_are_made() -> None:
    widths = {"1 hour": HOUR, "1 day": DAY}
    assert {one.view: one.width_micros for one in METRIC_ROLLUPS + COST_ROLLUPS} == {
        name: widths[made.bucket] * 1_000_000 for name, made in MADE.items()
    }


def test_the_columns_are_as_documented(timescaledb_database: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "schema-postgresql.md").read_text("utf-8")
    section = page[page.index("## Roll-ups") : page.index("## Privileges")]
    of_points, of_costs = (
        re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", part, re.MULTILINE)
        for part in section.split("\n### ")[1:]
    )
    with filled(timescaledb_database, Store().into) as store:
        for view in MADE:
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
    with filled(timescaledb_database, days(30 if view == DAILY else 4).into) as store:
        store.refresh(HOURLY)
        store.refresh(DAILY)
        for group_by in ((), ("node_id",)):
            watched = ask_both(store, aggregation=aggregation, group_by=group_by, **question)
            assert watched.views() == [view]


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
def test_what_a_roll_up_does_not_cover_is_read_from_the_points(
    timescaledb_database: str, question: dict[str, Any]
) -> None:
    times = range(MIDNIGHT, MIDNIGHT + 3 * DAY, HOUR // 2)
    store = Store().counter("level", [(time, float(time)) for time in times])
    with filled(timescaledb_database, store.into) as stored:
        stored.refresh(HOURLY)
        assert ask_both(stored, **question).views() == []


def chunks_read(plan: list[str], relation: str) -> int:
    """How many of a table's chunks were scanned."""
    scanned = "\n".join(line for line in plan if "never executed" not in line)
    return len(set(re.findall(rf" on (_hyper_{relation}_\d+_chunk)\b", scanned)))


def test_of_roll_up_and_points_only_one_is_read(timescaledb_database: str) -> None:
    question: dict[str, Any] = {"aggregation": "max", "bucket_seconds": HOUR}
    with filled(timescaledb_database, days(3).into) as store:
        [(points, rolled)] = execute(
            store.connection,
            "SELECT raw_hypertable_id, mat_hypertable_id FROM _timescaledb_catalog.continuous_agg"
            " WHERE user_view_name = %s",
            (HOURLY,),
        )
        store.refresh(HOURLY)
        plan = ask_both(store, **question).plan()
        assert chunks_read(plan, rolled) >= 1, plan
        assert chunks_read(plan, points) == 0, plan

        late = days(1, every=DAY)
        late.into(store.backend)
        plan = ask_both(store, **question).plan()
        assert chunks_read(plan, rolled) == 0, plan
        assert chunks_read(plan, points) == 3, plan

        since = {"start_time": MIDNIGHT + 1.5 * DAY, "end_time": MIDNIGHT + 2.75 * DAY}
        plan = ask_both(store, **question, **since).plan()
        assert chunks_read(plan, rolled) >= 1, plan
        assert chunks_read(plan, points) == 0, plan

        store.refresh(HOURLY)
        plan = ask_both(store, **question).plan()
        assert chunks_read(plan, points) == 0, plan


def test_what_came_since_the_last_refresh_is_read_from_the_points(
    timescaledb_database: str,
) -> None:
    with filled(timescaledb_database, days(3).into) as store:
        store.refresh(HOURLY, MIDNIGHT, MIDNIGHT + 2 * DAY)
        watched = ask_both(
            store, aggregation="count", bucket_seconds=12 * HOUR, start_time=MIDNIGHT + 10
        )
        assert watched.views() == [HOURLY]
        assert ask_both(store, aggregation="count", bucket_seconds=HOUR).views() == [HOURLY]
        plan = watched.plan()
        assert any("never executed" in line for line in plan), plan


def test_late_points_that_are_written_compressed_are_noticed(timescaledb_database: str) -> None:
    options = HypertableOptions(enable_compression=True, direct_compress="on")
    with filled(timescaledb_database, days(3).into, options) as store:
        store.refresh(HOURLY)
        question: dict[str, Any] = {"aggregation": "count", "bucket_seconds": HOUR}
        before = ask_both(store, **question).reader().aggregate("level", **question)
        days(3, every=30).into(store.backend)
        after = ask_both(store, **question).reader().aggregate("level", **question)
        assert [row["value"] for row in before] == [4] * 72
        assert [row["value"] for row in after] == [4 + 240] * 72
        store.refresh(HOURLY)
        assert ask_both(store, **question).views() == [HOURLY]


def test_chunks_of_points_that_are_dropped_are_gone_from_answers_at_once(
    timescaledb_database: str,
) -> None:
    options = HypertableOptions(retention_days=90)
    with filled(timescaledb_database, days(4).into, options) as store:
        store.refresh(HOURLY)
        store.backend.delete_before((MIDNIGHT + 2 * DAY) * 10**9)
        question: dict[str, Any] = {"aggregation": "count", "bucket_seconds": DAY}
        assert len(ask_both(store, **question).reader().aggregate("level", **question)) == 2
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
        ask_both(store, **question)


def test_a_role_without_the_right_to_the_roll_up_reads_the_points(
    timescaledb_database: str,
) -> None:
    with filled(timescaledb_database, days(3).into) as store:
        store.refresh(HOURLY)
        clerk = f"clerk_{uuid.uuid4().hex}"
        password = psycopg2.extensions.parse_dsn(timescaledb_database).get("password", "")
        execute(store.connection, f"CREATE ROLE {clerk} LOGIN PASSWORD %s", (password,))
        try:
            tables = "system_metrics, metric_series, schema_migrations"
            execute(store.connection, f"GRANT SELECT ON {tables} TO {clerk}")
            watched = Watched(store.backend)
            question: dict[str, Any] = {"aggregation": "max", "bucket_seconds": HOUR}
            expected = watched.reader().aggregate("level", **question)
            as_clerk = psycopg2.extensions.make_dsn(timescaledb_database, user=clerk)
            for views, grant in (([], None), ([HOURLY], f"GRANT SELECT ON {HOURLY} TO {clerk}")):
                if grant:
                    execute(store.connection, grant)
                with closing(timescaledb_backend(as_clerk, read_only=True)) as backend:
                    backend.start()
                    watched = Watched(backend)
                    assert watched.reader().aggregate("level", **question) == expected
                    assert watched.views() == views
        finally:
            execute(store.connection, f"DROP OWNED BY {clerk}")
            execute(store.connection, f"DROP ROLE {clerk}")


# ---- whatever comes, in whatever order ----

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


def carry_out(store: Filled, step: tuple[Any, ...]) -> None:
    match step:
        case ("write", node, points, again):
            # The ids and identities of the first and the second series, every time.
            batch = Store()
            for name in "ab":
                batch.gauge("level", points.items() if name == node else (), node=name)
            batch.into(store.backend)
            if again:
                batch.into(store.backend)
        case _:
            store.carry_out(step)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(STEPS, min_size=1, max_size=6),
    question=QUESTIONS,
    ends=st.tuples(STARTS, STARTS).filter(lambda two: None in two or two[0] <= two[1]),
)
def test_answers_are_those_of_the_points_whatever_happened(
    timescaledb_server: Databases,
    steps: list[tuple[Any, ...]],
    question: dict[str, Any],
    ends: tuple[float | None, float | None],
) -> None:
    with timescaledb_server.fresh() as dsn, filled(dsn, days(4, every=3 * HOUR).into) as store:
        for step in [("refresh", HOURLY, None), ("refresh", DAILY, None), *steps]:
            carry_out(store, step)
            ask_both(store, start_time=ends[0], end_time=ends[1], **question)
