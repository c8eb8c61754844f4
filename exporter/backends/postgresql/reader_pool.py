"""A pool of reading connections that waits when it is empty and outlives a restarted server."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import psycopg2

from exporter.backends.postgresql.connection import Connection
from exporter.errors import BackendUnavailableError

__all__ = ["ReaderPool"]

_T = TypeVar("_T")

_CANCEL_AGAIN_SECONDS: Final = 0.05
_CANCEL_TIMEOUT_SECONDS: Final = 5.0


class ReaderPool:
    """Runs reads on connections of its own, each read on one of them.

    Args:
        connect: opens a connection.
        place: the backend and where its database is, for messages.
        min_connections: opened by `start` and kept.
        max_connections: how many reads run at once; others wait.
        timeout_seconds: how long they wait.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        place: str,
        *,
        min_connections: int,
        max_connections: int,
        timeout_seconds: float,
    ) -> None:
        self._connect = connect
        self._place = place
        self._min_connections = min_connections
        self._max_connections = max_connections
        self._timeout_seconds = timeout_seconds
        self._changed = threading.Condition()  # guards everything below
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._opening = 0
        self._closed = False

    def start(self) -> None:
        """Open the first connections.

        Raises:
            psycopg2.Error: one cannot be opened; none is.
        """
        try:
            while len(self._idle) < self._min_connections:
                self._idle.append(self._connect())
        except BaseException:
            self.close()
            raise

    def run(self, read: Callable[[Connection], _T]) -> _T:
        """What `read` returns, given a connection.

        A connection that broke while it lay idle, as all do when the server restarts, shows that
        only when it is used; the read then runs once more on a new one.

        Raises:
            BackendUnavailableError: no connection became free in time, or the pool is closed.
            psycopg2.Error: what `read` raises, or a connection cannot be opened.
        """
        while True:
            connection, fresh = self._take()
            try:
                return read(connection)
            except psycopg2.Error as error:
                if self._closed:
                    raise self._is_closed() from error
                if fresh or not connection.closed:
                    raise
                self._forget_idle()
            finally:
                self._give_back(connection)

    def close(self) -> None:
        """Cancel the reads that are under way, wait for them, close every connection."""
        deadline = time.monotonic() + _CANCEL_TIMEOUT_SECONDS
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        while lent := self._still_lent():
            for connection in lent:
                _end_read(connection, gently=time.monotonic() < deadline)
            with self._changed:
                # A statement that begins just after it was cancelled has not felt it.
                self._changed.wait(_CANCEL_AGAIN_SECONDS)
        self._forget_idle()

    def _take(self) -> tuple[Connection, bool]:
        """A connection, and whether it is a new one."""
        deadline = time.monotonic() + self._timeout_seconds
        with self._changed:
            while not self._idle and not self._may_open() and not self._closed:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise BackendUnavailableError(
                        f"{self._place}: reading waited {self._timeout_seconds:g} s "
                        f"for one of {self._max_connections} connections, all of which are busy; "
                        "ask for less at once, or allow more connections"
                    )
            if self._closed:
                raise self._is_closed()
            if self._idle:
                connection = self._idle.pop()
                self._lent.add(connection)
                return connection, False
            self._opening += 1
        return self._open(), True

    def _may_open(self) -> bool:
        return len(self._lent) + self._opening < self._max_connections

    def _open(self) -> Connection:
        opened = None
        try:
            opened = self._connect()
        finally:
            with self._changed:
                self._opening -= 1
                if opened is not None:
                    self._lent.add(opened)
                self._changed.notify()
        return opened

    def _give_back(self, connection: Connection) -> None:
        with self._changed:
            self._lent.discard(connection)
            if connection.closed or self._closed:
                connection.close()
            else:
                self._idle.append(connection)
            self._changed.notify_all()

    def _forget_idle(self) -> None:
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _still_lent(self) -> list[Connection]:
        with self._changed:
            while self._opening:
                self._changed.wait()
            return list(self._lent)

    def _is_closed(self) -> BackendUnavailableError:
        return BackendUnavailableError(f"{self._place}: the store was closed")


def _end_read(connection: Connection, *, gently: bool) -> None:
    with suppress(psycopg2.Error, OSError):  # it ended by itself meanwhile
        if gently:
            connection.cancel()
        else:
            # The server does not answer: let the thread that waits for it go.
            with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
