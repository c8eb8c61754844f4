"""Reads of the backend `postgresql`: its pool, and the types that it returns."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg2
import pytest
from engines.statements import execute
from kit.backends.postgresql import run, started
from kit.backends.samples import series
from psycopg2.extensions import make_dsn

from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.config import load
from exporter.errors import BackendUnavailableError
from exporter.model import Batch

APPLICATION_NAME = "openfinops-test-of-the-pool"


def test_reads_wait_for_a_connection_until_the_timeout(postgresql_database: str) -> None:
    with started(postgresql_database, pool_max_connections=2, pool_timeout_seconds=0.2) as backend:
        with ThreadPoolExecutor(6) as threads:
            reads = [threads.submit(backend.fetch, "SELECT pg_sleep(0.01)") for _ in range(12)]
            assert [len(read.result()) for read in reads] == [1] * 12
        with ThreadPoolExecutor(2) as threads:
            long_reads = [threads.submit(backend.fetch, "SELECT pg_sleep(1)") for _ in range(2)]
            while len(sleeping_sessions(postgresql_database)) < 2:
                pass
            with pytest.raises(BackendUnavailableError, match="one of 2 connections"):
                backend.fetch("SELECT 1")
            assert [len(read.result()) for read in long_reads] == [1] * 2
        assert backend.fetch("SELECT 1") == [(1,)]


def sleeping_sessions(dsn: str) -> list[tuple[int]]:
    query = """
        SELECT pid FROM pg_stat_activity
        WHERE query LIKE '%pg_sleep(1)%' AND state = 'active' AND pid <> pg_backend_pid()"""
    with closing(psycopg2.connect(dsn)) as connection:
        return execute(connection, query)


def test_a_connection_killed_between_reads_is_replaced(postgresql_database: str) -> None:
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with started(postgresql_database, pool_min_connections=4) as backend:
        for _ in range(3):
            run(postgresql_database, kill)
            assert backend.fetch("SELECT 1") == [(1,)]


def test_reads_return_the_types_that_the_query_module_expects(postgresql_database: str) -> None:
    with started(postgresql_database) as backend:
        [row] = backend.fetch(
            "SELECT '{\"b\": [1.5]}'::jsonb, 5::numeric, -2.50::numeric, NULL::numeric, "
            "ARRAY[1, 'NaN', '-Infinity', 1e300]::float8[], '{}'::float8[], NULL::float8[], "
            "ARRAY[18446744073709551615, 0]::numeric[], sum(n) FROM generate_series(1, 3) AS n"
        )
    assert row == (
        *('{"b": [1.5]}', 5, -2.5, None),
        *('[1.0,"NaN","-Infinity",1e+300]', "[]", None),
        *("[18446744073709551615,0]", 6),
    )
    assert [type(value) for value in row[1:3]] == [int, float]


def test_a_parameter_with_nul_finds_the_sanitized_text(postgresql_database: str) -> None:
    with started(postgresql_database) as backend:
        backend.write(Batch(new_series=(series(1, metric_name="a\0b"),)))
        found = "SELECT series_id FROM metric_series WHERE metric_name = %s"
        assert backend.fetch(found, ["a\0b"]) == [(1,)]


@contextmanager
def configured(dsn: str, **variables: str) -> Iterator[Backend]:
    """A backend with settings from environment variables, by their names without the prefix."""
    environ = {"OPENFINOPS_BACKEND": "postgresql", "OPENFINOPS_DB_URL": dsn}
    environ |= {f"OPENFINOPS_POOL_{name}".upper(): value for name, value in variables.items()}
    with closing(backend_for(load(None, environ).exporter)) as backend:
        backend.start()
        yield backend


@pytest.mark.parametrize("kept", ["0", "3"])
def test_the_pool_keeps_min_connections_open(postgresql_database: str, kept: str) -> None:
    named = make_dsn(postgresql_database, application_name=APPLICATION_NAME)
    with (
        configured(named, min_connections=kept),
        closing(psycopg2.connect(postgresql_database)) as connection,
    ):
        [(sessions,)] = execute(
            connection,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s",
            (APPLICATION_NAME,),
        )
    assert sessions == int(kept) + 1  # one for writing


def test_reads_share_max_connections(postgresql_database: str) -> None:
    with (
        configured(postgresql_database, max_connections="1") as backend,
        ThreadPoolExecutor(4) as threads,
    ):
        answers = threads.map(backend.fetch, ["SELECT pg_backend_pid() FROM pg_sleep(0.02)"] * 8)
        assert len({row for rows in answers for row in rows}) == 1
