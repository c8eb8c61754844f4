"""A store that an earlier version wrote can be opened, and gets the current schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kit.backends.dict_store import DictStore
from kit.backends.old_stores import BATCH
from kit.backends.stored_rows import stored

from exporter.backends.migration_files import load_migrations
from exporter.backends.sqlite import SQLiteBackend
from exporter.errors import BackendRefusedError
from exporter.model import WriteResult

DUMPS = sorted(Path(__file__).parent.glob("sqlite_*.sql"))
KNOWN = load_migrations("sqlite")


def restore(dump: Path, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))


def schema(path: Path) -> set[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL")
        return {(kind, name, " ".join(sql.split())) for kind, name, sql in rows}


def test_there_is_a_dump_of_every_earlier_version() -> None:
    assert [dump.stem for dump in DUMPS] == [f"sqlite_{one.version:04}" for one in KNOWN[:-1]]


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_an_old_store_opens_with_all_its_data(dump: Path, tmp_path: Path) -> None:
    expected = DictStore()
    expected.write(BATCH)
    path = tmp_path / "old.db"
    restore(dump, path)
    backend = SQLiteBackend(path)
    backend.start()
    assert stored(backend) == expected
    assert backend.fetch("SELECT max(version) FROM schema_migrations") == [(len(KNOWN),)]
    assert backend.fetch("PRAGMA journal_mode") == [("wal",)]
    assert backend.write(BATCH) == WriteResult(stored=BATCH.entries)
    assert stored(backend) == expected
    backend.close()


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_an_old_store_is_migrated_to_the_current_schema(dump: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    restore(dump, old)
    for path in (old, new):
        backend = SQLiteBackend(path)
        backend.start()
        backend.close()
    assert schema(old) == schema(new)


def test_watermarks_and_dead_letters_of_an_old_store_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    restore(DUMPS[1], path)
    with closing(SQLiteBackend(path)) as backend:
        backend.start()
        assert backend.last_sequence("receiver-1") == 42
        assert backend.fetch(
            "SELECT kind, metric_name, content ->> '$.value' FROM dead_letters"
        ) == [("point", "system.cpu.utilization", 101.0)]


def test_a_file_without_migrations_is_not_opened_for_reading(tmp_path: Path) -> None:
    path = tmp_path / "begun.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA application_id = 1330007877; VACUUM;")
    backend = SQLiteBackend(path, read_only=True)
    with pytest.raises(BackendRefusedError, match=f"lacks version {len(KNOWN)}"):
        backend.start()
    assert schema(path) == set()
