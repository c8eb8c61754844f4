"""The contract of every backend; `tests/contract` runs it over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from exporter.backends.dialect import Dialect
from exporter.backends.hypertable_catalog import HypertableCatalog
from exporter.model import Batch, StoreSizes, WriteResult
from exporter.time_units import NANOSECONDS_PER_DAY

# Watermarks are deleted when they were last advanced this long before the retention limit. A
# receiver that restarts after a longer time, with requests that it had stored, stores them twice.
# Without a limit each receiver that was ever set up leaves a row.
WATERMARK_RETENTION_NANOSECONDS: Final = 365 * NANOSECONDS_PER_DAY


class Backend(Protocol):
    """Stores batches, and runs SQL that reads them.

    Constructors open nothing. `start` and `close` may be called twice, `close` also before `start`.
    One thread at a time calls `write`. Any number of threads call `fetch`, also during a `write`,
    and they see whole batches only. A backend neither keeps nor changes the batch it is given.

    Every method raises `BackendUnavailableError` (retryable) or `BackendRefusedError` (permanent);
    any other error is a bug. The message names the backend, what was found and what to do.
    """

    @property
    def dialect(self) -> Dialect:
        """How this backend's SQL differs from that of the others."""

    @property
    def hypertable_catalog(self) -> HypertableCatalog | None:
        """Roll-ups and chunks that shorten reads; None if the database has no hypertables."""

    @property
    def location(self) -> str:
        """Where the data is, for messages: a path or an address, never a password."""

    def start(self) -> None:
        """Open the store, create or migrate its schema, check that it can be written."""

    def write(self, batch: Batch) -> WriteResult:
        """Store the whole batch with its dead letters in one transaction, or nothing of it.

        What was written is durable when this returns, if the backend is durable.

        Watermark: a batch with a watermark is stored once, because the watermark commits with it.
        If the writer's stored watermark is as high or higher, nothing is written and
        `already_stored` is set. After an error with an unknown outcome, such as a connection that
        breaks during COMMIT, write the same batch again before any other batch of this writer. A
        batch without a watermark is stored as often as it is written.

        Series: a stored definition stays; its description and schema URLs take the newer text.

        Points: a point with the series, time and start (in the backend's resolution) of a stored
        point replaces it in memory and SQLite. Points of one series and time with other starts are
        several points. PostgreSQL and TimescaleDB store it as a second row: A
        unique key would prevent the second row, but it would cost most of the write speed.
        docs/schema-postgresql.md lists which queries of `exporter.query` count it once.

        Costs: of entries with one id and time the first stays, except that an entry derived from a
        point of a series replaces it. Cost streams are merged with the stored ones. Cost samples
        become entries that depend on all points of their series, and not on the order of arrival,
        also if several writers store points of one series (`exporter.costs.entry_calculation`).

        Raises:
            RowRefusedError: the content of a row is refused, and the batch without that row could
                be stored; `exporter.backends.refused_rows` finds the row.
            BackendRefusedError: the batch is refused for another reason.
        """

    def dry_run(self, batch: Batch) -> None:
        """Do all that `write` does, with the same errors, and roll it back.

        Only the writing thread calls it. It cannot find what only a commit finds, such as a full
        disk.
        """

    def last_sequence(self, writer_id: str) -> int:
        """The sequence of the writer's watermark, after which it continues; 0 without a watermark.

        Only the writing thread calls it. If the writer lost its connection during a COMMIT, this
        method waits until that transaction has ended.
        """

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one reading SQL statement, written in `dialect`, and return all its rows."""

    def delete_before(
        self, time_unix_nano: int, *, costs_before_unix_nano: int | None = None
    ) -> int:
        """Delete older points, exemplars and cost entries; returns how many rows were deleted.

        Dead letters that were written earlier are deleted and counted. Watermarks that nobody has
        advanced for a year before this time are deleted and not counted.

        Cost entries of the source `focus` stay: bills are imported on purpose, whatever their age.
        When entries of a stream are deleted, the newest of their points becomes its closing point,
        so no amount that stays changes, whatever comes later.

        Args:
            time_unix_nano: rows of this time and later stay.
            costs_before_unix_nano: the same for cost entries; None for `time_unix_nano`.
        """

    def count_before(
        self, time_unix_nano: int, *, costs_before_unix_nano: int | None = None
    ) -> Mapping[str, int]:
        """How many rows of each table `delete_before` would delete now; changes nothing.

        Every fact table and `dead_letters` is a key, in the order of `sizes`. Where `sizes`
        estimates rows, this may estimate them too.
        """

    def sizes(self) -> StoreSizes:
        """How much is stored, without reading whole tables where that would take minutes.

        Like `fetch`, from any thread, and also on a store that is open for reading only.
        """

    def close(self) -> None:
        """Close all connections. Batches for which `write` returned remain stored."""
