"""A TimescaleDB whose roll-ups are refreshed when a test says so, asked with them and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import psycopg2
from engines.statements import Connection, execute
from hypothesis import strategies as st

from exporter.backends.base import Backend
from exporter.backends.dialect import Dialect
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend
from exporter.backends.timescaledb.rollups import ROLLUPS as MADE
from exporter.query import Reader

__all__ = [
    "DAY",
    "HOUR",
    "MIDNIGHT",
    "STARTS",
    "TIMES",
    "Filled",
    "Watched",
    "common_steps",
    "filled",
]

HOUR: Final = 3_600
DAY: Final = 86_400
MIDNIGHT: Final = 1_700_006_400  # 2023-11-15
# Of four days from then on.
TIMES: Final = st.integers(0, 4 * DAY * 4).map(lambda quarters: MIDNIGHT + quarters / 4)
STARTS: Final = st.none() | st.sampled_from([MIDNIGHT, MIDNIGHT + DAY]) | TIMES
_WINDOWS: Final = st.tuples(st.integers(0, 3), st.integers(1, 4)).filter(
    lambda pair: pair[0] < pair[1]
)

_Answer = list[dict[str, Any]]


class Watched:
    """A backend that remembers the statements, and may hide that there are roll-ups."""

    def __init__(self, backend: Backend, *, rollups: bool = True) -> None:
        self._backend = backend
        self.dialect: Dialect = replace(backend.dialect, may_have_rollups=rollups)
        self.location = backend.location
        self.asked: list[tuple[str, Sequence[object]]] = []

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        self.asked.append((statement, parameters))
        return self._backend.fetch(statement, parameters)

    def views(self) -> list[str]:
        """The roll-ups that the last question read, if it read any."""
        return [view for view in MADE if f"FROM {view} " in self.asked[-1][0]]

    def reader(self) -> Reader:
        """One that asks through this."""
        return Reader(cast(Backend, self))

    def plan(self) -> list[str]:
        """How the last statement is carried out."""
        statement, parameters = self.asked[-1]
        plan = self._backend.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) {statement}", parameters)
        return [line for (line,) in plan]


@dataclass
class Filled:
    """A started backend, and a connection of a person's beside it."""

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

    def carry_out(self, step: tuple[Any, ...]) -> None:
        """One of `common_steps`."""
        match step:
            case ("refresh", view, None):
                self.refresh(view)
            case ("refresh", view, (first, last)):
                self.refresh(view, MIDNIGHT + first * DAY, MIDNIGHT + last * DAY)
            case ("drop", day):
                self.backend.delete_before((MIDNIGHT + day * DAY) * 10**9)

    def answers(self, question: Callable[[Reader], _Answer]) -> tuple[Watched, _Answer, _Answer]:
        """How it was asked with roll-ups, and the answers with them and without."""
        watched, plain = Watched(self.backend), Watched(self.backend, rollups=False)
        answer, expected = question(watched.reader()), question(plain.reader())
        assert plain.views() == []
        return watched, answer, expected


@contextmanager
def filled(
    dsn: str,
    fill: Callable[[Backend], object],
    options: HypertableOptions = HypertableOptions(),  # noqa: B008 - frozen
) -> Iterator[Filled]:
    backend = timescaledb_backend(dsn, options=options)
    with closing(backend), closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        backend.start()
        # A real server would refresh when it likes.
        execute(
            connection,
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
            " WHERE proc_name = 'policy_refresh_continuous_aggregate'",
        )
        fill(backend)
        yield Filled(backend, connection)


def common_steps(*views: str) -> st.SearchStrategy[tuple[Any, ...]]:
    """Refreshes of these roll-ups, of parts too, and dropped days."""
    return st.tuples(st.just("refresh"), st.sampled_from(views), st.none() | _WINDOWS) | st.tuples(
        st.just("drop"), st.integers(0, 3)
    )
