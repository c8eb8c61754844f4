"""What the writer does between batches: old rows go, and the spool gives back what it may."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from exporter.backends.base import Backend
from exporter.errors import ExporterError
from exporter.stats import Counters

__all__ = ["Maintenance"]

_log = logging.getLogger(__name__)

_CLEANUP_EVERY_SECONDS: Final = 3600.0
_CLEANUP_AGAIN_SECONDS: Final = 60.0
_TIDY_EVERY_SECONDS: Final = 2.0
_NANOSECONDS_PER_DAY: Final = 86_400 * 1_000_000_000


class Maintenance:
    """Runs each chore when its time has come.

    Args:
        backend: where old rows are deleted.
        counters: of the pipeline.
        tidy: keeps the spool small.
        retention_days: older rows are deleted; None keeps all.
    """

    def __init__(
        self,
        backend: Backend,
        counters: Counters,
        *,
        tidy: Callable[[], None],
        retention_days: float | None,
    ) -> None:
        self._backend = backend
        self._counters = counters
        self._tidy = tidy
        self._retention_days = retention_days
        self._clean_at = 0.0

    def run(self) -> float:
        """Do what is due; when to come again, on the monotonic clock."""
        now = time.monotonic()
        self.tidy()
        if now >= self._clean_at:
            self._clean_at = now + self._clean_up()
        return now + _TIDY_EVERY_SECONDS

    def tidy(self) -> None:
        """Do only what needs no backend."""
        try:
            self._tidy()
        except ExporterError as exc:
            _log.warning("the spool could not be tidied, trying again: %s", exc)

    def _clean_up(self) -> float:
        # In how many seconds to come again.
        if self._retention_days is None:
            return _CLEANUP_EVERY_SECONDS
        before_unix_nano = time.time_ns() - int(self._retention_days * _NANOSECONDS_PER_DAY)
        try:
            deleted = self._backend.delete_before(before_unix_nano)
        except ExporterError as exc:
            _log.warning("cleanup failed, trying again in a minute: %s", exc)
            return _CLEANUP_AGAIN_SECONDS
        self._counters.add(rows_expired=deleted)
        if deleted:
            _log.info("deleted %d rows older than %g days", deleted, self._retention_days)
        return _CLEANUP_EVERY_SECONDS
