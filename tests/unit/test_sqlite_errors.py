"""SQLite's errors for the content of a row, and all others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kit.backends.samples import NOW, SECOND, batch_of, exemplar, point

from exporter.backends.sqlite import SQLiteBackend
from exporter.backends.sqlite.errors import STORING, translate_errors
from exporter.errors import (
    BackendRefusedError,
    BackendUnavailableError,
    ExporterError,
    RowRefusedError,
)
from exporter.model import Batch


@pytest.fixture
def backend(path: Path) -> Iterator[SQLiteBackend]:
    with closing(SQLiteBackend(path, busy_timeout_seconds=0.05)) as opened:
        opened.start()
        yield opened


@pytest.mark.parametrize(
    ("statement", "operation", "kind"),
    [
        ("INSERT INTO t VALUES ('x')", STORING, RowRefusedError),
        ("INSERT INTO t VALUES (1), (1)", STORING, RowRefusedError),
        ("INSERT INTO t VALUES (zeroblob(1 << 30))", STORING, RowRefusedError),
        ("INSERT INTO t VALUES ('x')", "opening the file", BackendRefusedError),
        ("INSERT INTO nowhere VALUES (1)", STORING, BackendRefusedError),
        ("INSERT INTO t SELECT 1 FROM", STORING, BackendRefusedError),
    ],
)
def test_constraints_types_and_sizes_are_about_a_row(
    statement: str, operation: str, kind: type[ExporterError]
) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
        with pytest.raises(ExporterError) as caught, translate_errors(operation, "/a/file.db"):
            connection.execute(statement)
    assert type(caught.value) is kind


def test_a_read_only_file_refuses_no_row(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(BackendRefusedError) as caught, translate_errors(STORING, str(path)):
            connection.execute("INSERT INTO t VALUES (1)")
    assert type(caught.value) is BackendRefusedError


@pytest.mark.parametrize("value", [2**63, "\ud800"], ids=["number", "text"])
def test_a_parameter_of_a_query_is_not_a_row(backend: SQLiteBackend, value: object) -> None:
    with pytest.raises(BackendRefusedError) as caught:
        backend.fetch("SELECT ?", [value])
    assert not isinstance(caught.value, RowRefusedError)


def test_a_lock_stays_retryable_in_a_dry_run(backend: SQLiteBackend, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailableError, match="holds the lock"):
            backend.dry_run(batch_of(point(1)))
    backend.dry_run(batch_of(point(1)))


def test_a_refused_row_leaves_the_connection_usable(backend: SQLiteBackend, path: Path) -> None:
    bad = Batch(exemplars=(exemplar(1, trace_id="\ud800"),))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(
            "CREATE TRIGGER no AFTER INSERT ON system_metrics WHEN NEW.value = 13 "
            "BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
        )
    for batch in (bad, batch_of(point(1, value=13.0))):
        for call in (backend.write, backend.dry_run):
            with pytest.raises(RowRefusedError):
                call(batch)
    backend.write(batch_of(point(1, NOW + SECOND)))
    assert backend.fetch("SELECT count(*) FROM system_metrics") == [(1,)]
