"""What the memory of this process is compared with, at limits around what the tests take."""

from __future__ import annotations

import psutil
import pytest

from exporter.pipeline.memory import MemoryLimit


def limit_of(share: float) -> MemoryLimit:
    """A limit of which this process takes the given share."""
    return MemoryLimit(int(psutil.Process().memory_info().rss / share))


def test_without_a_limit_there_is_always_room() -> None:
    memory = MemoryLimit(None)
    assert not memory.is_tight(1.0)
    assert not memory.is_exceeded(1.0, 10**12)


@pytest.mark.parametrize(
    ("share", "tight", "exceeded"),
    [(0.3, False, False), (0.69, True, False), (0.9, True, True), (1.5, True, True)],
)
def test_it_is_tight_before_it_is_exceeded(share: float, *, tight: bool, exceeded: bool) -> None:
    memory = limit_of(share)
    assert memory.is_tight(1.0) is tight
    assert memory.is_exceeded(1.0) is exceeded


def test_a_request_counts_before_it_is_decoded() -> None:
    memory = limit_of(0.5)
    room_bytes = memory.limit_bytes // 2
    assert not memory.is_exceeded(1.0, room_bytes // 16)
    assert memory.is_exceeded(1.0, room_bytes // 8)
