"""What is configured for the pool reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg2
import pytest
from engines.statements import execute
from psycopg2.extensions import make_dsn

from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.config import load

NAME = "openfinops-test-of-the-pool"


@contextmanager
def configured(dsn: str, **variables: str) -> Iterator[Backend]:
    """A backend started as a command would; settings by the names of their variables."""
    environ = {"OPENFINOPS_BACKEND": "postgresql", "OPENFINOPS_DB_URL": dsn}
    environ |= {f"OPENFINOPS_POOL_{name}".upper(): value for name, value in variables.items()}
    with closing(backend_for(load(None, environ).exporter)) as backend:
        backend.start()
        yield backend


@pytest.mark.parametrize("kept", ["0", "3"])
def test_connections_for_reading_are_kept_open(postgresql_database: str, kept: str) -> None:
    named = make_dsn(postgresql_database, application_name=NAME)
    with (
        configured(named, min_connections=kept),
        closing(psycopg2.connect(postgresql_database)) as connection,
    ):
        [(sessions,)] = execute(
            connection, "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", (NAME,)
        )
    assert sessions == int(kept) + 1  # one writes


def test_reads_share_as_many_connections_as_there_may_be(postgresql_database: str) -> None:
    with (
        configured(postgresql_database, max_connections="1") as backend,
        ThreadPoolExecutor(4) as threads,
    ):
        answers = threads.map(backend.fetch, ["SELECT pg_backend_pid() FROM pg_sleep(0.02)"] * 8)
        assert len({row for rows in answers for row in rows}) == 1
