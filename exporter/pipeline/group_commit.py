"""Many requests share one sync to disk: who leads it, and how the others sleep meanwhile.

Whoever finds no sync under way, and nobody about to join, syncs for all who came until then. The
others sleep until they are settled, or until one of them is to lead the next, which takes fewer
context switches than one lock for all to queue at (docs/decisions/0005).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from exporter.pipeline.in_flight import InFlightCounter

__all__ = ["GroupCommit", "Member"]

# How long a request waits for others that are being decoded, to share its sync with them; a sync
# takes 0.3 ms and more. Likewise PostgreSQL's commit_delay.
_GATHER_SECONDS: Final = 0.002


@dataclass(slots=True, kw_only=True)
class Member:
    """One that is in a group, or will be.

    Attributes:
        is_settled: whether it is synced, or never will be.
        woken: set when it is settled, or may have to lead. Then there is another in its place: none
            is ever cleared, so that of two who wait for one ticket neither takes the other's.
    """

    is_settled: bool = False
    woken: threading.Event = field(default_factory=threading.Event)


_Ticket = TypeVar("_Ticket", bound=Member)


class GroupCommit(Generic[_Ticket]):
    """Lets those who wait sync together; safe to use from any thread.

    Args:
        lock: held for `join`, and taken here to see who has joined.
        commit: syncs for a group of one or more, and marks each as settled, whatever it raises;
            called by one thread at a time, without the lock.

    Attributes:
        coming: entered by who may join before it is left, for whom others wait a moment.
    """

    def __init__(self, lock: threading.Condition, commit: Callable[[list[_Ticket]], None]) -> None:
        self._lock = lock
        self._commit = commit
        self._joined: list[_Ticket] = []
        # Taken before the lock, never while holding it.
        self._leading = threading.Lock()
        self.coming = InFlightCounter()

    def join(self, ticket: _Ticket) -> None:
        """Be in the next group; with the lock held."""
        self._joined.append(ticket)

    def wait(self, ticket: _Ticket) -> None:
        """Return when it is settled; whoever joined has to wait, and others may."""
        is_patient = True
        # The event is looked up before the question is asked whose answer it announces.
        while (woken := ticket.woken) and not ticket.is_settled:
            if is_patient and self.coming.count:
                is_patient = woken.wait(_GATHER_SECONDS)
            elif self._leading.acquire(blocking=False):
                self._lead()
            else:
                # Whoever leads looks for those who have joined after it has let go of the lock.
                woken.wait()

    def finish(self) -> None:
        """Settle all who have joined, after which nobody may."""
        self._leading.acquire()
        self._lead()

    def _lead(self) -> None:
        # With `_leading` held, which is given back.
        try:
            with self._lock:
                group, self._joined = self._joined, []
            if group:
                self._commit_all(group)
        finally:
            self._leading.release()
            with self._lock:
                following = self._joined[:1]
            for ticket in following:
                before, ticket.woken = ticket.woken, threading.Event()
                before.set()

    def _commit_all(self, group: list[_Ticket]) -> None:
        try:
            self._commit(group)
        finally:
            for ticket in group:
                ticket.woken.set()
