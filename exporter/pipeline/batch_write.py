"""One batch on its way to the backend: what was found out about it in one attempt serves the next.

A row that the backend refuses is looked for once. An attempt that breaks after that, even during
COMMIT, is repeated with the very same rest and the very same dead letters: the backend may have
both by then, and says no more than that it has the batch, so what became of its rows is known here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from exporter.backends.base import Backend
from exporter.backends.refused_rows import isolate_refused_rows
from exporter.errors import RowRefusedError
from exporter.model import Batch, DeadLetter, WriteResult
from exporter.stats import Counters

__all__ = ["BatchWrite"]

_log = logging.getLogger(__name__)


class BatchWrite:
    """Hands one batch to the backend.

    Args:
        batch: what to store.
        backend: open; used by this thread only.
        counters: of the pipeline.
        forget: told of series whose next points must bring their definition again.
    """

    def __init__(
        self,
        batch: Batch,
        backend: Backend,
        counters: Counters,
        forget: Callable[[Collection[int]], None],
    ) -> None:
        self._backend = backend
        self._counters = counters
        self._forget = forget
        self._entries = batch.entries
        # Less what is known to be refused, which is among its dead letters and here.
        self._batch = batch
        self._refused: list[DeadLetter] = []

    def attempt(self) -> None:
        """Store the batch, the rows that are refused as dead letters; count what became of it.

        Raises:
            ExporterError: it may not be stored; make another attempt.
        """
        try:
            result = self._write()
        except RowRefusedError as exc:
            self._take_out_what_is_refused(exc)
            result = self._write()
        self._count(result)
        if self._refused:
            self._bury()

    def _take_out_what_is_refused(self, exc: RowRefusedError) -> None:
        _log.warning("looking for what is refused among %d rows: %s", self._batch.rows, exc)
        good, dead = isolate_refused_rows(self._batch, self._backend.dry_run)
        self._batch = replace(good, dead=(*good.dead, *dead))
        self._refused += dead

    def _write(self) -> WriteResult:
        began = time.perf_counter()
        try:
            return self._backend.write(self._batch)
        finally:
            self._counters.add(write_seconds=time.perf_counter() - began)

    def _count(self, result: WriteResult) -> None:
        entries = self._batch.entries
        # All at once, so that they balance whenever somebody looks.
        self._counters.add(
            batches_written=1,
            batches_stored_before=int(result.already_stored),
            points_stored=entries - result.refused,
            points_refused=result.refused,
            points_dead=self._entries - entries,
            points_queued=-self._entries,
            rows_evicted=result.evicted,
            texts_altered=result.altered_texts,
        )
        self._counters.at_least("batch_points_largest", entries)
        if result.forgotten_series:
            self._forget(result.forgotten_series)

    def _bury(self) -> None:
        _log.error(
            "%d data points were refused by %s for their content and are in its table "
            "dead_letters; the first reason: %s",
            self._entries - self._batch.entries,
            self._backend.location,
            self._refused[0].reason,
        )
        # Their next points must bring the definition again, to be refused with it.
        self._forget([one.series_id for one in self._refused if one.kind == "series"])
