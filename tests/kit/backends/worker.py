"""Programs that the tests run as processes: `python worker.py NAME PATH [NUMBER ...]`.

A program prints one line at every point for which a test waits. In `wait` it reads a line before it
continues. So neither the programs nor the tests sleep.
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from exporter.backends.migration_files import load_migrations
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.sqlite import SQLiteBackend
from exporter.errors import ExporterError
from exporter.model import Batch, Watermark
from kit.backends.samples import NOW, SECOND, batch_of, flood, histogram, point, series

DAY: Final = 86_400 * SECOND
_NOBODY: Final = 65534


def say(text: object) -> None:
    print(text, flush=True)  # noqa: T201 - how the programs talk to the test


def wait() -> None:
    sys.stdin.readline()


def hold(path: str) -> None:
    """Hold the write lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    say("held")
    wait()
    connection.execute("COMMIT")
    connection.close()
    say("released")


def write(path: str, first_time: str, batches: str, rows: str) -> None:
    """Open a store at the same time as others and write; print each stored batch."""
    wait()
    backend = SQLiteBackend(path, busy_timeout_seconds=60.0)
    backend.start()
    say("started")
    wait()
    for index in range(int(batches)):
        time = NOW + (int(first_time) + index) * SECOND
        backend.write(
            Batch(
                new_series=tuple(series(one, description=path) for one in range(100)),
                points=flood(int(rows), time=time),
            )
        )
        say(index)
    backend.close()


def write_to_postgresql(dsn: str, first_time: str, batches: str) -> None:
    """Write small batches of many days and the same series from two threads."""
    wait()
    with ThreadPoolExecutor(2) as threads:
        writers = [
            threads.submit(_write_days, dsn, int(first_time) + offset, int(batches))
            for offset in (0, int(batches))
        ]
        say(sum(writer.result() for writer in writers))


def _write_days(dsn: str, first_time: int, batches: int) -> int:
    backend = PostgreSQLBackend(dsn)
    backend.start()
    stored = 0
    for index in range(first_time, first_time + batches):
        ids = [(index * 7 + offset) % 40 for offset in range(8)]
        batch = batch_of(
            *(point(one, NOW + index * SECOND + one % 30 * DAY, value=index) for one in ids),
            new_series=tuple(series(one, description=f"seen {index}") for one in reversed(ids)),
            histograms=(histogram(ids[0], NOW + index * SECOND - index % 30 * DAY),),
            watermark=Watermark(f"writer-{first_time}", index - first_time + 1),
        )
        stored += backend.write(batch).stored
    backend.close()
    return stored


def fork(path: str) -> None:
    """Use a backend in a child process that its parent opened."""
    backend = SQLiteBackend(path)
    backend.start()
    backend.write(Batch(points=flood(10)))
    child = os.fork()
    if child == 0:
        calls: list[Callable[[], object]] = [
            lambda: backend.fetch("SELECT 1"),
            lambda: backend.write(Batch(points=flood(10))),
        ]
        for call in calls:
            try:
                call()
            except ExporterError as error:
                say(error)
        backend.close()
        os._exit(0)
    os.waitpid(child, 0)
    backend.write(Batch(points=flood(20)))
    say(backend.fetch("SELECT count(*) FROM system_metrics"))
    backend.close()


def small_file(path: str, limit_bytes: str) -> None:
    """Write into a store whose files cannot grow, then can."""
    backend = SQLiteBackend(path)
    backend.start()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), most))
    _write_until_refused(backend)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    _write_again(backend)


def small_volume(path: str, limit_bytes: str) -> None:
    """Write into a store on a full volume in memory, then free space."""
    ballast = Path(path).with_name("ballast")
    backend = SQLiteBackend(path)
    backend.start()
    with ballast.open("wb") as file:
        file.write(bytes(int(limit_bytes)))
    _write_until_refused(backend)
    ballast.unlink()
    _write_again(backend)


def few_files(path: str) -> None:
    """Read from a store at the limit of open files, then below it."""
    backend = SQLiteBackend(path)
    backend.start()
    backend.write(Batch(points=flood(10)))
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) - 1, most)
    )
    try:
        backend.fetch("SELECT 1")
    except ExporterError as error:
        say(f"{type(error).__name__}: {error}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    say(backend.fetch("SELECT count(*) FROM system_metrics"))
    backend.close()


def read_only_volume(path: str) -> None:
    """Open a store on a read-only volume, and create one there."""
    backend = SQLiteBackend(path)
    backend.start()
    backend.write(Batch(points=flood(10)))
    backend.close()
    folder = Path(path).parent
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    _start_all_ways(path)


def without_rights(path: str, file_mode: str, folder_mode: str) -> None:
    """Open a store whose mode forbids it, as a user without further rights."""
    with TemporaryDirectory() as folder:  # every user can search its parents
        store = Path(folder, Path(path).name)
        backend = SQLiteBackend(store)
        backend.start()
        backend.close()
        store.chmod(int(file_mode, 8))
        Path(folder).chmod(int(folder_mode, 8))
        child = os.fork()
        if child == 0:
            load_migrations("sqlite")  # now, because another user may not read the package
            if os.geteuid() == 0:  # root ignores modes
                os.setgroups([])
                os.setgid(_NOBODY)
                os.setuid(_NOBODY)
            _start_all_ways(str(store))
            os._exit(0)
        os.waitpid(child, 0)
        Path(folder).chmod(0o700)


def _start_all_ways(path: str) -> None:
    for backend in (
        SQLiteBackend(path),
        SQLiteBackend(path, read_only=True),
        SQLiteBackend(Path(path).with_name("new.db")),
    ):
        try:
            backend.start()
        except ExporterError as error:
            say(f"{type(error).__name__}: {error}")
        else:
            say("started")
        backend.close()


def _write_until_refused(backend: SQLiteBackend) -> None:
    for index in range(1_000):
        try:
            backend.write(Batch(points=flood(5_000, time=NOW + index * SECOND)))
        except ExporterError as error:
            say(f"{index} {type(error).__name__}: {error}")
            say(backend.fetch("SELECT count(*) % 5000 FROM system_metrics"))
            return
    say("never refused")


def _write_again(backend: SQLiteBackend) -> None:
    say(backend.write(Batch(points=flood(5_000, time=NOW - 3_600 * SECOND))).stored)
    backend.close()
    again = SQLiteBackend(backend.location)
    again.start()
    say(again.fetch("PRAGMA integrity_check"))
    again.close()


PROGRAMS: Final[dict[str, Callable[..., None]]] = {
    program.__name__: program
    for program in (
        hold,
        write,
        write_to_postgresql,
        fork,
        few_files,
        small_file,
        small_volume,
        read_only_volume,
        without_rights,
    )
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
