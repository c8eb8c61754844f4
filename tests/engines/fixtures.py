"""Fixtures with real databases, and the options that name servers to use instead.

A pytest plugin: `pytest_plugins = ["engines.fixtures"]`.

    postgresql_server    one PostgreSQL for the session
    timescaledb_server   one TimescaleDB for the session
    postgresql_database, timescaledb_database
                         the connection string of a fresh database for one test
    timescaledb_apache_database
                         the same under the Apache license, without the columnstore and policies
    own_postgresql_server, own_timescaledb_server
                         a server for tests that stop it; started again after each of them

An engine that cannot start fails the tests that asked for it; nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import psycopg2
import pytest

from engines.asking import ask
from engines.databases import Databases
from engines.errors import EngineError
from engines.node import Node
from engines.postgresql import MAJOR_VERSIONS, PostgreSQLServer
from engines.postgresql_programs import version as postgresql_version
from engines.timescaledb import APACHE, TimescaleDBServer, package_version

__all__ = [
    "own_postgresql_server",
    "own_timescaledb_server",
    "postgresql_database",
    "postgresql_server",
    "pytest_addoption",
    "pytest_configure",
    "pytest_report_header",
    "timescaledb_apache_database",
    "timescaledb_database",
    "timescaledb_server",
]

_POSTGRESQL: Final = "--pg-dsn"
_MAJOR: Final = "--pg-major"
_TIMESCALEDB: Final = "--timescaledb-dsn"
_EXTENSION_VERSION: Final = (
    "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
)
_NAMES: Final = pytest.StashKey[tuple[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller name servers."""
    group = parser.getgroup("engines", "the databases that the tests run against")
    help_text = "run against this server instead of one of the tests' own, in databases made there"
    group.addoption(_POSTGRESQL, metavar="DSN", help=f"PostgreSQL: {help_text}")
    group.addoption(_TIMESCALEDB, metavar="DSN", help=f"TimescaleDB: {help_text}")
    group.addoption(
        _MAJOR,
        type=int,
        choices=MAJOR_VERSIONS,
        default=MAJOR_VERSIONS[0],
        help="which PostgreSQL to start, if none is named; default: %(default)s",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Ask the named servers for their versions; one that does not answer ends the run here."""
    config.stash[_NAMES] = (
        _ask_for_version(config, _POSTGRESQL, "SHOW server_version") or _name_postgresql(config),
        _ask_for_version(config, _TIMESCALEDB, _EXTENSION_VERSION) or _name_timescaledb(),
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Name the engines."""
    postgresql, timescaledb = config.stash[_NAMES]
    return f"engines: {postgresql}; {timescaledb}"


def _ask_for_version(config: pytest.Config, option: str, question: str) -> str | None:
    dsn = config.getoption(option)
    if dsn is None:
        return None
    try:
        return f"{option} {Databases(dsn).ask(question)}"
    except EngineError as error:
        raise pytest.UsageError(f"{option}: {error}") from error


def _name_postgresql(config: pytest.Config) -> str:
    try:
        return f"PostgreSQL {postgresql_version(config.getoption(_MAJOR))}"
    except EngineError as error:
        return f"no PostgreSQL ({error})"


def _name_timescaledb() -> str:
    try:
        return f"TimescaleDB in pglite {package_version()}, Node.js {Node.find().version}"
    except EngineError as error:
        return f"no TimescaleDB ({error})"


@pytest.fixture(scope="session")
def postgresql_server(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """Throw-away databases on a PostgreSQL server."""
    dsn = pytestconfig.getoption(_POSTGRESQL)
    if dsn is not None:
        yield from _of_the_caller(dsn)
        return
    with PostgreSQLServer(major=pytestconfig.getoption(_MAJOR)) as server:
        yield server.databases


@pytest.fixture(scope="session")
def _own_timescaledb() -> Iterator[TimescaleDBServer]:
    with TimescaleDBServer() as server:
        yield server


@pytest.fixture(scope="session")
def timescaledb_server(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config
) -> Iterator[Databases]:
    """Throw-away databases on a TimescaleDB server."""
    dsn = pytestconfig.getoption(_TIMESCALEDB)
    if dsn is not None:
        yield from _of_the_caller(dsn)
        return
    server: TimescaleDBServer = request.getfixturevalue("_own_timescaledb")
    yield server.databases
    server.databases.drop_all()


@pytest.fixture
def postgresql_database(postgresql_server: Databases) -> Iterator[str]:
    """The connection string of an empty PostgreSQL database."""
    with postgresql_server.fresh() as dsn:
        yield dsn


@pytest.fixture
def timescaledb_database(timescaledb_server: Databases) -> Iterator[str]:
    """The connection string of a database with the extension and nothing else."""
    with timescaledb_server.fresh() as dsn:
        with closing(psycopg2.connect(dsn)) as connection, connection:
            ask(connection, "CREATE EXTENSION IF NOT EXISTS timescaledb")
        yield dsn


@pytest.fixture
def timescaledb_apache_database(
    timescaledb_server: Databases, pytestconfig: pytest.Config
) -> Iterator[str]:
    """The same under the Apache license; a named server has one license, so not there."""
    if pytestconfig.getoption(_TIMESCALEDB) is not None:
        pytest.skip(f"{_TIMESCALEDB} names a server, and its license is what it is")
    with timescaledb_server.fresh(APACHE) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def _stoppable_postgresql(pytestconfig: pytest.Config) -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer(major=pytestconfig.getoption(_MAJOR)) as server:
        yield server


@pytest.fixture
def own_postgresql_server(_stoppable_postgresql: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """A server for this test alone to stop and start; `--pg-dsn` does not change it."""
    yield _stoppable_postgresql
    if not _stoppable_postgresql.is_running:
        _stoppable_postgresql.start()
    _stoppable_postgresql.databases.drop_all()


@pytest.fixture
def own_timescaledb_server(_own_timescaledb: TimescaleDBServer) -> Iterator[TimescaleDBServer]:
    """A server for this test to stop and start; `--timescaledb-dsn` does not change it.

    It is the one of `timescaledb_server`, because a second one takes seconds and 400 MB, and so
    may do each database that a test does not drop.
    """
    yield _own_timescaledb
    if not _own_timescaledb.is_running:
        _own_timescaledb.start()


def _of_the_caller(dsn: str) -> Iterator[Databases]:
    databases = Databases(dsn)
    yield databases
    databases.drop_all()
