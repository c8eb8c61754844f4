"""What is known of the spool without asking its file; one lock, held for moments only."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from exporter.spool.digests import Digests
from exporter.spool.entry import Entry
from exporter.spool.waiting import Waiting

__all__ = ["Tally"]


class Tally:
    """Counts of what waits, digests of what was seen, and how far the queue has come.

    Any thread may call any method; none waits for a disk.

    Args:
        waiting: counts of the requests in the file.
        digests: of these, and of those that were stored a short while ago.
        last_sequence: the largest sequence that was ever appended.
        released_sequence: everything up to it is stored by the backend.
    """

    def __init__(
        self,
        waiting: Waiting,
        digests: Digests,
        last_sequence: int = 0,
        released_sequence: int = 0,
    ) -> None:
        self._changing = threading.Lock()
        self._waiting = waiting
        self.digests = digests
        self.last_sequence = last_sequence
        self.released_sequence = released_sequence

    @property
    def requests(self) -> int:
        """Requests that wait."""
        with self._changing:
            return self._waiting.requests

    @property
    def entries(self) -> int:
        """Data points in them."""
        return self._waiting.entries

    @property
    def bytes(self) -> int:
        """Their size, see `Waiting`."""
        return self._waiting.bytes

    @property
    def oldest_received_unix_nano(self) -> int | None:
        """When the first of them arrived, None when none waits."""
        with self._changing:
            return self._waiting.oldest_received_unix_nano

    def add(self, entries: Sequence[Entry]) -> None:
        """Count a group that is on disk."""
        with self._changing:
            for entry in entries:
                sequence, received_unix_nano = entry.sequence, entry.received_unix_nano
                self._waiting.add(sequence, received_unix_nano, entry.entries, len(entry.data))
                self.digests.add(sequence, received_unix_nano, entry.digest)
            self.last_sequence = entries[-1].sequence

    def release(self, sequence: int) -> None:
        """Count everything up to this sequence no longer.

        Raises:
            ValueError: it is beyond the last.
        """
        with self._changing:
            if sequence > self.last_sequence:
                raise ValueError(f"release of {sequence}, and the last is {self.last_sequence}")
            self._release(sequence)

    def advance_to(self, sequence: int) -> int:
        """Release up to this sequence, and go on after it where it is beyond the last.

        Returns:
            How many data points fewer wait.
        """
        with self._changing:
            before = self._waiting.entries
            self.last_sequence = max(self.last_sequence, sequence)
            self._release(sequence)
            return before - self._waiting.entries

    def forget_digests(self, before_unix_nano: int) -> None:
        """Forget digests of what is released and arrived before this time."""
        with self._changing:
            self.digests.forget(before_unix_nano, self.released_sequence)

    def recount(self, waiting: Waiting) -> int:
        """Take other counts, those of the file that replaced a damaged one.

        Returns:
            How many data points fewer wait.
        """
        with self._changing:
            waiting.release(self.released_sequence)
            missing = self._waiting.entries - waiting.entries
            self._waiting = waiting
        return missing

    def _release(self, sequence: int) -> None:
        self._waiting.release(sequence)
        self.released_sequence = max(self.released_sequence, sequence)
