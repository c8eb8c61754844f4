"""The contract that every backend keeps; `tests/contract` runs it over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from exporter.backends.dialect import Dialect
from exporter.model import Batch, StoreSizes, WriteResult

__all__ = ["Backend"]


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
        """Store the whole batch in one transaction, or nothing of it.

        Durable when it returns, as far as the backend is durable at all. A series that is there
        already is kept, only its description and schema URLs take the newer text. A point of the
        same series and time (in the backend's resolution) as a stored one replaces it in memory
        and SQLite, and is stored beside it in PostgreSQL and TimescaleDB, where the unique key
        that would find it costs most of the speed; `exporter.query` counts it once.
        """

    def fetch(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Answer one reading SQL statement, written in `dialect`, with all its rows."""

    def delete_before(self, time_unix_nano: int) -> int:
        """Delete the points and exemplars older than this; returns how many rows went."""

    def count_before(self, time_unix_nano: int) -> Mapping[str, int]:
        """How many rows of each fact table `delete_before` would delete now; changes nothing.

        Every fact table is a key, in the order of `sizes`. What counting would take long is
        estimated where `sizes` estimates it.
        """

    def sizes(self) -> StoreSizes:
        """How much is stored, without reading tables whole where that would take minutes.

        Like `fetch`, from any thread and also on a store that is open for reading only.
        """

    def close(self) -> None:
        """Let go of the store; what `write` returned for is safe."""
