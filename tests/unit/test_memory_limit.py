"""When the memory limit lets requests wait in the spool, and when it refuses them."""

from __future__ import annotations

import psutil
import pytest

from exporter.pipeline.memory_limit import MemoryLimit

MIB = 1 << 20


def with_resident_share(share: float) -> MemoryLimit:
    """A limit of 1,000 MiB, of which the process takes the given share."""
    return MemoryLimit(1_000 * MIB, lambda: int(1_000 * MIB * share))


def test_without_a_limit_nothing_exceeds_it() -> None:
    memory = MemoryLimit(None)
    assert not memory.exceeds_soft_limit(1.0)
    assert not memory.exceeds_hard_limit(1.0, 10**12)


@pytest.mark.parametrize(
    ("share", "soft", "hard"),
    [(0.3, False, False), (0.6, True, False), (0.7, True, True), (1.5, True, True)],
)
def test_the_soft_limit_is_below_the_hard_limit(share: float, *, soft: bool, hard: bool) -> None:
    memory = with_resident_share(share)
    assert memory.exceeds_soft_limit(1.0) is soft
    assert memory.exceeds_hard_limit(1.0) is hard


def test_the_memory_of_this_process_is_measured() -> None:
    resident_bytes = psutil.Process().memory_info().rss
    assert not MemoryLimit(resident_bytes * 10).exceeds_soft_limit(1.0)
    assert MemoryLimit(resident_bytes // 10).exceeds_hard_limit(1.0)


def test_a_message_counts_before_it_is_decoded() -> None:
    memory = with_resident_share(0.4)
    assert not memory.exceeds_hard_limit(1.0, 10 * MIB)
    assert memory.exceeds_hard_limit(1.0, 30 * MIB)


def test_messages_in_flight_count_as_much_as_the_largest_recent_one() -> None:
    memory = with_resident_share(0.4)
    memory.record_message(9 * MIB)  # 0.387 to decode, 0.027 for each, of the 0.475 that are left
    assert not memory.exceeds_hard_limit(1.0)
    with memory.in_flight, memory.in_flight:
        assert memory.in_flight.count == 2
        assert not memory.exceeds_hard_limit(1.0)
        with memory.in_flight, memory.in_flight, memory.in_flight:
            assert memory.exceeds_hard_limit(1.0)
    assert memory.in_flight.count == 0


def test_a_large_message_is_no_longer_expected_after_many_small_ones() -> None:
    memory = with_resident_share(0.4)
    memory.record_message(30 * MIB)
    assert memory.exceeds_hard_limit(1.0)
    for _ in range(500):
        memory.record_message(1_000)
    assert not memory.exceeds_hard_limit(1.0)


def test_memory_is_measured_again_after_a_moment() -> None:
    measured = iter([900 * MIB, 900 * MIB, 100 * MIB])
    memory = MemoryLimit(1_000 * MIB, lambda: next(measured))
    assert memory.exceeds_hard_limit(1.0)  # measured before and after freed memory was returned
    assert memory.exceeds_hard_limit(1.01)
    assert not memory.exceeds_hard_limit(1.1)


def test_memory_is_measured_again_after_a_trim() -> None:
    measured = iter([900 * MIB, 900 * MIB, 100 * MIB])
    memory = MemoryLimit(1_000 * MIB, lambda: next(measured))
    assert memory.exceeds_hard_limit(1.0)
    memory.trim(1.0)
    assert not memory.exceeds_hard_limit(1.0)
