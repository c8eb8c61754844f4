"""Migrations: their order, what is pending, and running them on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.backends.migration_files import Migration, load_migrations, pending, sort_migrations
from exporter.backends.sqlite.schema import applied_versions, migrate, split_statements
from exporter.errors import BackendRefusedError

KNOWN = load_migrations("sqlite")
ADD_ONE = Migration(len(KNOWN) + 1, "add_one", "CREATE TABLE one (x INTEGER);")
BREAK = Migration(
    len(KNOWN) + 1, "break", "CREATE TABLE one (x INTEGER);\nINSERT INTO nowhere VALUES (1);"
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


def tables(connection: sqlite3.Connection) -> set[str]:
    return {
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
    }


def test_migrations_are_sorted_by_version() -> None:
    found = sort_migrations({"0002_b.sql": "B", "0001_a.sql": "A", "0003_c_3.sql": "C"})
    assert found == (Migration(1, "a", "A"), Migration(2, "b", "B"), Migration(3, "c_3", "C"))


@pytest.mark.parametrize(
    "names",
    [
        ["0002_b.sql"],
        ["0001_a.sql", "0003_c.sql"],
        ["0001_a.sql", "0001_b.sql"],
        ["0000_a.sql", "0001_b.sql"],
        ["1_a.sql"],
        ["0001_A.sql"],
        ["0001_a.txt"],
    ],
    ids=" ".join,
)
def test_gaps_repetitions_and_other_names_are_refused(names: list[str]) -> None:
    with pytest.raises(BackendRefusedError, match="reinstall the package"):
        sort_migrations(dict.fromkeys(names, ""))


def test_the_migrations_of_the_package_are_found() -> None:
    assert KNOWN[0].name == "initial"
    assert [migration.version for migration in KNOWN] == list(range(1, len(KNOWN) + 1))


@pytest.mark.parametrize("applied", range(4))
def test_pending_migrations_follow_the_applied_ones(applied: int) -> None:
    known = sort_migrations({f"000{version}_m.sql": "" for version in (1, 2, 3)})
    waiting = pending(known, range(1, applied + 1), "here")
    assert [migration.version for migration in waiting] == list(range(applied + 1, 4))


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(BackendRefusedError, match=r"here.* version 9, .* up to 1; use the newer"):
        pending(KNOWN[:1], [1, 9], "here")


@pytest.mark.parametrize("applied", [[2], [1, 3], [1, 1], [0, 1]], ids=str)
def test_records_with_gaps_are_refused(applied: list[int]) -> None:
    known = sort_migrations({f"000{version}_m.sql": "" for version in (1, 2, 3)})
    with pytest.raises(BackendRefusedError, match="without gap"):
        pending(known, applied, "here")


def test_reading_versions_of_an_empty_database_changes_nothing(
    connection: sqlite3.Connection,
) -> None:
    assert applied_versions(connection) == []
    assert tables(connection) == set()


def test_a_second_migrate_changes_nothing(connection: sqlite3.Connection) -> None:
    assert migrate(connection, KNOWN, "here") == tuple(range(1, len(KNOWN) + 1))
    made = tables(connection)
    assert made >= {"metric_series", "system_metrics", "schema_migrations"}
    assert migrate(connection, KNOWN, "here") == ()
    assert tables(connection) == made
    assert applied_versions(connection) == [migration.version for migration in KNOWN]


def test_only_pending_migrations_run(connection: sqlite3.Connection) -> None:
    migrate(connection, KNOWN, "here")
    connection.execute("INSERT INTO system_metrics (timestamp, series_id) VALUES (1, 2)")
    assert migrate(connection, (*KNOWN, ADD_ONE), "here") == (ADD_ONE.version,)
    assert "one" in tables(connection)
    assert connection.execute("SELECT count(*) FROM system_metrics").fetchone() == (1,)


def test_a_failed_migration_is_rolled_back(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, (*KNOWN, BREAK), "here")
    assert applied_versions(connection) == [migration.version for migration in KNOWN]
    assert "one" not in tables(connection)
    assert not connection.in_transaction
    assert migrate(connection, (*KNOWN, ADD_ONE), "here") == (ADD_ONE.version,)


def test_the_time_of_each_migration_is_recorded(connection: sqlite3.Connection) -> None:
    migrate(connection, KNOWN, "here")
    [(now,)] = connection.execute("SELECT CAST(strftime('%s') AS INTEGER) * 1000000")
    [(applied_at,)] = connection.execute("SELECT applied_at FROM schema_migrations LIMIT 1")
    assert abs(applied_at - now) < 60_000_000


def test_a_migration_by_another_program_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as first,
        closing(sqlite3.connect(path, isolation_level=None)) as second,
    ):
        assert applied_versions(first) == applied_versions(second) == []
        assert migrate(second, KNOWN, "here")
        assert migrate(first, KNOWN, "here") == ()


def test_a_script_is_split_into_statements() -> None:
    script = """-- about; the first
CREATE TABLE a (x TEXT DEFAULT ';');
CREATE TRIGGER t AFTER INSERT ON a BEGIN
    DELETE FROM a;
    SELECT 1;
END;
SELECT 'two; halves
of a line';
SELECT 3 -- without an end"""
    found = list(split_statements(script))
    assert "".join(found) == script
    assert [one.split()[0] for one in found] == ["--", "CREATE", "SELECT", "SELECT"]
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in found:
            connection.execute(statement)
