"""Writes one batch with retries. Each attempt reuses what the earlier ones found.

Refused rows are searched for once. An attempt that fails after that, even during COMMIT, is
repeated with the same remaining rows and the same dead letters. The earlier attempt may have been
stored. The backend then reports only that it has the batch, so this class remembers which rows were
in it.
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

_log = logging.getLogger(__name__)


class BatchWrite:
    """The attempts to store one batch.

    Args:
        batch: what to store.
        backend: open; used by this thread only.
        counters: of the pipeline.
        forget_series: told of series whose definition the backend does not have.
    """

    def __init__(
        self,
        batch: Batch,
        backend: Backend,
        counters: Counters,
        forget_series: Callable[[Collection[int]], None],
    ) -> None:
        self._backend = backend
        self._counters = counters
        self._forget_series = forget_series
        self._entries = batch.entries
        # Without the rows that are known to be refused: those are among its dead letters.
        self._batch = batch
        self._refused: list[DeadLetter] = []

    def attempt(self) -> None:
        """Store the batch, with refused rows as dead letters, and count the outcome.

        Raises:
            ExporterError: it failed, or its outcome is unknown; make another attempt.
        """
        try:
            result = self._write_accepted_rows()
        except Exception:
            self._counters.add(write_retries=1)
            raise
        self._count(result)
        if self._refused:
            self._report_refused_rows()

    def _write_accepted_rows(self) -> WriteResult:
        try:
            return self._write()
        except RowRefusedError as exc:
            _log.warning("looking for the refused rows among %d rows: %s", self._batch.rows, exc)
            good, dead = isolate_refused_rows(self._batch, self._backend.dry_run)
            self._batch = replace(good, dead_letters=(*good.dead_letters, *dead))
            self._refused += dead
            return self._write()

    def _write(self) -> WriteResult:
        began = time.perf_counter()
        try:
            return self._backend.write(self._batch)
        finally:
            self._counters.add(write_seconds=time.perf_counter() - began)

    def _count(self, result: WriteResult) -> None:
        entries = self._batch.entries
        # In one call, so that every snapshot balances.
        self._counters.add(
            batches_written=1,
            batches_stored_before=int(result.already_stored),
            points_stored=entries - result.refused,
            points_refused=result.refused,
            points_dead=self._entries - entries,
            points_queued=-self._entries,
            rows_evicted=result.evicted,
            texts_altered=result.altered_texts,
            costs_conflicting=result.cost_counts.conflicting,
            costs_at_start=result.cost_counts.at_start,
        )
        self._counters.set_max("batch_points_largest", entries)
        if result.forgotten_series:
            self._forget_series(result.forgotten_series)

    def _report_refused_rows(self) -> None:
        _log.error(
            "%d data points were refused by %s for their content and are in its table "
            "dead_letters; the first reason: %s",
            self._entries - self._batch.entries,
            self._backend.location,
            self._refused[0].reason,
        )
        # The next points of a refused series must bring its definition, to be refused with it.
        self._forget_series([dead.series_id for dead in self._refused if dead.kind == "series"])
