"""Settings of the backend `timescaledb`: policies, chunk intervals and roll-ups follow them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from engines.statements import Connection, execute
from kit.backends.samples import SECOND, flood
from kit.backends.stored_rows import FACT_TABLES, count
from kit.backends.timescaledb import (
    COMPRESSED_TABLES,
    COMPRESSING,
    policy_ages,
    row_of_every_table,
    run_policy,
    started_timescaledb,
)

from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.backends.timescaledb import HypertableOptions
from exporter.config import load
from exporter.model import Batch

DAY: Final = 86_400 * SECOND


SECONDS_A_DAY: Final = 86_400


def test_the_retention_policy_drops_only_old_chunks(
    timescaledb_database: str, connection: Connection
) -> None:
    [(now,)] = execute(connection, "SELECT (extract(epoch FROM now()) * 1000000)::bigint * 1000")
    with started_timescaledb(timescaledb_database, COMPRESSING) as backend:
        for days in (0, 20, 40, 60):
            backend.write(row_of_every_table(now - days * DAY))
        for table in COMPRESSED_TABLES:
            run_policy(connection, table, "policy_retention")
            assert count(backend, table) == 2, table
        assert policy_ages(connection, "cost_entries") == {}
        assert count(backend, "metric_series") == 1


def test_policies_follow_the_configuration_and_are_created_once(
    timescaledb_database: str, connection: Connection
) -> None:
    for retention_days, after_days in ((30, 1), (30, 1), (7.5, 2), (90, 2)):
        options = replace(
            COMPRESSING,
            retention_days=retention_days,
            compress_after_seconds=after_days * SECONDS_A_DAY,
        )
        with started_timescaledb(timescaledb_database, options):
            for table in COMPRESSED_TABLES:
                assert policy_ages(connection, table) == {
                    "policy_retention": timedelta(days=retention_days),
                    "policy_compression": timedelta(days=after_days),
                }
    with started_timescaledb(timescaledb_database, HypertableOptions()):  # without either setting
        assert policy_ages(connection, "system_metrics") == {
            "policy_retention": timedelta(days=90),
            "policy_compression": timedelta(days=2),
        }


def test_a_retention_policy_of_costs_is_removed_by_a_receiver(
    timescaledb_database: str, connection: Connection
) -> None:
    with started_timescaledb(timescaledb_database, COMPRESSING):
        execute(connection, "SELECT add_retention_policy('cost_entries', INTERVAL '90 days')")
    with started_timescaledb(timescaledb_database):  # a command, which changes no policies
        assert policy_ages(connection, "cost_entries") == {"policy_retention": timedelta(days=90)}
    with started_timescaledb(timescaledb_database, COMPRESSING):
        assert policy_ages(connection, "cost_entries") == {}


@pytest.fixture
def configured(timescaledb_database: str) -> Callable[..., AbstractContextManager[Backend]]:
    """Start the backend with settings from environment variables, by their names."""

    @contextmanager
    def start(*, serving: bool = True, **variables: str) -> Iterator[Backend]:
        environ = {"OPENFINOPS_BACKEND": "timescaledb", "OPENFINOPS_DB_URL": timescaledb_database}
        environ |= {f"OPENFINOPS_{name}".upper(): value for name, value in variables.items()}
        backend = backend_for(load(None, environ).exporter, serving=serving)
        with closing(backend):
            backend.start()
            yield backend

    return start


def chunk_intervals(connection: Connection) -> set[timedelta]:
    found = execute(
        connection,
        "SELECT time_interval FROM timescaledb_information.dimensions"
        " WHERE hypertable_name = ANY (%s)",
        (list(FACT_TABLES),),
    )
    return {interval for (interval,) in found}


def test_settings_of_the_receiver_apply_and_those_of_other_commands_do_not(
    configured: Callable[..., AbstractContextManager[Backend]], connection: Connection
) -> None:
    with configured(
        enable_compression="true",
        compress_after_seconds="36h",
        chunk_interval_seconds="6h",
        retention_days="30",
        rollups="off",
    ):
        assert chunk_intervals(connection) == {timedelta(hours=6)}
        expected = {
            "policy_retention": timedelta(days=30),
            "policy_compression": timedelta(hours=36),
        }
        assert policy_ages(connection, "system_metrics") == expected
        assert execute(connection, "SELECT to_regclass('metric_rollups_hourly')") == [(None,)]
    with configured(serving=False, retention_days="7"):
        assert chunk_intervals(connection) == {timedelta(hours=6)}
        assert policy_ages(connection, "system_metrics") == expected
        assert execute(connection, "SELECT to_regclass('metric_rollups_hourly')") == [(None,)]
    with configured(rollups="on"):
        assert chunk_intervals(connection) == {timedelta(days=1)}
        assert execute(connection, "SELECT to_regclass('metric_rollups_hourly') IS NULL") == [
            (False,)
        ]
    with configured(rollups="off"):
        assert execute(connection, "SELECT to_regclass('metric_rollups_hourly') IS NULL") == [
            (False,)
        ]


@pytest.mark.parametrize(("mode", "compressed"), [("on", 1), ("off", 0)])
def test_direct_compress_follows_the_configuration(
    configured: Callable[..., AbstractContextManager[Backend]], mode: str, compressed: int
) -> None:
    with configured(enable_compression="true", direct_compress=mode, rollups="off") as backend:
        backend.write(Batch(points=flood(100)))
        assert backend.sizes().tables[0].compressed_partitions == compressed
