"""Who syncs for whom: real threads, and a commit that waits until the test lets it go on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from exporter.pipeline.group_commit import GroupCommit, Member

PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class Ticket(Member):
    number: int


class Disk:
    """Keeps groups; the first one only when it is told to."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.groups: list[list[int]] = []
        self.is_busy = threading.Event()
        self.goes_on = threading.Event()
        self.commit = GroupCommit[Ticket](self.lock, self.keep)

    def keep(self, group: list[Ticket]) -> None:
        self.groups.append([ticket.number for ticket in group])
        if len(self.groups) == 1:
            self.is_busy.set()
            assert self.goes_on.wait(PATIENCE_SECONDS)
        for ticket in group:
            ticket.is_settled = True

    def submit(self, number: int) -> Ticket:
        with self.commit.coming:
            ticket = Ticket(number)
            self.join(ticket)
        self.commit.wait(ticket)
        return ticket

    def join(self, ticket: Ticket) -> None:
        with self.lock:
            self.commit.join(ticket)


def test_who_comes_alone_syncs_for_itself() -> None:
    disk = Disk()
    disk.goes_on.set()
    assert disk.submit(1).is_settled
    assert disk.submit(2).is_settled
    assert disk.groups == [[1], [2]]


def test_all_who_come_during_a_sync_share_the_next() -> None:
    disk = Disk()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(disk.submit, 0)
        assert disk.is_busy.wait(PATIENCE_SECONDS)
        tickets = [Ticket(number) for number in range(1, 8)]
        for ticket in tickets:
            disk.join(ticket)
        others = [pool.submit(disk.commit.wait, ticket) for ticket in tickets]
        disk.goes_on.set()
        for one in (first, *others):
            one.result(PATIENCE_SECONDS)
    assert disk.groups == [[0], [1, 2, 3, 4, 5, 6, 7]]


def test_who_is_on_the_way_is_waited_for_a_moment_only() -> None:
    disk = Disk()
    disk.goes_on.set()
    with disk.commit.coming:  # and never joins
        assert disk.submit(1).is_settled


def test_two_may_wait_for_one_ticket() -> None:
    disk = Disk()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(disk.submit, 0)
        assert disk.is_busy.wait(PATIENCE_SECONDS)
        ticket = Ticket(1)
        disk.join(ticket)
        both = [pool.submit(disk.commit.wait, ticket) for _ in range(2)]
        disk.goes_on.set()
        for one in (first, *both):
            one.result(PATIENCE_SECONDS)
    assert disk.groups == [[0], [1]]


def test_those_who_have_joined_are_settled_at_the_end() -> None:
    disk = Disk()
    disk.goes_on.set()
    disk.join(ticket := Ticket(1))
    disk.commit.finish()
    assert ticket.is_settled
    disk.commit.finish()  # nothing more to do
    assert disk.groups == [[1]]


def test_who_fails_to_sync_wakes_the_others_and_lets_the_next_lead() -> None:
    lock = threading.Condition()
    failures = iter([OSError("no space"), None])

    def keep(group: list[Ticket]) -> None:
        for ticket in group:
            ticket.is_settled = True
        if (failure := next(failures)) is not None:
            raise failure

    commit = GroupCommit[Ticket](lock, keep)
    for failing in (True, False):
        with lock:
            commit.join(ticket := Ticket(1))
        if failing:
            with pytest.raises(OSError, match="no space"):
                commit.wait(ticket)
        else:
            commit.wait(ticket)
        assert ticket.woken.is_set()


@pytest.mark.parametrize("threads", [2, 8])
def test_thousands_from_many_threads_are_each_in_one_group(threads: int) -> None:
    disk = Disk()
    disk.goes_on.set()
    with ThreadPoolExecutor(threads) as pool:
        tickets = list(pool.map(disk.submit, range(3_000)))
    assert all(ticket.is_settled for ticket in tickets)
    assert sorted(number for group in disk.groups for number in group) == list(range(3_000))
