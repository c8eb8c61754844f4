"""What the memory of a process is compared with."""

from __future__ import annotations

import psutil
import pytest

from exporter.pipeline.memory import MemoryLimit

MIB = 1 << 20


def taking(share: float) -> MemoryLimit:
    """A limit of 1,000 MiB, of which the process takes the given share."""
    return MemoryLimit(1_000 * MIB, lambda: int(1_000 * MIB * share))


def test_without_a_limit_there_is_always_room() -> None:
    memory = MemoryLimit(None)
    assert not memory.is_tight(1.0)
    assert not memory.is_exceeded(1.0, 10**12)


@pytest.mark.parametrize(
    ("share", "tight", "exceeded"),
    [(0.3, False, False), (0.6, True, False), (0.7, True, True), (1.5, True, True)],
)
def test_it_is_tight_before_it_is_exceeded(share: float, *, tight: bool, exceeded: bool) -> None:
    memory = taking(share)
    assert memory.is_tight(1.0) is tight
    assert memory.is_exceeded(1.0) is exceeded


def test_what_this_process_takes_is_known() -> None:
    resident_bytes = psutil.Process().memory_info().rss
    assert not MemoryLimit(resident_bytes * 10).is_tight(1.0)
    assert MemoryLimit(resident_bytes // 10).is_exceeded(1.0)


def test_a_message_counts_before_it_is_decoded() -> None:
    memory = taking(0.4)
    assert not memory.is_exceeded(1.0, 10 * MIB)
    assert memory.is_exceeded(1.0, 30 * MIB)


def test_messages_under_way_count_as_much_as_the_largest_of_late() -> None:
    memory = taking(0.4)
    memory.received(9 * MIB)  # 0.387 to decode and 0.027 for each, of the 0.475 that are left
    assert not memory.is_exceeded(1.0)
    with memory.receiving, memory.receiving:
        assert memory.receiving.count == 2
        assert not memory.is_exceeded(1.0)
        with memory.receiving, memory.receiving, memory.receiving:
            assert memory.is_exceeded(1.0)
    assert memory.receiving.count == 0


def test_a_large_message_is_forgotten_after_many_small_ones() -> None:
    memory = taking(0.4)
    memory.received(30 * MIB)
    assert memory.is_exceeded(1.0)
    for _ in range(500):
        memory.received(1_000)
    assert not memory.is_exceeded(1.0)


def test_memory_is_asked_for_again_after_a_moment() -> None:
    shares = iter([900 * MIB, 900 * MIB, 100 * MIB])
    memory = MemoryLimit(1_000 * MIB, lambda: next(shares))
    assert memory.is_exceeded(1.0)  # asked before and after freed memory was given back
    assert memory.is_exceeded(1.01)
    assert not memory.is_exceeded(1.1)


def test_what_was_freed_is_given_back_at_once() -> None:
    shares = iter([900 * MIB, 900 * MIB, 100 * MIB])
    memory = MemoryLimit(1_000 * MIB, lambda: next(shares))
    assert memory.is_exceeded(1.0)
    memory.give_back(1.0)
    assert not memory.is_exceeded(1.0)
