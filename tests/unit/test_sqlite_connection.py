"""Settings of connections, and transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from exporter.backends.sqlite.connection import (
    connect_memory,
    connect_reader,
    connect_writer,
    forbid_writes,
    require_version,
    use_wal,
)
from exporter.errors import BackendRefusedError
from exporter.sqlite_files import transaction


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(connect_memory()) as opened:
        opened.execute("CREATE TABLE one (x INTEGER UNIQUE ON CONFLICT ROLLBACK)")
        yield opened


def content(connection: sqlite3.Connection) -> list[int]:
    return [x for (x,) in connection.execute("SELECT x FROM one ORDER BY x")]


def test_an_old_library_is_refused_and_both_versions_are_named() -> None:
    with pytest.raises(BackendRefusedError, match=r"uses SQLite 3\.34\.1, and 3\.35\.0 or later"):
        require_version((3, 34, 1))
    require_version((3, 35, 0))
    require_version()


def test_a_transaction_commits_all_or_nothing(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.execute("INSERT INTO one VALUES (1), (2)")
    with suppress(ZeroDivisionError), transaction(connection):
        connection.execute("INSERT INTO one VALUES (3)")
        raise ZeroDivisionError
    assert content(connection) == [1, 2]
    assert not connection.in_transaction


def test_the_rollback_does_not_hide_the_first_error(connection: sqlite3.Connection) -> None:
    # SQLite has already rolled back here, so a second ROLLBACK would be an error.
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), transaction(connection):
        connection.execute("INSERT INTO one VALUES (1), (1)")
    assert content(connection) == []


def test_reading_only_ends_with_its_block(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"), forbid_writes(connection):
        connection.execute("INSERT INTO one VALUES (1)")
    with forbid_writes(connection):
        connection.execute("BEGIN")
    connection.execute("INSERT INTO one VALUES (2)")
    assert not connection.in_transaction
    assert content(connection) == [2]


def test_memory_of_deleted_rows_is_freed(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE texts (x TEXT)")
    connection.executemany("INSERT INTO texts VALUES (?)", (("x" * 1_000,) for _ in range(1_000)))
    before = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute("DELETE FROM texts")
    assert connection.execute("PRAGMA page_count").fetchone()[0] < before / 50


def test_the_settings_of_each_kind_of_connection(tmp_path: Path) -> None:
    path = tmp_path / "a b?#.db"
    path.touch()
    with closing(connect_writer(path, 1.5)) as writer, closing(connect_reader(path, 1.5)) as reader:
        use_wal(writer, 1.0)

        def setting(connection: sqlite3.Connection, name: str) -> object:
            return connection.execute(f"PRAGMA {name}").fetchone()[0]

        assert setting(writer, "journal_mode") == setting(reader, "journal_mode") == "wal"
        assert setting(writer, "synchronous") == 2  # FULL
        assert setting(writer, "temp_store") == 2  # MEMORY
        assert setting(writer, "journal_size_limit") == 64 * 1024 * 1024
        assert setting(writer, "query_only") == 0
        assert setting(reader, "query_only") == 1
        assert setting(writer, "busy_timeout") == setting(reader, "busy_timeout") == 1_500


@pytest.mark.parametrize("connect", [connect_writer, connect_reader])
def test_no_connection_creates_a_file(
    tmp_path: Path, connect: object, request: pytest.FixtureRequest
) -> None:
    assert callable(connect)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connect(tmp_path / f"{request.node.name[:4]}.db", 0.1)
    assert list(tmp_path.iterdir()) == []


def test_use_wal_times_out_while_the_file_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    with closing(connect_writer(path, 0.0)) as writer, closing(connect_writer(path, 0.0)) as other:
        other.execute("CREATE TABLE one (x INTEGER)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            use_wal(writer, 0.02)
        other.execute("ROLLBACK")
        use_wal(writer, 0.02)
