"""Several processes on one file, and crashes, with real processes."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from kit.backends.programs import Program
from kit.backends.samples import NOW, SECOND, batch_of, flood, point
from kit.backends.stored_rows import count, stored_points

from exporter.backends.migration_files import load_migrations
from exporter.backends.sqlite import SQLiteBackend
from exporter.errors import BackendUnavailableError
from exporter.model import Batch

ROWS = 500


def integrity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def test_the_error_for_a_lock_of_another_process(path: Path) -> None:
    backend = SQLiteBackend(path, busy_timeout_seconds=0.01)
    backend.start()
    with Program("hold", path) as other:
        assert other.line() == "held"
        with pytest.raises(BackendUnavailableError, match="locked") as caught:
            backend.write(batch_of(point(1)))
        assert f"fuser -v {path}" in str(caught.value)
        assert count(backend) == 0  # reads still work
        other.resume()
        assert other.line() == "released"
        assert backend.write(batch_of(point(1))).stored == 1
    backend.close()


@pytest.mark.usefixtures("backend")
def test_start_fails_during_a_lock_and_then_works(path: Path) -> None:
    second = SQLiteBackend(path, busy_timeout_seconds=0.01)
    with Program("hold", path) as other:
        assert other.line() == "held"
        with pytest.raises(BackendUnavailableError, match="locked"):
            second.start()
        other.resume()
        assert other.line() == "released"
        second.start()
    second.close()


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_start_and_write_at_once_lose_nothing(path: Path, attempt: int) -> None:
    batches, writers = 10, 4
    with ExitStack() as stack:
        # Half of the times and series of a writer are those of the next one.
        programs = [
            stack.enter_context(Program("write", path, index * batches // 2, batches, ROWS))
            for index in range(writers)
        ]
        for program in programs:
            program.resume()
        for program in programs:
            assert program.line() == "started"
        for program in programs:
            program.resume()
        for program in programs:
            assert program.lines() == [str(index) for index in range(batches)]
    backend = SQLiteBackend(path, read_only=True)
    backend.start()
    assert count(backend) == ROWS * (writers + 1) * batches // 2
    assert count(backend, "metric_series") == 100
    assert backend.fetch("SELECT version FROM schema_migrations") == [
        (migration.version,) for migration in load_migrations("sqlite")
    ]
    backend.close()
    assert integrity(path) == "ok", attempt


def test_stored_batches_survive_kill_9(path: Path) -> None:
    with Program("write", path, 0, 10_000, ROWS) as program:
        program.resume()
        assert program.line() == "started"
        program.resume()
        stored = [program.line() for _ in range(20)]
        program.kill()
        stored += iter(program.line, "")
    backend = SQLiteBackend(path)
    backend.start()
    rows = count(backend)
    assert rows % ROWS == 0  # whole batches
    assert rows >= ROWS * len(stored)
    times = {(NOW + index * SECOND) // 1_000 for index in range(len(stored))}
    assert times <= {time for time, _ in stored_points(backend)}
    backend.write(Batch(points=flood(ROWS, time=NOW - SECOND)))
    assert count(backend) == rows + ROWS
    backend.close()
    assert integrity(path) == "ok"


def test_a_wal_without_its_database_is_not_replayed(path: Path) -> None:
    with Program("write", path, 0, 10_000, ROWS) as program:
        program.resume()
        assert program.line() == "started"
        program.resume()
        assert program.line() == "0"
        program.kill()
    assert path.with_name("file.db-wal").stat().st_size > 0
    path.unlink()
    backend = SQLiteBackend(path)
    backend.start()
    assert count(backend) == 0
    backend.write(batch_of(point(1)))
    backend.close()
    assert integrity(path) == "ok"


def test_the_error_at_the_limit_of_open_files(path: Path) -> None:
    with Program("few_files", path) as program:
        refusal, rows = program.lines()
    assert refusal.startswith("BackendUnavailableError")
    assert "Too many open files; raise the limit" in refusal
    assert rows == "[(10,)]"


def test_another_process_reads_while_one_writes(path: Path) -> None:
    with Program("write", path, 0, 20, ROWS) as program:
        program.resume()
        assert program.line() == "started"
        program.resume()
        assert program.line() == "0"
        reader = SQLiteBackend(path, read_only=True)
        reader.start()
        seen = [count(reader)]
        while program.line():
            seen.append(count(reader))
        reader.close()
    assert seen == sorted(seen)
    assert seen[-1] == 20 * ROWS
    assert {rows % ROWS for rows in seen} == {0}


def test_a_fork_is_detected(path: Path) -> None:
    with Program("fork", path) as program:
        *refusals, rows = program.lines()
    assert len(refusals) == 2
    assert all("does not survive a fork" in text for text in refusals)
    assert rows == "[(20,)]"


def test_writes_work_again_after_a_file_size_limit_is_lifted(path: Path) -> None:
    with Program("small_file", path, 300_000) as program:
        refusal, rest, stored, integrity_check = program.lines()
    assert "BackendUnavailableError" in refusal
    assert f"sqlite {path}: storing a batch failed: disk I/O error" in refusal
    assert "bytes free" in refusal
    assert rest == "[(0,)]"  # whole batches only
    assert (stored, integrity_check) == ("5000", "[('ok',)]")


def in_a_small_volume(folder: Path) -> tuple[str, ...]:
    """A command prefix that mounts a volume of 3 MB at the folder, for the command alone."""
    mount = f'mount -t tmpfs -o size=3m none "{folder}" && exec "$@"'
    return ("unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh")


def lines_or_skip(program: Program) -> list[str]:
    lines = list(iter(program.line, ""))
    if len(lines) == 1 and ("unshare" in lines[0] or "mount" in lines[0]):
        pytest.skip(f"no volume can be mounted here: {lines[0]}")
    return lines


def test_writes_work_again_after_a_full_volume_has_room(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    with Program("small_volume", path, 1_500_000, wrapper=in_a_small_volume(tmp_path)) as program:
        refusal, rest, stored, integrity_check = lines_or_skip(program)
    assert "BackendUnavailableError" in refusal
    assert "database or disk is full" in refusal
    assert "make room there" in refusal
    assert rest == "[(0,)]"
    assert (stored, integrity_check) == ("5000", "[('ok',)]")


def test_the_error_for_a_read_only_volume(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    wrapper = in_a_small_volume(tmp_path)
    with Program("read_only_volume", path, wrapper=wrapper) as program:
        writing, reading, creating = lines_or_skip(program)
    for refusal in (writing, reading):
        assert refusal.startswith(f"BackendRefusedError: sqlite {path}: opening the file failed")
        assert f"may not write in the folder {tmp_path}" in refusal
        assert "copy the database to a folder of your own" in refusal
    assert "new.db: cannot create the file: Read-only file system" in creating


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "writing", "reading", "creating"),
    [
        ("000", "755", "may not read the file", "may not read the file", "Permission denied"),
        ("444", "777", "READONLY); user", "started", "started"),
        ("444", "555", "READONLY_DIRECTORY", "READONLY_DIRECTORY", "Permission denied"),
        ("666", "555", "READONLY_DIRECTORY", "READONLY_DIRECTORY", "Permission denied"),
        ("666", "000", "Permission denied", "Permission denied", "Permission denied"),
    ],
)
def test_missing_rights_are_named(
    path: Path, file_mode: str, folder_mode: str, writing: str, reading: str, creating: str
) -> None:
    with Program("without_rights", path, file_mode, folder_mode) as program:
        found = program.lines()
    assert len(found) == 3
    for line, expected in zip(found, (writing, reading, creating), strict=True):
        assert expected in line
        assert line == "started" or line.startswith("BackendRefusedError: sqlite /")
