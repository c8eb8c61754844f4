"""The input with a given number: a seed, damaged; the same bytes in every run, on every machine.

Damage follows the structure of the message (`kit.otlp.mutate`), or joins pieces of two messages,
or lies about a length. Every fifth input is sound, and many damage only times and values: the
decoder recognises what it knows by its bytes, and that has to be tried on what it nearly knows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from kit.otlp.encode import varint
from kit.otlp.mutate import damaged

__all__ = ["Inputs"]

_SOUND_EVERY: Final = 5
# Most of them few: what is damaged too much is refused at once, and says little.
_CHANGES_MADE: Final = (1, 1, 1, 2, 4)
# Senders are steady: the same few requests again and again teach the decoder templates.
_STEADY_SEEDS: Final = 40
_LENGTHS: Final = (0, 1, 127, 128, 2**14, 2**21, 2**28, 2**31 - 1, 2**31, 2**32, 2**35, 2**63)


class Inputs:
    """Inputs by number.

    Args:
        seeds: sound requests.
        seed: which sequence.
    """

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        self._seeds = seeds
        self._seed = seed

    def __getitem__(self, number: int) -> bytes:
        rng = random.Random(f"{self._seed}:{number}")
        data = self._chosen(rng)
        if number % _SOUND_EVERY == 0:
            return data
        for _ in range(rng.choice(_CHANGES_MADE)):
            data = rng.choice(_CHANGES)(data, self._chosen(rng), rng)
        return data

    def _chosen(self, rng: random.Random) -> bytes:
        seeds = self._seeds[:_STEADY_SEEDS] if rng.random() < 0.5 else self._seeds
        return rng.choice(seeds)


def _damage(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    return damaged(data, rng)


def _change_a_number(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Eight bytes in a row become others: often a time or a value."""
    start = rng.randrange(max(len(data) - 8, 1))
    return data[:start] + rng.randbytes(8) + data[start + 8 :]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The beginning of one message and the end of another."""
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _join(data: bytes, other: bytes, _dice: random.Random) -> bytes:
    """Both messages one after the other, which protobuf merges into one."""
    return data + other


def _repeat(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """A stretch of the message many times."""
    start = rng.randrange(max(len(data), 1))
    stretch = data[start : start + rng.randint(1, 64)]
    return data[:start] + stretch * rng.randint(2, 200) + data[start:]


def _lie(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """A length, or some other small number, becomes one that is far off."""
    start = rng.randrange(max(len(data), 1))
    number = rng.choice(_LENGTHS)
    return data[:start] + varint(number, rng.randint(1, 9)) + data[start + 1 :]


_CHANGES: Final[Sequence[Callable[[bytes, bytes, random.Random], bytes]]] = (
    *[_damage] * 6,
    *[_change_a_number] * 3,
    _splice,
    _join,
    _repeat,
    _lie,
)
