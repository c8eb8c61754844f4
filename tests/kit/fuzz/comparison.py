"""Runs both decoders on the same inputs and compares what they store."""

from __future__ import annotations

from collections import Counter
from typing import Final

from exporter.wire import decode, decode_reference
from kit.otlp.checks import DecoderSession, assert_stored

# New sessions after so many inputs: the test kit keeps every series definition.
_INPUTS_PER_SESSION: Final = 1_500
# The small size evicts resources while their senders continue.
_CACHE_SIZES: Final = (1_000_000, 300)


class DecoderComparison:
    """The two decoders, with a cache each, over a sequence of inputs.

    Attributes:
        outcomes: how many inputs were "taken whole", "taken in part" and "refused".
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._start_sessions()

    def compare(self, data: bytes) -> None:
        """Fail if a decoder raises anything but DecodeError, or if the two differ."""
        if self.outcomes.total() % _INPUTS_PER_SESSION == 0:
            self._start_sessions()
        found, expected = self._fast.decode(data), self._reference.decode(data)
        if found is not None and expected is not None:
            # Which request defines a series depends on what each cache has evicted.
            found.metadata.clear()
            expected.metadata.clear()
        assert_stored(found, expected)
        if found is None:
            self.outcomes["refused"] += 1
        else:
            self.outcomes["taken in part" if found.rejected else "taken whole"] += 1

    def _start_sessions(self) -> None:
        session_number = self.outcomes.total() // _INPUTS_PER_SESSION
        size = _CACHE_SIZES[session_number % len(_CACHE_SIZES)]
        self._fast = DecoderSession(decode, max_entries=size)
        self._reference = DecoderSession(decode_reference, max_entries=size)
