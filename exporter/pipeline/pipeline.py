"""The pipeline: everything between the bytes of a request and stored rows, behind one class."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

from exporter.backends.base import Backend
from exporter.pipeline.durability import Durability
from exporter.pipeline.intake import Intake
from exporter.pipeline.maintenance import Maintenance
from exporter.pipeline.queue import Queue
from exporter.pipeline.replay import Startup
from exporter.pipeline.writer import Writer
from exporter.spool import Spool
from exporter.stats import Counters, Snapshot
from exporter.wire import Rejections

_log = logging.getLogger(__name__)


class Pipeline:
    """Takes requests, keeps them in order, and stores each once, in batches.

    With a spool, a request for which `submit` has returned is on disk, and is stored whatever
    happens to this process. Without one it is lost with the process.

    `exporter.assembly.pipeline_for` composes one from settings.

    Args:
        backend: where the rows go; started and closed by the pipeline.
        spool: where requests wait; started and closed by the pipeline.
        queue: between `intake` and `writer`.
        durability: keeps requests until they are stored.
        intake: takes requests.
        startup: opens the backend and the spool.
        writer: writes to the backend.
        maintenance: what the writer does between batches.
        counters: of all parts; the receiver adds the requests that it refuses.
    """

    def __init__(
        self,
        backend: Backend,
        spool: Spool | None,
        *,
        queue: Queue,
        durability: Durability,
        intake: Intake,
        startup: Startup,
        writer: Writer,
        maintenance: Maintenance,
        counters: Counters,
    ) -> None:
        self._backend = backend
        self._spool = spool
        self._queue = queue
        self._durability = durability
        self._intake = intake
        self._startup = startup
        self._writer = writer
        self._maintenance = maintenance
        self.counters = counters
        self._is_started = False

    def start(self) -> None:
        """Open the backend and the spool, and begin to write; safe twice.

        With a spool the database may be away: requests are taken into the spool, and the writer
        keeps trying to open the backend.

        Raises:
            ExporterError: the backend refuses for good, or cannot be reached and there is no spool,
                or the spool cannot be opened; nothing was started.
        """
        if self._is_started:
            return
        try:
            is_backend_open = self._startup.open()
        except BaseException:
            self._close()
            raise
        self._writer.start(None if is_backend_open else self._open_backend)
        self._intake.open()
        self._is_started = True

    def admit(self) -> AbstractContextManager[None]:
        """Reserve memory for one message.

        Returns:
            Counts the memory of the message while it is entered; enter it around receiving and
            submitting the message.

        Raises:
            QueueFullError: there is no room for one; let it be sent again later.
            ShuttingDownError: the pipeline is not running, or stops.
        """
        return self._intake.admit()

    def submit(self, data: bytes) -> Rejections:
        """Accept one serialized ExportMetricsServiceRequest; on any thread.

        The same bytes again within the retry window are the client's second attempt: they get the
        same reply and are not stored again.

        Returns:
            What was rejected of it; the rest is, or will be, stored.

        Raises:
            DecodeError: it is not such a request; nothing of it is taken.
            QueueFullError: too much waits for the backend; send it again later.
            ShuttingDownError: the pipeline is not running, or stops.
            RetryableError: it could not be made durable; send it again later.
        """
        return self._intake.submit(data, "metrics")

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
            ExporterError: it could not be opened yet; the error of the last attempt.
        """
        self._startup.require_backend()

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Write what was accepted until now; returns whether that was done in time."""
        return self._writer.flush(timeout_seconds)

    def shutdown(self, timeout_seconds: float = 25.0) -> bool:
        """Take nothing new, write what is in memory, close the backend and the spool; safe twice.

        Returns:
            Whether everything accepted was stored. The rest is counted as queued, and is in the
            spool if there is one.
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
        return self._queue.is_all_acked

    def stats(self) -> Snapshot:
        """The counters at this moment."""
        return self.counters.snapshot(**self._durability.gauges())

    def _open_backend(self) -> None:
        # While the database is away, maintenance does not run: the spool is compacted here.
        self._maintenance.compact_spool()
        self._startup.complete()

    def _close(self) -> None:
        try:
            self._backend.close()
        finally:
            if self._spool is not None:
                self._spool.close()
