"""Threads share commits: real threads, and a first commit that lasts until the test ends it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from exporter.errors import RetryableError
from exporter.pipeline.group_commit import GroupCommit, GroupMember

TIMEOUT_SECONDS = 10.0


@dataclass(slots=True)
class Member(GroupMember):
    number: int


class Disk:
    """Records the groups; the first commit waits for `may_finish`."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.groups: list[list[int]] = []
        self.is_committing = threading.Event()
        self.may_finish = threading.Event()
        self.group_commit = GroupCommit[Member](self.lock, self.commit)

    def commit(self, group: list[Member]) -> None:
        self.groups.append([member.number for member in group])
        if len(self.groups) == 1:
            self.is_committing.set()
            assert self.may_finish.wait(TIMEOUT_SECONDS)
        for member in group:
            member.is_done = True

    def submit(self, number: int) -> Member:
        with self.group_commit.joining:
            member = Member(number)
            self.join(member)
        self.group_commit.wait(member)
        return member

    def join(self, member: Member) -> None:
        with self.lock:
            self.group_commit.join(member)


def fast_disk() -> Disk:
    disk = Disk()
    disk.may_finish.set()
    return disk


def groups_of_waiters(members: list[Member], waited_for: list[Member]) -> list[list[int]]:
    """The groups when the members join during the first commit; a thread waits for each given."""
    disk = Disk()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(disk.submit, 0)
        assert disk.is_committing.wait(TIMEOUT_SECONDS)
        for member in members:
            disk.join(member)
        others = [pool.submit(disk.group_commit.wait, member) for member in waited_for]
        disk.may_finish.set()
        for future in (first, *others):
            future.result(TIMEOUT_SECONDS)
    return disk.groups


def test_a_single_thread_commits_for_itself() -> None:
    disk = fast_disk()
    assert disk.submit(1).is_done
    assert disk.submit(2).is_done
    assert disk.groups == [[1], [2]]


def test_all_that_join_during_a_commit_share_the_next() -> None:
    members = [Member(number) for number in range(1, 8)]
    assert groups_of_waiters(members, members) == [[0], [1, 2, 3, 4, 5, 6, 7]]


def test_a_thread_that_is_joining_is_waited_for_only_briefly() -> None:
    disk = fast_disk()
    with disk.group_commit.joining:  # and never joins
        assert disk.submit(1).is_done


def test_two_threads_may_wait_for_one_member() -> None:
    member = Member(1)
    assert groups_of_waiters([member], [member, member]) == [[0], [1]]


def test_flush_commits_all_that_have_joined() -> None:
    disk = fast_disk()
    disk.join(member := Member(1))
    disk.group_commit.flush()
    assert member.is_done
    disk.group_commit.flush()  # nothing more to do
    assert disk.groups == [[1]]


def test_wait_raises_the_error_of_the_member() -> None:
    disk = fast_disk()
    disk.join(member := Member(1, error=RetryableError("disk full")))
    with pytest.raises(RetryableError, match="disk full"):
        disk.group_commit.wait(member)


def test_a_failed_commit_wakes_the_others_and_lets_the_next_thread_lead() -> None:
    lock = threading.Condition()
    failures = iter([OSError("no space"), None])

    def commit(group: list[Member]) -> None:
        for member in group:
            member.is_done = True
        if (failure := next(failures)) is not None:
            raise failure

    group_commit = GroupCommit[Member](lock, commit)
    for is_failing in (True, False):
        with lock:
            group_commit.join(member := Member(1))
        if is_failing:
            with pytest.raises(OSError, match="no space"):
                group_commit.wait(member)
        else:
            group_commit.wait(member)
        assert member.wakeup.is_set()


@pytest.mark.parametrize("threads", [2, 8])
def test_each_of_thousands_of_members_is_in_one_group(threads: int) -> None:
    disk = fast_disk()
    with ThreadPoolExecutor(threads) as pool:
        members = list(pool.map(disk.submit, range(3_000)))
    assert all(member.is_done for member in members)
    assert sorted(number for group in disk.groups for number in group) == list(range(3_000))
