"""The spool against a plain model, with its methods called in any order."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.spool.samples import START_UNIX_NANO, entry, group, is_known, read_sequences, spool_at

from exporter.spool import Spool
from exporter.time_units import NANOSECONDS_PER_SECOND

RETRY_WINDOW_SECONDS = 10
MAX_DIGESTS = 25


class SpoolMachine(RuleBasedStateMachine):
    """The model: sequences in the file, the released one, and the sequences of known digests."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.spool = self.started()
        self.receiver_id = self.spool.state.receiver_id
        self.rows: list[int] = []
        self.last = 0
        self.released = 0
        self.digests: list[int] = []

    def started(self) -> Spool:
        spool = spool_at(
            Path(self.folder.name, "spool.db"),
            retry_window_seconds=RETRY_WINDOW_SECONDS,
            max_digests=MAX_DIGESTS,
        )
        spool.start()
        return spool

    @property
    def pending(self) -> list[int]:
        return [one for one in self.rows if one > self.released]

    @rule(steps=st.lists(st.integers(1, 3), min_size=1, max_size=12))
    def append(self, steps: list[int]) -> None:
        sequences = [self.last + sum(steps[: at + 1]) for at in range(len(steps))]
        self.spool.append(group(sequences))
        self.rows = [*self.pending, *sequences]
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
    def compact(self, behind_seconds: int) -> None:
        now_seconds = self.last - behind_seconds  # entry n is received n seconds after the start
        self.spool.compact(START_UNIX_NANO + now_seconds * NANOSECONDS_PER_SECOND)
        self.rows = self.pending
        while self.digests and self.digests[0] <= self.released:
            if self.digests[0] >= now_seconds - RETRY_WINDOW_SECONDS:
                break
            self.digests.pop(0)

    @precondition(lambda self: self.released <= max([*self.rows, 0]))
    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.spool = self.started()
        # A release that was only in memory is lost, until the ledger is read.
        self.released = min([self.released, *(one - 1 for one in self.rows)])
        self.spool.advance_to(self.released)

    @rule(after=st.integers(0, 100), max_bytes=st.integers(1, 60_000))
    def read_some(self, after: int, max_bytes: int) -> None:
        found = self.spool.read(after, max_bytes)
        expected = [one for one in self.pending if one > after]
        assert found == [entry(one) for one in expected[: len(found)]]
        assert found or not expected
        assert len(found) < 2 or sum(len(one.data) for one in found) <= max_bytes

    @invariant()
    def counts_are_true(self) -> None:
        state, pending = self.spool.state, self.pending
        assert state.pending_requests == len(pending)
        assert state.pending_entries == sum(entry(one).entries for one in pending)
        assert state.oldest_received_unix_nano == (
            entry(pending[0]).received_unix_nano if pending else None
        )
        assert state.last_sequence == self.last
        assert state.receiver_id == self.receiver_id

    @invariant()
    def digests_are_known(self) -> None:
        sequences = range(1, self.last + 2)
        known = zip(sequences, is_known(self.spool, *sequences), strict=True)
        assert [sequence for sequence, is_there in known if is_there] == self.digests

    def teardown(self) -> None:
        assert read_sequences(self.spool) == self.pending
        self.spool.close()
        self.folder.cleanup()


SpoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestSpool = SpoolMachine.TestCase
