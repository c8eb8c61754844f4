"""Which requests were seen lately: in memory, bounded in number, in the order of arrival."""

from __future__ import annotations

from collections import deque

__all__ = ["Digests"]


class Digests:
    """Digests of requests that wait or were stored a short while ago.

    `in` may be asked from any thread at any time; changes need a lock of the caller's.

    Args:
        most: how many are kept, about 240 bytes each; the oldest go first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._newest: dict[bytes, int] = {}  # digest -> sequence
        self._order: deque[tuple[int, int, bytes]] = deque()
        self.forgotten_sequence = 0
        """Of all up to this sequence the digest is gone."""

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._newest

    def __len__(self) -> int:
        return len(self._order)

    def add(self, sequence: int, received_unix_nano: int, digest: bytes) -> None:
        """Remember one more, whose sequence is larger than all before."""
        self._newest[digest] = sequence
        self._order.append((sequence, received_unix_nano, digest))
        if len(self._order) > self._most:
            self._forget_oldest()

    def forget(self, before_unix_nano: int, released_sequence: int) -> None:
        """Forget those that arrived before this time, as far as they are released."""
        while self._order:
            sequence, received_unix_nano, _ = self._order[0]
            if sequence > released_sequence or received_unix_nano >= before_unix_nano:
                return
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        sequence, _, digest = self._order.popleft()
        if self._newest[digest] == sequence:
            del self._newest[digest]
        self.forgotten_sequence = sequence
