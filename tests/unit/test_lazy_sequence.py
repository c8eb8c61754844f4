"""A sequence that is made when it is first read can stand for a tuple."""

from __future__ import annotations

from exporter.model.lazy_sequence import LazySequence, concatenate


class Maker:
    def __init__(self, *items: int) -> None:
        self.items = items
        self.calls = 0

    def __call__(self) -> tuple[int, ...]:
        self.calls += 1
        return self.items


def test_items_are_made_at_the_first_use_and_kept() -> None:
    make = Maker(1, 2, 3)
    deferred = LazySequence(3, make)
    assert len(deferred) == 3
    assert make.calls == 0
    assert list(deferred) == [1, 2, 3]
    assert (deferred[0], deferred[-1], tuple(deferred[1:])) == (1, 3, (2, 3))
    assert make.calls == 1


def test_it_equals_sequences_with_the_same_items() -> None:
    deferred = LazySequence(2, Maker(1, 2))
    assert deferred == (1, 2)
    assert (1, 2) == deferred  # noqa: SIM300 - a tuple on the left is what is tested
    assert deferred == LazySequence(2, Maker(1, 2))
    assert deferred != (1, 3)
    assert deferred != 1


def test_joining_makes_nothing() -> None:
    makers = [Maker(1), Maker(), Maker(2, 3)]
    whole = concatenate([LazySequence(len(make.items), make) for make in makers])
    assert len(whole) == 3
    assert [make.calls for make in makers] == [0, 0, 0]
    assert whole == (1, 2, 3)
    assert [make.calls for make in makers] == [1, 0, 1]


def test_joining_one_part_or_none() -> None:
    part = LazySequence(1, Maker(1))
    assert concatenate([(), part]) is part
    assert concatenate([(), ()]) == ()
