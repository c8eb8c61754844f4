"""Many requests share one sync to disk, as PostgreSQL's transactions share a WAL flush.

If no sync is running and no request is about to join, the thread of the request runs the sync for
the whole group. The other threads sleep; after the sync one of them is woken to run the next one.
That takes fewer context switches than one lock that all wait for (docs/decisions/0005).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from exporter.errors import ExporterError
from exporter.pipeline.in_flight_counter import InFlightCounter

# How long a request waits for others that are being decoded, to share its sync with them; a sync
# takes 0.3 ms and more. PostgreSQL's commit_delay is the same.
_COMMIT_DELAY_SECONDS: Final = 0.002


@dataclass(slots=True, kw_only=True)
class GroupMember:
    """Base class of the members of a group. Subclasses add the data to sync.

    Attributes:
        is_done: whether it is synced, or failed for good.
        error: why it failed, None if it did not.
        wakeup: set when the member is done, or may have to run the next sync. An event is
            replaced and never cleared, so that two threads may wait for one member and neither
            misses the signal.
    """

    is_done: bool = False
    error: ExporterError | None = None
    wakeup: threading.Event = field(default_factory=threading.Event)


_Member = TypeVar("_Member", bound=GroupMember)


class GroupCommit(Generic[_Member]):
    """Lets waiting threads sync together; safe to use from any thread.

    Args:
        lock: held by the caller of `join`, and taken here to read who has joined.
        commit: syncs a group of one or more and sets `is_done` of each, whatever it raises; called
            by one thread at a time, without the lock.

    Attributes:
        joining: entered by a thread that may join before it leaves; others wait a moment for it.
    """

    def __init__(self, lock: threading.Condition, commit: Callable[[list[_Member]], None]) -> None:
        self._lock = lock
        self._commit = commit
        self._joined: list[_Member] = []
        # Acquired before `lock`, never while holding it.
        self._leader_lock = threading.Lock()
        self.joining = InFlightCounter()

    def join(self, member: _Member) -> None:
        """Add the member to the next group.

        The caller must hold the lock and must call `wait` afterwards.
        """
        self._joined.append(member)

    def wait(self, member: _Member) -> None:
        """Return when the member is done; several threads may wait for one.

        Raises:
            ExporterError: it failed, with this error.
        """
        may_delay = True
        # Read the event before `is_done`: a later change of `is_done` then sets this event.
        while (wakeup := member.wakeup) and not member.is_done:
            if may_delay and self.joining.count:
                may_delay = wakeup.wait(_COMMIT_DELAY_SECONDS)
            elif self._leader_lock.acquire(blocking=False):
                self._commit_and_wake_next()
            else:
                # The leader wakes one of those that joined, after it has released its lock.
                wakeup.wait()
        if member.error is not None:
            raise member.error

    def flush(self) -> None:
        """Commit all that have joined; nothing may join afterwards."""
        self._leader_lock.acquire()
        self._commit_and_wake_next()

    def _commit_and_wake_next(self) -> None:
        """Commit the group, release the leader lock and wake the first of the next group."""
        try:
            with self._lock:
                group, self._joined = self._joined, []
            if group:
                self._commit_group(group)
        finally:
            self._leader_lock.release()
            with self._lock:
                next_leader = self._joined[:1]
            for member in next_leader:
                signalled, member.wakeup = member.wakeup, threading.Event()
                signalled.set()

    def _commit_group(self, group: list[_Member]) -> None:
        try:
            self._commit(group)
        finally:
            for member in group:
                member.wakeup.set()
