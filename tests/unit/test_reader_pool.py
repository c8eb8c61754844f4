"""The pool of reading connections."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.backends.reader_pool import ReaderPool
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


def new_pool(
    connect: Callable[[], sqlite3.Connection], **limits: float
) -> ReaderPool[sqlite3.Connection]:
    return ReaderPool(connect, lambda connection, _: connection.interrupt(), "here", **limits)


@contextmanager
def lent(
    pool: ReaderPool[sqlite3.Connection], *, reuse: bool = True
) -> Iterator[sqlite3.Connection]:
    connection, _ = pool.take()
    try:
        yield connection
    finally:
        pool.give_back(connection, reuse=reuse)


@pytest.fixture
def opener() -> Opener:
    return Opener()


def test_a_connection_is_opened_when_needed_and_used_again(opener: Opener) -> None:
    pool = new_pool(opener)
    assert opener.opened == []
    for _ in range(3):
        with lent(pool) as connection:
            assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert len(opener.opened) == 1
    pool.close()
    pool.close()
    assert opener.are_closed() == [True]


def test_connections_opened_ahead_are_used_first(opener: Opener) -> None:
    pool = new_pool(opener)
    pool.open_idle(2)
    assert len(opener.opened) == 2
    connection, fresh = pool.take()
    assert (connection in opener.opened, fresh) == (True, False)
    pool.give_back(connection, reuse=True)
    pool.close()
    assert opener.are_closed() == [True, True]


def test_many_reads_at_once_leave_few_idle_connections(opener: Opener) -> None:
    pool = new_pool(opener, max_idle=4)
    meeting = threading.Barrier(10)

    def read() -> None:
        with lent(pool):
            meeting.wait()

    with ThreadPoolExecutor(10) as threads:
        for done in [threads.submit(read) for _ in range(10)]:
            done.result()
    assert len(opener.opened) == 10
    assert opener.are_closed().count(False) == 4
    pool.close()
    assert all(opener.are_closed())


def test_a_full_pool_makes_a_read_wait_and_then_refuses_it(opener: Opener) -> None:
    pool = new_pool(opener, max_open=1, timeout_seconds=0.01)
    with (
        lent(pool),
        pytest.raises(BackendUnavailableError, match=r"here: reading waited 0\.01 s for one of 1"),
    ):
        pool.take()
    with lent(pool):
        pass
    assert len(opener.opened) == 1
    pool.close()


def test_a_connection_that_must_not_be_used_again_is_closed(opener: Opener) -> None:
    pool = new_pool(opener)
    with lent(pool, reuse=False):
        pass
    assert opener.are_closed() == [True]
    pool.close()


def test_close_interrupts_and_waits(opener: Opener) -> None:
    pool = new_pool(opener)
    running = threading.Event()

    def read() -> str:
        try:
            with lent(pool) as connection:
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
    pool = new_pool(opener)
    pool.close()
    with pytest.raises(BackendUnavailableError, match="here: the store was closed"):
        pool.take()
    assert opener.opened == []


def test_a_failure_to_open_is_not_counted_as_lent(tmp_path: Path) -> None:
    pool = new_pool(lambda: sqlite3.connect(tmp_path / "no" / "folder.db"), max_open=1)
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            pool.take()
    pool.close()
