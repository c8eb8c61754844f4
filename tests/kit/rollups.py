"""A TimescaleDB whose roll-ups a test refreshes, and readers with and without the roll-ups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import psycopg2
from engines.statements import Connection, execute
from hypothesis import strategies as st

from exporter.backends.base import Backend
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend
from exporter.backends.timescaledb.rollups import ROLLUPS
from exporter.query import Reader

HOUR: Final = 3_600
DAY: Final = 86_400
MIDNIGHT: Final = 1_700_006_400  # 2023-11-15
# Within four days after midnight.
TIMES: Final = st.integers(0, 4 * DAY * 4).map(lambda quarters: MIDNIGHT + quarters / 4)
STARTS: Final = st.none() | st.sampled_from([MIDNIGHT, MIDNIGHT + DAY]) | TIMES
_WINDOWS: Final = st.tuples(st.integers(0, 3), st.integers(1, 4)).filter(
    lambda pair: pair[0] < pair[1]
)

_Answer = list[dict[str, Any]]


class RecordingBackend:
    """A backend that records the statements, and can hide the roll-ups."""

    def __init__(self, backend: Backend, *, rollups: bool = True) -> None:
        self._backend = backend
        self.dialect = backend.dialect
        self.hypertable_catalog = backend.hypertable_catalog if rollups else None
        self.location = backend.location
        self.statements: list[tuple[str, Sequence[object]]] = []

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        self.statements.append((statement, parameters))
        return self._backend.fetch(statement, parameters)

    def views(self) -> list[str]:
        """The roll-ups that the last statement reads."""
        return [view for view in ROLLUPS if f"FROM {view} " in self.statements[-1][0]]

    def reader(self) -> Reader:
        return Reader(cast(Backend, self))

    def plan(self) -> list[str]:
        """The plan of the last statement, after it was run again."""
        statement, parameters = self.statements[-1]
        plan = self._backend.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) {statement}", parameters)
        return [line for (line,) in plan]


@dataclass
class RollupStore:
    """A started backend with rows, and another connection to its database."""

    backend: PostgreSQLBackend
    connection: Connection

    def refresh(self, view: str, start: float | None = None, end: float | None = None) -> None:
        statement = "CALL refresh_continuous_aggregate(%s, to_timestamp(%s), to_timestamp(%s))"
        while True:
            try:
                execute(self.connection, statement, (view, start, end))
            except psycopg2.errors.LockNotAvailable:  # the job's first run, on a real server
                execute(self.connection, "SELECT pg_sleep(0.05)")
            else:
                return

    def run_step(self, step: tuple[Any, ...]) -> None:
        """Run one of `common_steps`."""
        match step:
            case ("refresh", view, None):
                self.refresh(view)
            case ("refresh", view, (first, last)):
                self.refresh(view, MIDNIGHT + first * DAY, MIDNIGHT + last * DAY)
            case ("drop", day):
                self.backend.delete_before((MIDNIGHT + day * DAY) * 10**9)

    def answers(
        self, question: Callable[[Reader], _Answer]
    ) -> tuple[RecordingBackend, _Answer, _Answer]:
        """The statements with roll-ups, the answer with them, and the answer without them."""
        recording = RecordingBackend(self.backend)
        without = RecordingBackend(self.backend, rollups=False)
        answer, expected = question(recording.reader()), question(without.reader())
        assert without.views() == []
        return recording, answer, expected


@contextmanager
def rollup_store(
    dsn: str,
    fill: Callable[[Backend], object],
    options: HypertableOptions = HypertableOptions(),  # noqa: B008 - frozen
) -> Iterator[RollupStore]:
    backend = timescaledb_backend(dsn, options=options)
    with closing(backend), closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        backend.start()
        # A real server would refresh at times of its own.
        execute(
            connection,
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
            " WHERE proc_name = 'policy_refresh_continuous_aggregate'",
        )
        fill(backend)
        yield RollupStore(backend, connection)


def common_steps(*views: str) -> st.SearchStrategy[tuple[Any, ...]]:
    """Refreshes of these roll-ups, whole or in part, and dropped days."""
    return st.tuples(st.just("refresh"), st.sampled_from(views), st.none() | _WINDOWS) | st.tuples(
        st.just("drop"), st.integers(0, 3)
    )
