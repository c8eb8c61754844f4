"""What the writer does between batches: delete expired rows and compact the spool."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exporter.backends.base import Backend
from exporter.errors import ExporterError
from exporter.stats import Counters
from exporter.time_units import NANOSECONDS_PER_DAY

_log = logging.getLogger(__name__)

_DELETE_EVERY_SECONDS: Final = 3600.0
_DELETE_RETRY_SECONDS: Final = 60.0
_COMPACT_EVERY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days rows are kept.

    Attributes:
        days: of metrics, exemplars and dead letters.
        cost_days: of cost entries.
    """

    days: float
    cost_days: float


class Maintenance:
    """Runs each task when it is due.

    Args:
        backend: where expired rows are deleted.
        counters: of the pipeline.
        compact: keeps the spool small.
        retention: how long rows are kept; None keeps all.
    """

    def __init__(
        self,
        backend: Backend,
        counters: Counters,
        *,
        compact: Callable[[], None],
        retention: Retention | None,
    ) -> None:
        self._backend = backend
        self._counters = counters
        self._compact = compact
        self._retention = retention
        self._delete_at = 0.0

    def run(self) -> float:
        """Do what is due.

        Returns:
            When to call it again, in seconds of the monotonic clock.
        """
        now = time.monotonic()
        self.compact_spool()
        if now >= self._delete_at:
            self._delete_at = now + self._delete_expired()
        return now + _COMPACT_EVERY_SECONDS

    def compact_spool(self) -> None:
        """Do only what needs no backend."""
        try:
            self._compact()
        except ExporterError as exc:
            _log.warning("the spool could not be compacted, trying again: %s", exc)

    def _delete_expired(self) -> float:
        """Delete expired rows; returns the seconds until the next time."""
        retention = self._retention
        if retention is None:
            return _DELETE_EVERY_SECONDS
        now_unix_nano = time.time_ns()
        before_unix_nano = now_unix_nano - int(retention.days * NANOSECONDS_PER_DAY)
        costs_before_unix_nano = now_unix_nano - int(retention.cost_days * NANOSECONDS_PER_DAY)
        try:
            deleted = self._backend.delete_before(
                before_unix_nano, costs_before_unix_nano=costs_before_unix_nano
            )
        except ExporterError as exc:
            _log.warning("cleanup failed, trying again in a minute: %s", exc)
            return _DELETE_RETRY_SECONDS
        self._counters.add(rows_expired=deleted)
        if deleted:
            _log.info(
                "deleted %d rows older than %g days, or %g days for costs",
                deleted,
                retention.days,
                retention.cost_days,
            )
        return _DELETE_EVERY_SECONDS
