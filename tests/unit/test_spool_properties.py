"""The spool against a plain model, in any order of calls."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.spool.samples import SECOND, START, digest_of, entry, group, read_all, spool_at

from exporter.spool import Spool

WINDOW_SECONDS = 10
MAX_DIGESTS = 25


class SpoolMachine(RuleBasedStateMachine):
    """The model: sequences in the file, how far they are released, and which digests are known."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.spool = self.opened()
        self.receiver_id = self.spool.state.receiver_id
        self.rows: list[int] = []
        self.last = 0
        self.released = 0
        self.digests: list[int] = []

    def opened(self) -> Spool:
        spool = spool_at(
            Path(self.folder.name, "spool.db"), window=WINDOW_SECONDS, max_digests=MAX_DIGESTS
        )
        spool.start()
        return spool

    def discard(self) -> None:
        self.rows = [one for one in self.rows if one > self.released]

    @rule(steps=st.lists(st.integers(1, 3), min_size=1, max_size=12))
    def append(self, steps: list[int]) -> None:
        sequences = [self.last + sum(steps[: at + 1]) for at in range(len(steps))]
        self.spool.append(group(sequences))
        self.discard()
        self.rows += sequences
        self.last = sequences[-1]
        self.digests = [*self.digests, *sequences][-MAX_DIGESTS:]

    @rule(back=st.integers(0, 20))
    def release(self, back: int) -> None:
        sequence = max(self.last - back, 0)
        self.spool.release(sequence)
        self.released = max(self.released, sequence)

    @rule(ahead=st.integers(-3, 3))
    def advance(self, ahead: int) -> None:
        sequence = max(self.last + ahead, 0)
        self.spool.advance_to(sequence)
        self.last = max(self.last, sequence)
        self.released = max(self.released, sequence)

    @rule(behind_seconds=st.integers(-5, 30))
    def tidy(self, behind_seconds: int) -> None:
        now = START + (self.last - behind_seconds) * SECOND
        self.spool.compact(now)
        self.discard()
        while self.digests and self.digests[0] <= self.released:
            if START + self.digests[0] * SECOND >= now - WINDOW_SECONDS * SECOND:
                break
            self.digests.pop(0)

    @precondition(lambda self: self.released <= max([*self.rows, 0]))
    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.spool = self.opened()
        # What was released only in memory waits again, until the ledger tells.
        self.released = min([self.released, *(one - 1 for one in self.rows)])
        self.spool.advance_to(self.released)

    @rule(after=st.integers(0, 100), max_bytes=st.integers(1, 60_000))
    def read_some(self, after: int, max_bytes: int) -> None:
        found = self.spool.read(after, max_bytes)
        wanted = [one for one in self.waiting if one > after][: len(found)]
        assert found == [entry(one) for one in wanted]
        assert found or not any(one > after for one in self.waiting)
        assert len(found) < 2 or sum(len(one.data) for one in found) <= max_bytes

    @property
    def waiting(self) -> list[int]:
        return [one for one in self.rows if one > self.released]

    @invariant()
    def counts_are_true(self) -> None:
        waiting = self.waiting
        assert self.spool.state.pending_requests == len(waiting)
        assert self.spool.state.pending_entries == sum(entry(one).entries for one in waiting)
        assert self.spool.state.oldest_received_unix_nano == (
            START + waiting[0] * SECOND if waiting else None
        )
        assert self.spool.state.last_sequence == self.last
        assert self.spool.state.receiver_id == self.receiver_id

    @invariant()
    def digests_are_known(self) -> None:
        known = [
            one for one in range(1, self.last + 2) if digest_of(one) in self.spool.state.digests
        ]
        assert known == self.digests

    def teardown(self) -> None:
        assert [one.sequence for one in read_all(self.spool)] == self.waiting
        self.spool.close()
        self.folder.cleanup()


SpoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestSpool = SpoolMachine.TestCase
