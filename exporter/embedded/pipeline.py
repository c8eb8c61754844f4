"""`EmbeddedPipeline`: started when first used, closed before a fork and started anew after it."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.util
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.config import ExporterSettings
from exporter.embedded.opening import Running, open_pipeline, stop
from exporter.errors import ShuttingDownError
from exporter.wire import Rejections

__all__ = ["EmbeddedPipeline"]

_log = logging.getLogger(__name__)

_BEFORE_FORK_SECONDS: Final = 5.0


class EmbeddedPipeline:
    """Stores requests in the process that makes them; any thread may call any method.

    Before a fork what is open is closed, and each of the two processes opens its own when it next
    needs it: a connection of SQLite's that is carried over a fork leaves the child with locks that
    nobody will ever give back (sqlite.org/howtocorrupt.html, 2.6).

    Args:
        settings: where data is kept, and how. `memory_limit_mib` has no effect here.
    """

    def __init__(self, settings: ExporterSettings) -> None:
        self._settings = settings
        self._changed = threading.Condition()  # guards all below
        self._running: Running | None = None
        self._is_closed = False
        self._is_forking = False
        self._calls = 0
        _everywhere.add(self)

    def start(self) -> None:
        """Open the backend and the spool, unless they are; `submit` does it as well.

        With a spool, a database that is away is opened when it is there.

        Raises:
            ExporterError: one of them cannot be opened.
        """
        with self._using():
            pass

    def submit(self, data: bytes) -> Rejections:
        """Accept a serialized ExportMetricsServiceRequest; see `Pipeline.submit`.

        With a spool it is on disk when this returns.

        Raises:
            ExporterError: it was not taken.
        """
        with self._using() as running:
            return running.pipeline.submit(data)

    def submit_logs(self, data: bytes) -> Rejections:
        """Accept a serialized ExportLogsServiceRequest; see `Pipeline.submit_logs`.

        Raises:
            ExporterError: it was not taken.
        """
        with self._using() as running:
            return running.pipeline.submit_logs(data)

    def flush(self, timeout_seconds: float) -> bool:
        """Write what was accepted into the backend; whether that was done in time."""
        if self._running is None:
            return True
        with self._using() as running:
            return running.pipeline.flush(timeout_seconds)

    @contextmanager
    def reading(self, flush_timeout_seconds: float = 10.0) -> Iterator[Backend]:
        """The started backend, to be read from, with all in it that this process has accepted.

        Raises:
            ExporterError: the backend cannot be opened, or could not be reached yet.
        """
        with self._using() as running:
            if not running.pipeline.flush(flush_timeout_seconds):
                _log.warning(
                    "%s lacks some of what was accepted: it could not be written within %g s",
                    running.backend.location,
                    flush_timeout_seconds,
                )
            running.pipeline.require_backend()
            yield running.backend

    def delete_before(self, time_unix_nano: int) -> int:
        """Delete what is older than this; returns how many rows went.

        Raises:
            ExporterError: the backend cannot be opened, or does not let go of them.
        """
        with self._using() as running:
            if self._settings.backend == "memory":
                return running.backend.delete_before(time_unix_nano)
            # The pipeline's own backend is its writer's; a second one beside it is as good.
            beside = backend_for(self._settings)
            try:
                beside.start()
                return beside.delete_before(time_unix_nano)
            finally:
                beside.close()

    def shutdown(self, timeout_seconds: float) -> bool:
        """Take nothing new and write what was accepted; safe twice, and before the start.

        Returns:
            Whether all of it was stored. What was not waits in the spool, if there is one, for
            the next process; a log line says how much.
        """
        with self._changed:
            self._is_closed = True
            running, self._running = self._running, None
        return running is None or stop(running, timeout_seconds)

    @contextmanager
    def _using(self) -> Iterator[Running]:
        """What is running, started if it has to be; no fork comes in between."""
        with self._changed:
            while self._is_forking:
                self._changed.wait()
            if self._is_closed:
                raise ShuttingDownError("it was shut down and takes nothing more; make a new one")
            if self._running is None:
                self._running = open_pipeline(self._settings)
                self._finish_with_this_process()
            running = self._running
            self._calls += 1
        try:
            yield running
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def _finish_with_this_process(self) -> None:
        # A child of multiprocessing ends by os._exit, which runs nothing of atexit.
        if multiprocessing.parent_process() is None:
            return
        shut_down = weakref.WeakMethod(self.shutdown)

        def finish(timeout_seconds: float) -> None:
            if (method := shut_down()) is not None:
                method(timeout_seconds)

        multiprocessing.util.Finalize(
            None, finish, (self._settings.shutdown_timeout_seconds,), exitpriority=0
        )

    def before_fork(self) -> None:
        """Let calls under way end, and close what is open; further calls wait."""
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: not self._calls, _BEFORE_FORK_SECONDS)
            running = self._running
            if running is None:
                return
            if self._settings.backend == "memory":
                # It would be gone. It has no file, and so nothing that processes could share.
                running.pipeline.flush(_BEFORE_FORK_SECONDS)
                return
            self._running = None
            if not stop(running, _BEFORE_FORK_SECONDS):
                _left_open.append(running)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Begin with nothing; threads that had a part in what there was are not here."""
        self._changed = threading.Condition()
        self._is_forking = False
        self._calls = 0
        if self._running is not None:
            _left_open.append(self._running)
            self._running = None


_everywhere: Final[weakref.WeakSet[EmbeddedPipeline]] = weakref.WeakSet()
# Kept, because to let go of it is to close it, while a thread or another process uses it.
_left_open: Final[list[Running]] = []


def _for_each(act: Callable[[EmbeddedPipeline], None]) -> Callable[[], None]:
    def call() -> None:
        for one in list(_everywhere):
            act(one)

    return call


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_for_each(EmbeddedPipeline.before_fork),
        after_in_parent=_for_each(EmbeddedPipeline.after_fork_in_parent),
        after_in_child=_for_each(EmbeddedPipeline.after_fork_in_child),
    )
