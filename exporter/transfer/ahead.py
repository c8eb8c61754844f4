"""Reading beside writing: while the caller uses an item, a thread makes the next."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["prefetch"]

Item = TypeVar("Item")


@contextmanager
def prefetch(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The same items in the same order, one ahead of whoever takes them, by a thread.

    An error that `items` raises is raised where its item would have been. The thread has ended,
    and `items` is at rest, when the block is left; what was read ahead is forgotten then.

    Args:
        items: used by the thread alone within the block.
    """
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        yield _one_ahead(reader, items)


def _one_ahead(reader: ThreadPoolExecutor, items: Iterator[Item]) -> Iterator[Item]:
    # One and no more: two pages in memory, and either side waits only for the other.
    coming: Future[Item | None] = reader.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = reader.submit(next, items, None)
        yield item
