"""A small pool of reading connections, so that reads run beside the writer and each other."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from exporter.errors import BackendUnavailableError

__all__ = ["ReaderPool"]

_MOST_IDLE: Final = 4
_INTERRUPT_AGAIN_SECONDS: Final = 0.02


class ReaderPool:
    """Lends connections, one to a thread at a time; opens none before it is needed."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], location: str) -> None:
        self._connect = connect
        self._location = location
        self._changed = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._lent: set[sqlite3.Connection] = set()
        self._opening = 0
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for the length of the block; after an error in it, it is thrown away.

        Raises:
            BackendUnavailableError: the pool is closed.
            sqlite3.Error: a new connection could not be opened.
        """
        connection = self._take()
        sound = False
        try:
            yield connection
            sound = not connection.in_transaction
        finally:
            self._give_back(connection, sound=sound)

    def close(self) -> None:
        """Interrupt the reads that are under way, wait for them, close every connection."""
        with self._changed:
            self._closed = True
            while self._lent or self._opening:
                for connection in self._lent:
                    connection.interrupt()
                # A statement that begins just after the interrupt has not felt it.
                self._changed.wait(_INTERRUPT_AGAIN_SECONDS)
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _take(self) -> sqlite3.Connection:
        with self._changed:
            if self._closed:
                raise BackendUnavailableError(f"sqlite {self._location}: the store was closed")
            if self._idle:
                connection = self._idle.pop()
                self._lent.add(connection)
                return connection
            self._opening += 1
        opened = None
        try:
            opened = self._connect()
        finally:
            with self._changed:
                self._opening -= 1
                if opened is not None:
                    self._lent.add(opened)
                self._changed.notify_all()
        return opened

    def _give_back(self, connection: sqlite3.Connection, *, sound: bool) -> None:
        with self._changed:
            self._lent.discard(connection)
            if sound and not self._closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            else:
                connection.close()
            self._changed.notify_all()
