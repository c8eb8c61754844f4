"""Connection strings, and files of other programs."""

from __future__ import annotations

import logging
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kit.backends.samples import batch_of, flood, point, series
from kit.backends.stored_rows import count

from exporter.backends import open_backend
from exporter.backends.memory import MemoryBackend
from exporter.backends.migration_files import load_migrations
from exporter.backends.sqlite import SQLiteBackend
from exporter.backends.sqlite.store_file import STORE_FILE, claim_file, database_path, is_store
from exporter.errors import BackendRefusedError, BackendUnavailableError, ConfigError
from exporter.model import Batch

HERE = Path.cwd()


@pytest.mark.parametrize(
    ("connection_string", "path"),
    {
        "sqlite:///data.db": HERE / "data.db",
        "sqlite:///a/b c/d%20e#f.db": HERE / "a" / "b c" / "d%20e#f.db",
        "sqlite:////var/lib/data.db": Path("/var/lib/data.db"),
        "data.db": HERE / "data.db",
        " ./with:colon.db ": HERE / "with:colon.db",
        "/var/lib/data": Path("/var/lib/data"),
        "C:/data.db": HERE / "C:/data.db",
        "what?.db": HERE / "what?.db",
    }.items(),
)
def test_the_path_that_a_connection_string_names(connection_string: str, path: Path) -> None:
    assert database_path(connection_string) == path


@pytest.mark.parametrize(
    ("connection_string", "message"),
    {
        "": "use backend memory",
        "sqlite://": "use backend memory",
        "sqlite:///": "use backend memory",
        ":memory:": "use backend memory",
        "sqlite:///:memory:": "use backend memory",
        "sqlite://data.db": "write sqlite:///relative.db",
        "sqlite:data.db": "write sqlite:///relative.db",
        "sqlite+pysqlite:///data.db": "begins with 'sqlite+pysqlite:'",
        "file:data.db?mode=ro": "begins with 'file:'",
        "postgresql://anna:secret@db/x": "begins with 'postgresql:'",
        "sqlite:///data.db?mode=ro": "options after '?'",
        "sqlite:///a\0b": "NUL",
    }.items(),
)
def test_other_forms_are_refused(connection_string: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        SQLiteBackend(connection_string)
    assert "secret" not in str(caught.value)


def test_backends_by_name() -> None:
    assert isinstance(open_backend("memory", None, max_memory_entries=1), MemoryBackend)
    backend = open_backend("sqlite", "sqlite:////tmp/x.db", max_memory_entries=1)
    assert isinstance(backend, SQLiteBackend)
    assert backend.location == "/tmp/x.db"  # noqa: S108 - only its name


@pytest.mark.parametrize(
    ("name", "connection_string", "read_only", "message"),
    [
        ("sqlite", None, False, "needs connection_string"),
        ("postgresql", None, False, "needs connection_string"),
        ("timescaledb", None, False, "needs connection_string"),
        ("mysql", None, False, "'mysql' is unknown"),
        ("memory", None, True, "cannot be read from another"),
    ],
)
def test_names_that_are_refused(
    name: str, connection_string: str | None, message: str, *, read_only: bool
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_backend(name, connection_string, max_memory_entries=1, read_only=read_only)


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def refusal(path: Path, *, read_only: bool = False) -> str:
    """The error of start; the folder must not change."""
    before = contents(path.parent) if path.parent.is_dir() else None
    backend = SQLiteBackend(path, read_only=read_only)
    with pytest.raises(BackendRefusedError) as caught:
        backend.start()
    backend.close()
    if before is not None:
        assert contents(path.parent) == before
    message = str(caught.value)
    assert str(path) in message
    return message


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_a_database_of_another_program_is_not_changed(
    path: Path, journal_mode: str, *, read_only: bool
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.executescript("CREATE TABLE bookmarks (url); CREATE TABLE history (url)")
    message = refusal(path, read_only=read_only)
    assert "belongs to another program (application_id 0, tables: bookmarks, history)" in message


def test_a_database_in_use_by_another_program_is_not_changed(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE bookmarks (url)")
        assert "belongs to another program" in refusal(path)
        connection.execute("INSERT INTO bookmarks VALUES (1)")


def test_another_application_id_is_named(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 252006674")
    assert "application_id 252006674, tables: none" in refusal(path)


@pytest.mark.parametrize(
    "junk",
    [b"x", b"SQLite format 3\0", b"PK\x03\x04" + bytes(5_000), b"hello world\n" * 2_000],
    ids=["byte", "magic", "zip", "text"],
)
def test_a_file_that_is_not_a_database_is_not_changed(path: Path, junk: bytes) -> None:
    path.write_bytes(junk)
    assert re.search("is not a database|belongs to another program", refusal(path))


def test_a_newer_schema_is_refused(path: Path, backend: SQLiteBackend) -> None:
    backend.close()
    newest = len(load_migrations("sqlite"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO schema_migrations (version) VALUES (?), (?)", (newest + 1, newest + 2)
        )
    for read_only in (False, True):
        message = refusal(path, read_only=read_only)
        assert f"version {newest + 2}, and this exporter knows versions up to {newest}" in message


def test_a_truncated_file_is_refused(path: Path, backend: SQLiteBackend) -> None:
    backend.write(Batch(points=flood(50_000)))
    backend.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged" in refusal(path)
    assert ".recover" in refusal(path)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_kill_during_a_checkpoint_leaves_no_damage(
    path: Path, backend: SQLiteBackend, *, read_only: bool
) -> None:
    backend.write(Batch(points=flood(5_000)))
    log = path.with_name(path.name + "-wal")
    pages, logged = path.read_bytes(), log.read_bytes()
    backend.close()
    # A checkpoint writes the first page first; it counts the pages that are still in the log.
    path.write_bytes(path.read_bytes()[:4096] + pages[4096:])
    log.write_bytes(logged)
    assert int.from_bytes(path.read_bytes()[28:32], "big") > path.stat().st_size // 4096
    again = SQLiteBackend(path, read_only=read_only)
    again.start()
    assert count(again) == 5_000
    again.close()


def test_a_damaged_page_is_reported_when_it_is_read(path: Path, backend: SQLiteBackend) -> None:
    backend.write(Batch(points=flood(50_000)))
    backend.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    backend.start()
    with pytest.raises(BackendRefusedError, match="damaged"):
        backend.fetch("SELECT sum(value) FROM system_metrics")


def test_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "no" / "such" / "file.db"
    assert f"the folder {path.parent} does not exist" in refusal(path)
    assert not (tmp_path / "no").exists()


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "is not a folder" in refusal(tmp_path / "file" / "file.db")


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    backend = SQLiteBackend(folder)
    with pytest.raises(BackendRefusedError, match="this is a folder or device"):
        backend.start()


@pytest.mark.parametrize("path", ["/proc/file.db", "/dev/null", "/proc/version", "/" + "x" * 300])
def test_paths_that_cannot_be_a_file(path: str) -> None:
    backend = SQLiteBackend(path)
    with pytest.raises(BackendRefusedError, match=re.escape(path[:20])):
        backend.start()
    backend.close()


def test_reading_needs_a_file_with_data(path: Path) -> None:
    assert "file is missing or empty" in refusal(path, read_only=True)
    path.touch()
    assert "file is missing or empty" in refusal(path, read_only=True)
    assert contents(path.parent) == {"file.db": b""}


@pytest.mark.parametrize("journal_mode", [None, "delete", "wal"])
def test_a_vacant_file_becomes_a_store(path: Path, journal_mode: str | None) -> None:
    path.touch()
    if journal_mode:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal_mode}")
            connection.execute("VACUUM")
        assert path.stat().st_size > 0
    backend = SQLiteBackend(path)
    backend.start()
    assert backend.write(batch_of(point(1))).stored == 1
    backend.close()
    assert is_store(path)


def test_a_file_that_another_program_has_just_claimed_is_not_changed(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
        with pytest.raises(BackendRefusedError, match="belongs to another program"):
            claim_file(connection, path)
        assert connection.execute("PRAGMA application_id").fetchone() == (0,)


def test_only_the_owner_can_read_the_files(path: Path, backend: SQLiteBackend) -> None:
    backend.write(batch_of(point(1), new_series=(series(1),)))
    modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    assert modes == {"file.db": 0o600, "file.db-wal": 0o600, "file.db-shm": 0o600}
    backend.close()
    assert contents(path.parent).keys() == {"file.db"}


def test_the_file_settings_for_durability_and_disk_space(
    path: Path, backend: SQLiteBackend
) -> None:
    pragmas = ("application_id", "journal_mode", "auto_vacuum")
    assert [backend.fetch(f"PRAGMA {name}") for name in pragmas] == [
        [(STORE_FILE.application_id,)],
        [("wal",)],
        [(2,)],  # incremental
    ]
    backend.close()
    assert path.read_bytes()[68:72] == b"OFOE"


def test_a_read_only_backend_changes_nothing(path: Path, backend: SQLiteBackend) -> None:
    backend.write(batch_of(point(1)))
    backend.close()
    before = contents(path.parent)
    reader = SQLiteBackend(path, read_only=True)
    reader.start()
    assert count(reader) == 1
    for change in (lambda: reader.write(batch_of(point(2))), lambda: reader.delete_before(2**62)):
        with pytest.raises(BackendRefusedError, match="opened for reading only"):
            change()
    reader.close()
    assert contents(path.parent) == before


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_missing_or_replaced_file_is_detected(
    path: Path, backend: SQLiteBackend, *, replaced: bool
) -> None:
    backend.write(batch_of(point(1)))
    aside = path.with_name("aside.db")
    path.rename(aside)
    if replaced:
        path.write_bytes(aside.read_bytes())
    calls = (
        lambda: backend.write(batch_of(point(2))),
        lambda: backend.fetch("SELECT 1"),
        lambda: backend.delete_before(1),
    )
    for call in calls:
        with pytest.raises(BackendUnavailableError, match=r"removed|replaced") as caught:
            call()
        assert str(path) in str(caught.value)
    path.unlink(missing_ok=True)
    aside.rename(path)
    assert backend.write(batch_of(point(2))).stored == 1
    assert count(backend) == 2


def test_a_file_removed_during_a_write_is_detected(path: Path, backend: SQLiteBackend) -> None:
    class Remover(logging.Handler):
        """Removes the file when a collision is logged, which is inside the transaction."""

        def emit(self, record: logging.LogRecord) -> None:
            del record
            path.unlink()

    backend.write(Batch(new_series=(series(1),)))
    remover = Remover(logging.ERROR)
    logger = logging.getLogger("exporter.backends.series_collisions")
    logger.addHandler(remover)
    try:
        with pytest.raises(BackendUnavailableError, match="the file was removed"):
            backend.write(batch_of(point(2), new_series=(series(1, unit="By"),)))
    finally:
        logger.removeHandler(remover)


def test_two_backends_of_one_process_keep_their_locks(path: Path) -> None:
    # The checks of a file must not open and close it: that would drop the locks of the first.
    first = SQLiteBackend(path, busy_timeout_seconds=0.01)
    first.start()
    second = SQLiteBackend(path, busy_timeout_seconds=0.01)
    second.start()
    first.write(batch_of(point(1)))
    second.write(batch_of(point(2)))
    assert count(first) == count(second) == 2
    second.close()
    first.write(batch_of(point(3)))
    assert count(first) == 3
    first.close()
