"""`EmbeddedPipeline`: it opens on first use, closes before a fork and reopens after it."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.util
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from exporter.assembly import backend_for, pipeline_for, wants_spool
from exporter.backends.base import Backend
from exporter.config import ExporterSettings
from exporter.embedded.spool_slots import acquire_slot, slot_prefix
from exporter.errors import ShuttingDownError
from exporter.pipeline import Pipeline
from exporter.spool import Spool
from exporter.wire import Rejections

_log = logging.getLogger(__name__)

_BEFORE_FORK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _OpenPipeline:
    """A backend, its spool and the pipeline between them, all started."""

    backend: Backend
    spool: Spool | None
    pipeline: Pipeline

    def stop(self, timeout_seconds: float) -> bool:
        """Stop.

        Returns whether all accepted requests were stored. Logs the number of the others.
        """
        if self.pipeline.shutdown(timeout_seconds):
            return True
        left = self.pipeline.stats().points_queued
        if self.spool is None:
            _log.error(
                "%d accepted data points could not be written to %s in time and are lost; find "
                "out what blocks the database, allow more time, or turn the spool on",
                left,
                self.backend.location,
            )
        else:
            _log.warning(
                "%d data points wait in the spool %s; the next process or receiver that stores "
                "into %s writes them",
                left,
                self.spool.path,
                self.backend.location,
            )
        return False


def _open(settings: ExporterSettings) -> _OpenPipeline:
    """Open backend and spool and start the pipeline between them.

    Raises:
        ExporterError: one of them cannot be opened. With a spool the database may be down.
    """
    backend = backend_for(settings, serving=True)
    spool = None
    if wants_spool(settings):
        spool = acquire_slot(settings, slot_prefix(settings, backend))
    pipeline = pipeline_for(settings, backend, spool, memory_limited=False)
    try:
        pipeline.start()
    except BaseException:
        if spool is not None:
            spool.close()
        raise
    return _OpenPipeline(backend, spool, pipeline)


class EmbeddedPipeline:
    """Stores requests in the process that makes them; any thread may call any method.

    Before a fork everything open is closed, and both processes open their own again on the next
    call: a SQLite connection that is carried over a fork leaves the child with locks that are never
    released (sqlite.org/howtocorrupt.html, 2.6).

    Args:
        settings: where data is kept, and how. `memory_limit_mib` has no effect here.
    """

    def __init__(self, settings: ExporterSettings) -> None:
        self._settings = settings
        self._changed = threading.Condition()  # guards all fields below
        self._running: _OpenPipeline | None = None
        self._is_closed = False
        self._is_forking = False
        self._calls = 0
        _instances.add(self)

    def start(self) -> None:
        """Open the backend and the spool unless they are open; `submit` does this as well.

        With a spool the database may be down; it is opened as soon as it can be reached.

        Raises:
            ExporterError: one of them cannot be opened.
        """
        with self._in_use():
            pass

    def submit(self, data: bytes) -> Rejections:
        """Accept a serialized ExportMetricsServiceRequest; see `Pipeline.submit`.

        With a spool the request is on disk when this returns.

        Raises:
            ExporterError: it was not accepted.
        """
        with self._in_use() as running:
            return running.pipeline.submit(data)

    def submit_logs(self, data: bytes) -> Rejections:
        """Accept a serialized ExportLogsServiceRequest; see `Pipeline.submit_logs`.

        Raises:
            ExporterError: it was not accepted.
        """
        with self._in_use() as running:
            return running.pipeline.submit_logs(data)

    def flush(self, timeout_seconds: float) -> bool:
        """Write everything accepted so far to the backend; whether it was written in time."""
        if self._running is None:
            return True
        with self._in_use() as running:
            return running.pipeline.flush(timeout_seconds)

    @contextmanager
    def reading(self, flush_timeout_seconds: float = 10.0) -> Iterator[Backend]:
        """Yield the started backend for reading, with everything that this process has accepted.

        Raises:
            ExporterError: the backend cannot be opened, or has not been reached yet.
        """
        with self._in_use() as running:
            if not running.pipeline.flush(flush_timeout_seconds):
                _log.warning(
                    "%s lacks some of what was accepted: it could not be written within %g s",
                    running.backend.location,
                    flush_timeout_seconds,
                )
            running.pipeline.require_backend()
            yield running.backend

    def delete_before(self, time_unix_nano: int) -> int:
        """Delete rows older than this time; returns how many.

        Raises:
            ExporterError: the backend cannot be opened, or cannot delete them now.
        """
        with self._in_use() as running:
            if self._settings.backend == "memory":
                return running.backend.delete_before(time_unix_nano)
            # The open backend belongs to the writer thread, so a second one deletes.
            second = backend_for(self._settings)
            try:
                second.start()
                return second.delete_before(time_unix_nano)
            finally:
                second.close()

    def shutdown(self, timeout_seconds: float) -> bool:
        """Accept nothing new and write what was accepted; safe twice, and before the start.

        Returns:
            Whether everything was stored. The rest waits in the spool, if there is one, for the
            next process; a log line says how much.
        """
        with self._changed:
            self._is_closed = True
            running, self._running = self._running, None
        return running is None or running.stop(timeout_seconds)

    @contextmanager
    def _in_use(self) -> Iterator[_OpenPipeline]:
        """The running parts, opened if necessary; a fork waits until the block ends."""
        with self._changed:
            while self._is_forking:
                self._changed.wait()
            if self._is_closed:
                raise ShuttingDownError("it was shut down and accepts nothing more; make a new one")
            if self._running is None:
                self._running = _open(self._settings)
                self._close_with_child_process()
            running = self._running
            self._calls += 1
        try:
            yield running
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def _close_with_child_process(self) -> None:
        # A child of multiprocessing ends by os._exit, which skips atexit.
        if multiprocessing.parent_process() is None:
            return
        weak_shutdown = weakref.WeakMethod(self.shutdown)

        def shut_down(timeout_seconds: float) -> None:
            if (method := weak_shutdown()) is not None:
                method(timeout_seconds)

        multiprocessing.util.Finalize(
            None, shut_down, (self._settings.shutdown_timeout_seconds,), exitpriority=0
        )

    def before_fork(self) -> None:
        """Wait for the calls in flight and close what is open; further calls block."""
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: not self._calls, _BEFORE_FORK_SECONDS)
            running = self._running
            if running is None:
                return
            if self._settings.backend == "memory":
                # Closing would delete its content, and it has no file that two processes could
                # share.
                running.pipeline.flush(_BEFORE_FORK_SECONDS)
                return
            self._running = None
            if not running.stop(_BEFORE_FORK_SECONDS):
                _abandoned.append(running)

    def after_fork_in_parent(self) -> None:
        """Let blocked calls continue."""
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Start with nothing open; the threads of the parent do not exist in the child."""
        self._changed = threading.Condition()
        self._is_forking = False
        self._calls = 0
        if self._running is not None:
            _abandoned.append(self._running)
            self._running = None


_instances: Final[weakref.WeakSet[EmbeddedPipeline]] = weakref.WeakSet()
# References that keep abandoned parts open: garbage collection would close connections that a
# thread, or the parent process, still uses.
_abandoned: Final[list[_OpenPipeline]] = []


def _for_each_instance(act: Callable[[EmbeddedPipeline], None]) -> Callable[[], None]:
    def call() -> None:
        for instance in list(_instances):
            act(instance)

    return call


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_for_each_instance(EmbeddedPipeline.before_fork),
        after_in_parent=_for_each_instance(EmbeddedPipeline.after_fork_in_parent),
        after_in_child=_for_each_instance(EmbeddedPipeline.after_fork_in_child),
    )
