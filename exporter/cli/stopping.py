"""Signals that ask a long-running command to stop: the first politely, the second at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Final, Self

__all__ = ["StopRequest"]

# A closed terminal (SIGHUP) must not cost what was acknowledged and not yet written.
_STOPPING: Final = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
_EXIT_BY_SIGNAL: Final = 128


class StopRequest:
    """Whether somebody asked this process to stop; use it in a `with` statement, main thread only.

    Python runs signal handlers between two steps of the main thread, which may be deep inside a
    database call or hold the very lock that the handler needs. So the interpreter only notes the
    signal's number in a socket, which it does at once, and a thread of its own acts on it.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._number: int | None = None

    def __enter__(self) -> Self:
        self._noted, self._note = socket.socketpair()
        self._note.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._note.fileno(), warn_on_full_buffer=False)
        self._previous = {
            number: signal.signal(number, lambda *_: None)
            for number in _STOPPING
            if not _is_ignored_hangup(number)
        }
        self._watching = threading.Thread(target=self._watch, name="exporter-signals", daemon=True)
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._note.close()
        self._watching.join()
        self._noted.close()

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested.is_set()

    @property
    def reason(self) -> str:
        """The name of the signal that came first, "" while none has."""
        return "" if self._number is None else signal.Signals(self._number).name

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a signal; returns whether one has come."""
        return self._requested.wait(timeout_seconds)

    def _watch(self) -> None:
        while numbers := self._noted.recv(1):
            number = numbers[0]
            if number not in self._previous:
                continue
            if self._number is not None:
                os._exit(_EXIT_BY_SIGNAL + number)
            self._number = number
            self._requested.set()


def _is_ignored_hangup(number: signal.Signals) -> bool:
    """`nohup` starts a program with SIGHUP ignored, which has to stay so."""
    return number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
