"""A sequence whose items are made when it is first read: rows that were decoded as columns.

While a batch waits in a queue its rows stay columns; the thread that stores it makes the objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeVar, overload

Item = TypeVar("Item")


class LazySequence(Sequence[Item]):
    """A sequence of known length whose items are made all at once, at first use, and kept.

    Args:
        length: how many items there will be.
        make: returns the items. Usually called once; more often if several threads read first at
            the same time.
    """

    __slots__ = ("_items", "_length", "_make")

    def __init__(self, length: int, make: Callable[[], Sequence[Item]]) -> None:
        self._length: Final = length
        # None after it was used, because it holds the columns.
        self._make: Callable[[], Sequence[Item]] | None = make
        self._items: Sequence[Item] = ()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        return self._evaluate()[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._evaluate())

    def __eq__(self, other: object) -> bool:
        """Equal to any sequence of equal items, so that it can replace a tuple."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list, items may have no hash

    def __repr__(self) -> str:
        return f"LazySequence({self._length} items)"

    def _evaluate(self) -> Sequence[Item]:
        make = self._make
        if make is not None:
            # Set `_items` before clearing `_make`, so that another thread always sees one of them.
            self._items = make()
            self._make = None
        return self._items


def concatenate(parts: Sequence[Sequence[Item]]) -> Sequence[Item]:
    """The items of all parts in their order; lazy parts are not made before they are read."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else ()
    return LazySequence(sum(map(len, filled)), lambda: tuple(chain.from_iterable(filled)))
