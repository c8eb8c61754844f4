"""Feeds both decoders the same inputs and compares what they make of them."""

from __future__ import annotations

from collections import Counter
from typing import Final

from exporter.wire import decode, decode_reference
from kit.otlp.checks import DecoderSession, assert_stored

__all__ = ["DecoderComparison"]

# Then both begin anew: what the kit remembers of every series would grow without bound.
_INPUTS_OF_A_STREAM: Final = 1_500
# Also so small that resources are forgotten while their senders go on.
_CACHE_SIZES: Final = (1_000_000, 300)


class DecoderComparison:
    """The two decoders over one stream of inputs.

    Attributes:
        outcomes: how many inputs were taken whole, taken in part, and refused.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._begin()

    def compare(self, data: bytes) -> None:
        """Fail where a decoder raises anything but DecodeError, or the two differ."""
        fed = self.outcomes.total()
        if fed % _INPUTS_OF_A_STREAM == 0:
            self._begin()
        found, expected = self._fast.feed(data), self._reference.feed(data)
        if found is not None and expected is not None:
            # Which request defines a series depends on what each cache has forgotten.
            found.metadata.clear()
            expected.metadata.clear()
        assert_stored(found, expected)
        if found is None:
            self.outcomes["refused"] += 1
        else:
            self.outcomes["taken in part" if found.rejected else "taken whole"] += 1

    def _begin(self) -> None:
        turn = self.outcomes.total() // _INPUTS_OF_A_STREAM
        size = _CACHE_SIZES[turn % len(_CACHE_SIZES)]
        self._fast = DecoderSession(decode, max_entries=size)
        self._reference = DecoderSession(decode_reference, max_entries=size)
