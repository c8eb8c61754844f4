"""`migrate` as a user runs it: its messages, its exit codes, and what it refuses."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg2
from engines.statements import execute
from kit.backends.samples import NOW, SECOND, batch_of, flood, histogram, series
from kit.processes import run

from exporter.backends.sqlite import SQLiteBackend
from exporter.model import Batch

SERIES = 100


def store_at(path: Path, rows: int) -> None:
    with closing(SQLiteBackend(f"sqlite:///{path}")) as backend:
        backend.start()
        backend.write(
            batch_of(
                new_series=tuple(series(one) for one in range(SERIES)),
                histograms=tuple(histogram(1, NOW + at * SECOND) for at in range(10)),
            )
        )
        backend.write(Batch(points=flood(rows, ids=SERIES)))


def migrate(tmp_path: Path, source: str, target: str, *more: str) -> tuple[int, str, str]:
    done = run("migrate", "--from", source, "--to", target, *more, cwd=tmp_path)
    return done.returncode, done.stdout, done.stderr


def test_a_file_is_copied_to_postgresql_and_back(tmp_path: Path, postgresql_database: str) -> None:
    store_at(tmp_path / "old.db", rows=120_000)
    code, said, notes = migrate(tmp_path, "old.db", postgresql_database)
    assert (code, notes.splitlines()[0]) == (0, "system_metrics: 120,000 rows copied")
    assert "Every day of every table has the same rows and sums in both." in said
    with closing(psycopg2.connect(postgresql_database)) as connection:
        assert execute(
            connection, "SELECT count(*), count(DISTINCT series_id) FROM system_metrics"
        ) == [(120_000, SERIES)]
    assert migrate(tmp_path, postgresql_database, "new.db")[0] == 0
    with closing(sqlite3.connect(tmp_path / "old.db")) as old:
        old.execute("ATTACH ? AS new", (str(tmp_path / "new.db"),))
        for table in ("system_metrics", "metric_histograms"):
            missing = f"SELECT * FROM main.{table} EXCEPT SELECT * FROM new.{table}"  # noqa: S608
            assert old.execute(missing).fetchall() == []
        definitions = "SELECT metric_name, attributes, resource, scope, unit FROM {}.metric_series"
        assert set(old.execute(definitions.format("new"))) == set(
            old.execute(definitions.format("main"))
        )


def test_a_second_run_copies_only_new_rows(tmp_path: Path) -> None:
    store_at(tmp_path / "old.db", rows=1000)
    assert migrate(tmp_path, "old.db", "new.db")[0] == 0
    code, _, notes = migrate(tmp_path, "old.db", "new.db")
    assert (code, notes.splitlines()[0]) == (0, "system_metrics: 0 rows copied")


def test_other_rows_in_the_target_are_reported(tmp_path: Path) -> None:
    store_at(tmp_path / "old.db", rows=1000)
    store_at(tmp_path / "new.db", rows=2000)
    code, said, error = migrate(tmp_path, "old.db", "new.db")
    assert code == 1
    assert "1,000" in said
    assert "2,000" in said
    assert "error: migrate: 1 days differ" in error


def test_impossible_copies_are_refused(tmp_path: Path) -> None:
    store_at(tmp_path / "old.db", rows=10)
    code, _, error = migrate(tmp_path, "old.db", "old.db")
    assert code == 1
    assert "name two stores" in error
    code, _, error = migrate(tmp_path, "missing.db", "new.db")
    assert code == 1
    assert "nothing can be read" in error
    assert not (tmp_path / "new.db").exists()
    assert not (tmp_path / "missing.db").exists()
