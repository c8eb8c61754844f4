"""A LazySequence makes its items at first use, and can replace a tuple."""

from __future__ import annotations

from exporter.model.lazy_sequence import LazySequence, concatenate


class Factory:
    def __init__(self, *items: int) -> None:
        self.items = items
        self.calls = 0

    def __call__(self) -> tuple[int, ...]:
        self.calls += 1
        return self.items


def test_items_are_made_at_first_use_and_kept() -> None:
    make = Factory(1, 2, 3)
    sequence = LazySequence(3, make)
    assert len(sequence) == 3
    assert make.calls == 0
    assert list(sequence) == [1, 2, 3]
    assert (sequence[0], sequence[-1], tuple(sequence[1:])) == (1, 3, (2, 3))
    assert make.calls == 1


def test_it_equals_sequences_with_the_same_items() -> None:
    sequence = LazySequence(2, Factory(1, 2))
    assert sequence == (1, 2)
    assert (1, 2) == sequence  # noqa: SIM300 - a tuple on the left is what is tested
    assert sequence == LazySequence(2, Factory(1, 2))
    assert sequence != (1, 3)
    assert sequence != 1


def test_concatenating_makes_no_items() -> None:
    factories = [Factory(1), Factory(), Factory(2, 3)]
    whole = concatenate([LazySequence(len(make.items), make) for make in factories])
    assert len(whole) == 3
    assert [make.calls for make in factories] == [0, 0, 0]
    assert whole == (1, 2, 3)
    assert [make.calls for make in factories] == [1, 0, 1]


def test_concatenating_one_part_or_none() -> None:
    part = LazySequence(1, Factory(1))
    assert concatenate([(), part]) is part
    assert concatenate([(), ()]) == ()
