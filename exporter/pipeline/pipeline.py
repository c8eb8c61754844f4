"""All of the way from request bytes to stored rows, behind one face."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

from exporter.backends.base import Backend
from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.gen_ai import TokenPrice, TokenPrices
from exporter.costs.rules import CostRule
from exporter.intern import CLUSTER_ID_ATTRIBUTES, NODE_ID_ATTRIBUTES, SeriesCache
from exporter.pipeline.batcher import Batcher
from exporter.pipeline.clock import SteadyClock
from exporter.pipeline.durability import Durability, MemoryDurability, SpoolDurability
from exporter.pipeline.intake import Intake
from exporter.pipeline.maintenance import Maintenance
from exporter.pipeline.memory import IDLE_BYTES, MemoryLimit
from exporter.pipeline.queue import Queue
from exporter.pipeline.replay import Replay
from exporter.pipeline.request_decoder import RequestDecoder
from exporter.pipeline.startup import Startup
from exporter.pipeline.writer import Writer
from exporter.spool import Spool
from exporter.stats import Counters, Snapshot
from exporter.wire import AgeLimits, Rejections

__all__ = ["Pipeline"]

_log = logging.getLogger(__name__)

_DAY_SECONDS: Final = 86_400.0
_NANOSECONDS_PER_SECOND: Final = 1_000_000_000
_SERIES_ENTRIES_WITHOUT_LIMIT: Final = 1_000_000
# An entry takes a third of this, or a half where attributes are long, and a series of a steady
# sender is two of them: the 2 GiB that are the default hold a million (benchmarks/cardinality.py).
_MEMORY_BYTES_PER_ENTRY: Final = 960
# More at once is not faster, and a point takes 200 bytes and more while it is written.
_LARGEST_BATCH_ENTRIES: Final = 250_000
_MEMORY_BYTES_PER_BATCH_ENTRY: Final = 4_096


def _most_series_entries(memory_limit_bytes: int | None) -> int:
    if memory_limit_bytes is None:
        return _SERIES_ENTRIES_WITHOUT_LIMIT
    return max(memory_limit_bytes - IDLE_BYTES, 0) // _MEMORY_BYTES_PER_ENTRY


def _largest_batch_entries(memory_limit_bytes: int | None) -> int:
    if memory_limit_bytes is None:
        return _LARGEST_BATCH_ENTRIES
    return min(memory_limit_bytes // _MEMORY_BYTES_PER_BATCH_ENTRY, _LARGEST_BATCH_ENTRIES)


class Pipeline:
    """Takes requests, keeps them in order, and stores each once, in batches.

    With a spool, what `submit` returned for is on disk and is stored whatever happens to this
    process. Without one it is lost with the process.

    Args:
        backend: where the rows go; started and closed by the pipeline.
        spool: where requests wait; started and closed by the pipeline.
        batch_size: data points that make a batch due at once.
        batch_interval_seconds: longest that an accepted point waits for its batch.
        max_queued_entries: accepted data points that may wait in memory. Beyond it the rest waits
            in the spool; without one `submit` refuses.
        max_series: series that are taken; the points of further ones are rejected by name. None
            for any number.
        spool_max_age_seconds: while the oldest request that waits is older, `submit` refuses.
        retry_window_seconds: without a spool, for how long a request is known again by its bytes.
        memory_limit_bytes: while the process takes more, `submit` refuses; None for no limit.
        retention_days: older points are deleted at start and then hourly; None keeps all.
        max_past_days: points older than this on arrival are rejected; None takes any.
        max_future_days: likewise of points that are ahead of this machine's clock.
        cluster_id_attributes: see `SeriesCache`.
        node_id_attributes: see `SeriesCache`.
        cost_rules: which metrics carry cost, before the shipped rules.
        use_default_cost_rules: whether the shipped rules count.
        token_prices: of language models, before those of genai-prices where it is installed.
    """

    def __init__(
        self,
        backend: Backend,
        spool: Spool | None = None,
        *,
        batch_size: int = 100,
        batch_interval_seconds: float = 60.0,
        max_queued_entries: int = 1_000_000,
        max_series: int | None = None,
        spool_max_age_seconds: float = 7 * _DAY_SECONDS,
        retry_window_seconds: float = 600.0,
        memory_limit_bytes: int | None = None,
        retention_days: float | None = None,
        max_past_days: float | None = None,
        max_future_days: float | None = None,
        cluster_id_attributes: Sequence[str] = CLUSTER_ID_ATTRIBUTES,
        node_id_attributes: Sequence[str] = NODE_ID_ATTRIBUTES,
        cost_rules: Sequence[CostRule] = (),
        use_default_cost_rules: bool = True,
        token_prices: Sequence[TokenPrice] = (),
    ) -> None:
        self._backend = backend
        self._spool = spool
        self._counters = Counters()
        self._clock = SteadyClock()
        age_limits = AgeLimits(max_past_days, max_future_days)
        self._series = SeriesCache(
            max_entries=_most_series_entries(memory_limit_bytes),
            max_series=max_series,
            cluster_id_attributes=cluster_id_attributes,
            node_id_attributes=node_id_attributes,
        )
        decoder = RequestDecoder(
            self._series,
            CostDeriver(
                cost_rules,
                use_defaults=use_default_cost_rules,
                prices=TokenPrices(token_prices),
                is_cached=self._series.knows,
            ),
            cluster_id_attributes=cluster_id_attributes,
            node_id_attributes=node_id_attributes,
        )
        self._queue = Queue(
            Batcher(
                batch_size=batch_size,
                batch_interval_seconds=batch_interval_seconds,
                max_batch_entries=max(batch_size, _largest_batch_entries(memory_limit_bytes)),
            ),
            max_entries=max_queued_entries,
            spooled=spool is not None,
        )
        durability: Durability = (
            MemoryDurability(
                self._queue,
                backend.location,
                self._clock,
                retry_window_seconds=retry_window_seconds,
            )
            if spool is None
            else SpoolDurability(spool, self._clock, max_age_seconds=spool_max_age_seconds)
        )
        backlog = (
            None
            if spool is None
            else Replay(spool, self._queue, decoder, self._counters, age_limits)
        )
        self._intake = Intake(
            self._queue,
            decoder,
            durability,
            self._counters,
            age_limits=age_limits,
            memory=MemoryLimit(memory_limit_bytes),
            clock=self._clock,
        )
        self._opening = Startup(backend, spool, backlog)
        self._housekeeping = Maintenance(
            backend,
            self._counters,
            tidy=durability.tidy,
            retention_days=retention_days,
        )
        self._writer = Writer(
            backend,
            self._queue,
            self._series,
            self._counters,
            refill=backlog.refill if backlog else None,
            release=durability.release,
            chores=self._housekeeping.run,
        )
        self._is_started = False

    def start(self) -> None:
        """Open the backend and the spool, and begin to write.

        With a spool it need not be possible to reach the database now: requests are taken into the
        spool, and the writer goes on trying to open it.

        Raises:
            ExporterError: the backend refuses for good, or cannot be reached and there is no spool,
                or the spool cannot be opened; nothing was started.
        """
        if self._is_started:
            return
        try:
            is_complete = self._opening.open()
        except BaseException:
            self._close()
            raise
        self._writer.start(None if is_complete else self._complete)
        self._intake.open()
        self._is_started = True

    def receiving(self) -> AbstractContextManager[None]:
        """To be entered while a message is received and submitted, so that its memory is counted.

        Raises:
            QueueFullError: there is no room for one; let it be sent again later.
            ShuttingDownError: the pipeline is not running, or stops.
        """
        return self._intake.receiving()

    def submit(self, data: bytes) -> Rejections:
        """Accept one serialized ExportMetricsServiceRequest; on any thread.

        The same bytes once more, within the retry window, are taken for the client's second
        attempt: they are answered and not stored again.

        Returns:
            What was rejected of it; the rest is, or will be, stored.

        Raises:
            DecodeError: it is not such a request; nothing of it is taken.
            QueueFullError: too much waits for the backend; send it again later.
            ShuttingDownError: the pipeline is not running, or stops.
            RetryableError: it could not be made durable; send it again later.
        """
        return self._intake.submit(data)

    def submit_logs(self, data: bytes) -> Rejections:
        """Accept one serialized ExportLogsServiceRequest; on any thread, like `submit`.

        Of its records only cost events are taken, as cost entries.

        Returns:
            What was rejected of it; the rest is, or will be, stored.

        Raises:
            DecodeError, QueueFullError, ShuttingDownError, RetryableError: as `submit`.
        """
        return self._intake.submit(data, "logs")

    @property
    def is_accepting(self) -> bool:
        """Whether a request would be taken now."""
        return self._writer.is_running and self._intake.is_accepting

    def require_backend(self) -> None:
        """Check that the backend is open, before it is read from.

        Raises:
            ExporterError: it could not be reached since the start; what the last attempt met.
        """
        self._opening.require_backend()

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Write what was accepted until now; whether that was done in time."""
        return self._writer.flush(timeout_seconds)

    def shutdown(self, timeout_seconds: float = 25.0) -> bool:
        """Take nothing new, write what is in memory, close the backend and the spool.

        Returns:
            Whether everything accepted was stored. What was not is counted as queued, and is in
            the spool if there is one.
        """
        self._intake.close()
        if not self._writer.stop(timeout_seconds):
            _log.error(
                "shutdown: a write to %s did not finish within %.1f s",
                self._backend.location,
                timeout_seconds,
            )
            return False
        self._close()
        return self._queue.is_settled

    def stats(self) -> Snapshot:
        """The counters at this moment."""
        spool = self._spool
        if spool is None:
            return self._counters.snapshot()
        oldest = spool.oldest_received_unix_nano
        age_nano = 0 if oldest is None else max(self._clock.unix_nano() - oldest, 0)
        return self._counters.snapshot(
            spool_requests=spool.waiting_requests,
            spool_bytes=spool.waiting_bytes,
            spool_age_seconds=age_nano / _NANOSECONDS_PER_SECOND,
        )

    def _complete(self) -> None:
        self._housekeeping.tidy()
        self._opening.complete()

    def _close(self) -> None:
        try:
            self._backend.close()
        finally:
            if self._spool is not None:
                self._spool.close()
