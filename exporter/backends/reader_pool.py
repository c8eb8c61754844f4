"""A pool of reading connections, so that reads run beside the writer and beside each other."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from exporter.errors import BackendRefusedError, BackendUnavailableError

_INTERRUPT_AGAIN_SECONDS: Final = 0.05


class _Closeable(Protocol):
    def close(self) -> None: ...


_C = TypeVar("_C", bound=_Closeable)
_O = TypeVar("_O", bound="_HasProcessId")


class _HasProcessId(Protocol):
    @property
    def process_id(self) -> int: ...


class ReaderPool(Generic[_C]):
    """Lends connections, each to one thread at a time. Opens none before it is needed.

    Args:
        connect: opens a connection.
        interrupt: ends the statement that runs on a connection, given the seconds since `close`
            was called; called again until the connection is given back.
        location: the backend and where its data is, for messages.
        max_open: how many connections may be lent at once; further threads wait.
        max_idle: how many connections are kept open for the next reads.
        timeout_seconds: how long a thread waits for a connection.

    Attributes:
        process_id: of the process that made the pool; no connection survives a fork.
    """

    def __init__(
        self,
        connect: Callable[[], _C],
        interrupt: Callable[[_C, float], None],
        location: str,
        *,
        max_open: float = math.inf,
        max_idle: float = math.inf,
        timeout_seconds: float = 0.0,
    ) -> None:
        self.process_id = os.getpid()
        self._connect = connect
        self._interrupt = interrupt
        self._location = location
        self._max_open = max_open
        self._max_idle = max_idle
        self._timeout_seconds = timeout_seconds
        self._changed = threading.Condition()  # guards everything below
        self._idle: list[_C] = []
        self._lent: set[_C] = set()
        self._opening = 0
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def open_idle(self, count: int) -> None:
        """Open connections ahead of the first reads.

        Raises:
            Exception: what `connect` raises; the pool is closed then.
        """
        try:
            while len(self._idle) < count:
                self._idle.append(self._connect())
        except BaseException:
            self.close()
            raise

    def take(self) -> tuple[_C, bool]:
        """A connection, and whether it was opened for this call. `give_back` must follow.

        Raises:
            BackendUnavailableError: no connection became free in time, or the pool is closed.
            Exception: what `connect` raises.
        """
        deadline = time.monotonic() + self._timeout_seconds
        with self._changed:
            while not (self._idle or self._closed or self._may_open()):
                if not self._changed.wait(deadline - time.monotonic()):
                    raise BackendUnavailableError(
                        f"{self._location}: reading waited {self._timeout_seconds:g} s for one of "
                        f"{self._max_open} connections, all of which are busy; run fewer queries "
                        "at once, or allow more connections"
                    )
            if self._closed:
                raise self.closed_error()
            if self._idle:
                connection = self._idle.pop()
                self._lent.add(connection)
                return connection, False
            self._opening += 1
        return self._open(), True

    def give_back(self, connection: _C, *, reuse: bool) -> None:
        """End the loan of a connection; it is closed unless it is to be used again."""
        with self._changed:
            self._lent.discard(connection)
            # While the pool closes, `close` may be interrupting this connection without the lock.
            # SQLite must not be interrupted while it closes, so `close` does both.
            if self._closed or (reuse and len(self._idle) < self._max_idle):
                self._idle.append(connection)
            else:
                connection.close()
            self._changed.notify_all()

    def close_idle(self) -> None:
        """Close the connections that are not lent."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Interrupt the running reads, wait for them, close every connection."""
        began = time.monotonic()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        while True:
            with self._changed:
                if not self._lent and not self._opening:
                    break
                lent = list(self._lent)
            for connection in lent:
                self._interrupt(connection, time.monotonic() - began)
            with self._changed:
                # Interrupt repeatedly: one interrupt does not stop a statement that starts just
                # after it.
                self._changed.wait(_INTERRUPT_AGAIN_SECONDS)
        self.close_idle()

    def closed_error(self) -> BackendUnavailableError:
        """The error for a read that `close` interrupted."""
        return BackendUnavailableError(f"{self._location}: the store was closed")

    def _may_open(self) -> bool:
        return len(self._lent) + self._opening < self._max_open

    def _open(self) -> _C:
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


def require_open(opened: _O | None, location: str) -> _O:
    """Returns `opened`. Raises if it is None or was opened before a fork.

    Raises:
        BackendRefusedError: the backend is not open, or was opened before a fork.
    """
    if opened is None:
        raise BackendRefusedError(f"{location}: it is not open; call start() first")
    if opened.process_id != os.getpid():
        raise BackendRefusedError(
            f"{location}: opened in process {opened.process_id} and used in process {os.getpid()}; "
            "a connection does not survive a fork, so open the backend after forking"
        )
    return opened
