"""The pool of reading connections."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.backends.sqlite.readers import ReaderPool
from exporter.errors import BackendUnavailableError

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


class Opener:
    """Opens connections and remembers them."""

    def __init__(self) -> None:
        self.opened: list[sqlite3.Connection] = []

    def __call__(self) -> sqlite3.Connection:
        self.opened.append(
            sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        )
        return self.opened[-1]

    def are_closed(self) -> list[bool]:
        return [is_closed(connection) for connection in self.opened]


def is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False


@pytest.fixture
def opener() -> Opener:
    return Opener()


def test_a_connection_is_opened_when_needed_and_used_again(opener: Opener) -> None:
    pool = ReaderPool(opener, "here")
    assert opener.opened == []
    for _ in range(3):
        with pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert len(opener.opened) == 1
    pool.close()
    pool.close()
    assert opener.are_closed() == [True]


def test_many_at_once_and_few_are_kept(opener: Opener) -> None:
    pool = ReaderPool(opener, "here")
    meeting = threading.Barrier(10)

    def read() -> None:
        with pool.connection():
            meeting.wait()

    with ThreadPoolExecutor(10) as threads:
        for done in [threads.submit(read) for _ in range(10)]:
            done.result()
    assert len(opener.opened) == 10
    assert opener.are_closed().count(False) == 4
    pool.close()
    assert all(opener.are_closed())


@pytest.mark.parametrize("statement", ["SELECT nonsense", "BEGIN"])
def test_a_connection_in_doubt_is_thrown_away(opener: Opener, statement: str) -> None:
    pool = ReaderPool(opener, "here")
    with suppress(sqlite3.OperationalError), pool.connection() as connection:
        connection.execute(statement)
    assert opener.are_closed() == [True]
    pool.close()


def test_close_interrupts_and_waits(opener: Opener) -> None:
    pool = ReaderPool(opener, "here")
    running = threading.Event()

    def read() -> str:
        try:
            with pool.connection() as connection:
                connection.create_function("running", 0, running.set)
                connection.execute(f"SELECT running(), ({ENDLESS})")
        except sqlite3.OperationalError as error:
            return str(error)
        return "never interrupted"

    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read)
        running.wait()
        pool.close()
        assert reading.result() == "interrupted"
    assert opener.are_closed() == [True]


def test_a_closed_pool_lends_nothing(opener: Opener) -> None:
    pool = ReaderPool(opener, "here")
    pool.close()
    with (
        pytest.raises(BackendUnavailableError, match="sqlite here: the store was closed"),
        pool.connection(),
    ):
        pass
    assert opener.opened == []


def test_a_failure_to_open_is_not_counted_as_lent(tmp_path: Path) -> None:
    pool = ReaderPool(lambda: sqlite3.connect(tmp_path / "no" / "folder.db"), "here")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"), pool.connection():
        pass
    pool.close()
