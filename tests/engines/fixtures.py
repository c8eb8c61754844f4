"""Fixtures with real databases, and the options that name existing servers to use instead.

A pytest plugin: `pytest_plugins = ["engines.fixtures"]`; README.md lists the fixtures. An engine
that cannot start fails the tests that use it; nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import psycopg2
import pytest

from engines.databases import Databases
from engines.errors import EngineError
from engines.node import Node
from engines.postgresql import MAJOR_VERSIONS, PostgreSQLServer
from engines.postgresql_binaries import version as postgresql_version
from engines.statements import execute
from engines.timescaledb import APACHE, TimescaleDBServer, package_version

_POSTGRESQL: Final = "--pg-dsn"
_MAJOR: Final = "--pg-major"
_TIMESCALEDB: Final = "--timescaledb-dsn"
_EXTENSION_VERSION: Final = (
    "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
)
_NAMES: Final = pytest.StashKey[tuple[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that name servers."""
    group = parser.getgroup("engines", "the databases that the tests run against")
    help_text = "run against this server instead of a temporary one, in databases created there"
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
    """Read the versions of the named servers; the run ends if one does not answer."""
    config.stash[_NAMES] = (
        _read_version(config, _POSTGRESQL, "SHOW server_version") or _name_postgresql(config),
        _read_version(config, _TIMESCALEDB, _EXTENSION_VERSION) or _name_timescaledb(),
    )


def pytest_report_header(config: pytest.Config) -> str:
    """Name the engines."""
    postgresql, timescaledb = config.stash[_NAMES]
    return f"engines: {postgresql}; {timescaledb}"


def _read_version(config: pytest.Config, option: str, statement: str) -> str | None:
    dsn = config.getoption(option)
    if dsn is None:
        return None
    try:
        return f"{option} {Databases(dsn).fetch_value(statement)}"
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
    """Temporary databases on a PostgreSQL server."""
    dsn = pytestconfig.getoption(_POSTGRESQL)
    if dsn is not None:
        yield from _external_databases(dsn)
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
    """Temporary databases on a TimescaleDB server."""
    dsn = pytestconfig.getoption(_TIMESCALEDB)
    if dsn is not None:
        yield from _external_databases(dsn)
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
    """The connection string of a database with only the extension."""
    with timescaledb_server.fresh() as dsn:
        with closing(psycopg2.connect(dsn)) as connection, connection:
            execute(connection, "CREATE EXTENSION IF NOT EXISTS timescaledb")
        yield dsn


@pytest.fixture
def timescaledb_apache_database(
    timescaledb_server: Databases, pytestconfig: pytest.Config
) -> Iterator[str]:
    """The same under the Apache license; skipped on a named server, whose license is fixed."""
    if pytestconfig.getoption(_TIMESCALEDB) is not None:
        pytest.skip(f"{_TIMESCALEDB} names a server, whose license cannot be changed")
    with timescaledb_server.fresh(APACHE) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def _stoppable_postgresql(pytestconfig: pytest.Config) -> Iterator[PostgreSQLServer]:
    with PostgreSQLServer(major=pytestconfig.getoption(_MAJOR)) as server:
        yield server


@pytest.fixture
def own_postgresql_server(_stoppable_postgresql: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """A temporary server that the test may stop and start, also with `--pg-dsn`."""
    yield _stoppable_postgresql
    if not _stoppable_postgresql.is_running:
        _stoppable_postgresql.start()
    _stoppable_postgresql.databases.drop_all()


@pytest.fixture
def own_timescaledb_server(_own_timescaledb: TimescaleDBServer) -> Iterator[TimescaleDBServer]:
    """A temporary server that the test may stop and start, also with `--timescaledb-dsn`.

    It is the server of `timescaledb_server`, because a second one takes seconds and 400 MB. Each
    database that a test does not drop may take as much.
    """
    yield _own_timescaledb
    if not _own_timescaledb.is_running:
        _own_timescaledb.start()


def _external_databases(dsn: str) -> Iterator[Databases]:
    databases = Databases(dsn)
    yield databases
    databases.drop_all()
