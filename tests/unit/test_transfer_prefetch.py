"""Items are made beside the caller, in order, one ahead and no more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from exporter.transfer.copier import prefetch


def test_items_come_in_order_and_from_another_thread() -> None:
    makers: set[str] = set()

    def items() -> Iterator[int]:
        for one in range(5):
            makers.add(threading.current_thread().name)
            yield one

    with prefetch(items()) as ahead:
        assert list(ahead) == [0, 1, 2, 3, 4]
    assert makers == {"prefetch_0"}


def test_the_next_is_made_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for one, event in enumerate(begun):
            event.set()
            yield one

    with prefetch(items()) as ahead:
        assert next(ahead) == 0
        assert begun[1].wait(timeout=10)
        assert not begun[2].is_set()


def test_an_error_comes_in_the_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    with prefetch(items()) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="damaged"):
            next(ahead)


def test_who_leaves_early_leaves_nothing_running() -> None:
    def items() -> Iterator[int]:
        yield from range(1_000)

    def leave() -> None:
        with prefetch(items()) as ahead:
            next(ahead)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert not [one for one in threading.enumerate() if one.name.startswith("prefetch")]
