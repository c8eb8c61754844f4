"""The input with a given number: a damaged seed, the same bytes in every run on every machine.

Damage follows the structure of the message (`kit.otlp.mutate`), joins parts of two messages, or
replaces a length. Every fifth input is valid, and many have only other times and values: the
decoder recognises known messages by their bytes, which is tested with messages that are similar.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from kit.otlp.encode import varint
from kit.otlp.mutate import damage

_VALID_EVERY: Final = 5
# Mostly one change: inputs with many changes are refused at once and test little.
_CHANGE_COUNTS: Final = (1, 1, 1, 2, 4)
# Half of the inputs come from these few seeds, so that the decoder builds templates of them.
_STEADY_SEEDS: Final = 40
_LENGTHS: Final = (0, 1, 127, 128, 2**14, 2**21, 2**28, 2**31 - 1, 2**31, 2**32, 2**35, 2**63)


class Inputs:
    """A sequence of inputs.

    Args:
        seeds: valid requests.
        seed: the number of the sequence.
    """

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        self._seeds = seeds
        self._seed = seed

    def __getitem__(self, number: int) -> bytes:
        rng = random.Random(f"{self._seed}:{number}")
        data = self._choose(rng)
        if number % _VALID_EVERY == 0:
            return data
        for _ in range(rng.choice(_CHANGE_COUNTS)):
            data = rng.choice(_CHANGES)(data, self._choose(rng), rng)
        return data

    def _choose(self, rng: random.Random) -> bytes:
        seeds = self._seeds[:_STEADY_SEEDS] if rng.random() < 0.5 else self._seeds
        return rng.choice(seeds)


def _damage(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    return damage(data, rng)


def _change_a_number(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Eight consecutive bytes are replaced: often a time or a value."""
    start = rng.randrange(max(len(data) - 8, 1))
    return data[:start] + rng.randbytes(8) + data[start + 8 :]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The start of one message and the end of another."""
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _join(data: bytes, other: bytes, _rng: random.Random) -> bytes:
    """Both messages one after the other, which protobuf merges."""
    return data + other


def _repeat(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """A slice of the message many times."""
    start = rng.randrange(max(len(data), 1))
    repeated = data[start : start + rng.randint(1, 64)]
    return data[:start] + repeated * rng.randint(2, 200) + data[start:]


def _change_a_length(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    """A length, or another small number, is replaced by a wrong one."""
    start = rng.randrange(max(len(data), 1))
    number = rng.choice(_LENGTHS)
    return data[:start] + varint(number, rng.randint(1, 9)) + data[start + 1 :]


_CHANGES: Final[Sequence[Callable[[bytes, bytes, random.Random], bytes]]] = (
    *[_damage] * 6,
    *[_change_a_number] * 3,
    _splice,
    _join,
    _repeat,
    _change_a_length,
)
