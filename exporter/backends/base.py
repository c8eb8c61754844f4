"""The contract that every backend keeps; `tests/contract` runs it over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from exporter.backends.dialect import Dialect
from exporter.model import Batch, StoreSizes, WriteResult

__all__ = ["WATERMARK_RETENTION_NANOSECONDS", "Backend"]

# A receiver that comes back after so long with requests that it had stored before would store
# them twice; one whose watermark is kept for ever leaves a row for each time it was set up anew.
WATERMARK_RETENTION_NANOSECONDS: Final = 365 * 86_400 * 1_000_000_000


class Backend(Protocol):
    """Keeps batches and answers SQL about them.

    Constructors open nothing. `start` and `close` are safe twice, `close` also before `start`.
    `write` is called by one thread at a time; `fetch` by any number, also during a `write`,
    and sees whole batches only. The backend does not keep or change the batch it is given.

    Every method raises `BackendUnavailableError` (try again) or `BackendRefusedError` (do not)
    and nothing else on purpose; the message names the backend, what was found and what to do.
    """

    @property
    def dialect(self) -> Dialect:
        """How this backend's SQL differs from the others'."""

    @property
    def location(self) -> str:
        """Where the data is, for people: a path or an address, never a password."""

    def start(self) -> None:
        """Open the store, create or migrate its schema, check that it can be written."""

    def write(self, batch: Batch) -> WriteResult:
        """Store the whole batch with its dead letters in one transaction, or nothing of it.

        A batch with a watermark is stored once: the watermark commits with it. Where the writer's
        watermark is as far already, or farther, nothing is written and `already_stored` says so.
        After an error that leaves the outcome unknown, such as a connection that breaks during
        COMMIT, write the same batch again, before any other of this writer. A batch without a
        watermark is stored as often as it is written.

        Durable when it returns, as far as the backend is durable at all. A series that is there
        already is kept, only its description and schema URLs take the newer text. A point of the
        same series and time (in the backend's resolution) as a stored one replaces it in memory
        and SQLite, and is stored beside it in PostgreSQL and TimescaleDB, where the unique key
        that would find it costs most of the speed. docs/schema-postgresql.md says which questions
        of `exporter.query` count it once.

        Of cost entries with one id and time the first stays; one that was made of a point of a
        series takes its place. Cost cursors are joined with those that are there.
        Cost samples become entries that depend on all points of their series and not on the order
        of arrival, also where several writers store points of one series
        (`exporter.costs.amounts`).

        Raises:
            RowRefusedError: the content of a row is refused, and the batch could be stored
                without that row; `exporter.backends.refused_rows` finds it.
            BackendRefusedError: something else is wrong, and fewer rows would not help.
        """

    def dry_run(self, batch: Batch) -> None:
        """Do all that `write` does, with the same errors, and take it back.

        By the thread that writes. Nothing is said about what only a commit can find, such as a
        disk that is full.
        """

    def last_sequence(self, writer_id: str) -> int:
        """The sequence of the writer's watermark, 0 if it has none: where it is to go on.

        By the thread that writes. A transaction of the writer that is still about to commit, on
        a connection that it lost, is waited for.
        """

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Answer one reading SQL statement, written in `dialect`, with all its rows."""

    def delete_before(self, time_unix_nano: int) -> int:
        """Delete points, exemplars and cost entries older than this; returns how many rows went.

        Dead letters go by the time at which they were written, and count. Watermarks that were not
        advanced for a year before this time go as well, and do not count.
        """

    def count_before(self, time_unix_nano: int) -> Mapping[str, int]:
        """How many rows of each table `delete_before` would delete now; changes nothing.

        Every fact table and `dead_letters` is a key, in the order of `sizes`. What counting would
        take long is estimated where `sizes` estimates it.
        """

    def sizes(self) -> StoreSizes:
        """How much is stored, without reading tables whole where that would take minutes.

        Like `fetch`, from any thread and also on a store that is open for reading only.
        """

    def close(self) -> None:
        """Let go of the store; what `write` returned for is safe."""
