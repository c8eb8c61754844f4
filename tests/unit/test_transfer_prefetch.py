"""A thread makes items in order, one prefetched of the caller."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from exporter.transfer.copier import prefetch


def test_items_come_in_order_from_another_thread() -> None:
    makers: set[str] = set()

    def items() -> Iterator[int]:
        for one in range(5):
            makers.add(threading.current_thread().name)
            yield one

    with prefetch(items()) as prefetched:
        assert list(prefetched) == [0, 1, 2, 3, 4]
    assert makers == {"prefetch_0"}


def test_the_next_item_is_made_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for one, event in enumerate(begun):
            event.set()
            yield one

    with prefetch(items()) as prefetched:
        assert next(prefetched) == 0
        assert begun[1].wait(timeout=10)
        assert not begun[2].is_set()


def test_an_error_is_raised_in_the_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    with prefetch(items()) as prefetched:
        assert next(prefetched) == 1
        with pytest.raises(ValueError, match="damaged"):
            next(prefetched)


def test_leaving_early_ends_the_thread() -> None:
    def items() -> Iterator[int]:
        yield from range(1_000)

    def leave() -> None:
        with prefetch(items()) as prefetched:
            next(prefetched)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert not [one for one in threading.enumerate() if one.name.startswith("prefetch")]
