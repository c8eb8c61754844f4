"""Stores the spool files that embedded pipelines left behind.

A process that was killed leaves requests in its spool that it has acknowledged. The next embedded
pipeline stores them, and so does the receiver, through this module. Each orphaned spool is stored
by a pipeline of its own under the spool's own receiver id and watermark, so every request is stored
once, whatever is killed in between. The lock of a spool excludes a second process.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from exporter.assembly import backend_for, pipeline_for, spool_at
from exporter.config import ExporterSettings
from exporter.embedded.spool_slots import existing_slots, slot_prefix
from exporter.errors import ExporterError
from exporter.pipeline import Pipeline
from exporter.spool import Spool, SpoolLockedError

_log = logging.getLogger(__name__)

_SCAN_EVERY_SECONDS: Final = 60.0
_FLUSH_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1
_SHUTDOWN_SECONDS: Final = 1.0
# The receiver itself keeps three quarters. Series cache and batches are sized by this limit.
_MEMORY_DIVISOR: Final = 4

# (mtime in nanoseconds, size, inode) of the spool file and of its -wal, None where one is missing.
_FileState = tuple[tuple[int, int, int] | None, ...]


class OrphanReplayer:
    """Scans the spool files beside the receiver's spool, one after the other, in its own thread.

    The receiver's backend belongs to the receiver's writer thread. This class therefore opens a
    second backend with the same settings for as long as there is something to store.

    Args:
        settings: those of the receiver. The backend memory has no spool files to scan.
        scan_every_seconds: pause between two scans. An empty file that did not change costs one
            stat, a file in use one attempt at its lock.
    """

    def __init__(
        self, settings: ExporterSettings, *, scan_every_seconds: float = _SCAN_EVERY_SECONDS
    ) -> None:
        self._settings = replace(
            settings, memory_limit_mib=max(settings.memory_limit_mib // _MEMORY_DIVISOR, 1)
        )
        self._scan_every_seconds = scan_every_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # The next two are used by the thread alone.
        self._known_empty: dict[Path, _FileState] = {}
        self._last_error: dict[Path, str] = {}

    def start(self) -> None:
        """Start to scan; safe twice."""
        if self._thread is None and self._settings.backend != "memory":
            self._thread = threading.Thread(
                target=self._run, name="exporter-orphan-replayer", daemon=True
            )
            self._thread.start()

    def request_stop(self) -> None:
        """Start no further spool and interrupt the current one; does not wait."""
        self._stopping.set()

    def shutdown(self, timeout_seconds: float) -> bool:
        """Stop and wait for the thread; safe twice, and before the start.

        Requests that are not stored by then stay in their spool for the next scan.

        Returns:
            Whether the thread ended in time.
        """
        self.request_stop()
        if self._thread is None:
            return True
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            _log.warning(
                "an orphaned spool was still being stored after %.1f s; requests that are not "
                "stored stay in it",
                timeout_seconds,
            )
        return not self._thread.is_alive()

    def _run(self) -> None:
        prefix = slot_prefix(self._settings, backend_for(self._settings))
        while not self._stopping.is_set():
            for path in existing_slots(prefix):
                if self._stopping.is_set():
                    return
                self._scan(path)
            self._stopping.wait(self._scan_every_seconds)

    def _scan(self, path: Path) -> None:
        # Read before the file is opened: a request that another process adds meanwhile then makes
        # the file differ from the recorded state.
        state = _file_state(path)
        if state == self._known_empty.get(path):
            return
        try:
            was_empty = self._replay(path)
        except SpoolLockedError:
            return  # a living process uses it
        except Exception as exc:  # noqa: BLE001 - the thread must outlive a spool it cannot store
            self._log_once(path, exc)
            return
        self._last_error.pop(path, None)
        if was_empty:
            self._known_empty[path] = state

    def _log_once(self, path: Path, exc: Exception) -> None:
        # The same error would otherwise be logged at every scan.
        if self._last_error.get(path) == str(exc):
            return
        self._last_error[path] = str(exc)
        _log.warning(
            "the orphaned spool %s could not be stored and is tried again: %s",
            path,
            exc,
            exc_info=None if isinstance(exc, ExporterError) else exc,
        )

    def _replay(self, path: Path) -> bool:
        """Store the pending requests of one spool. Returns True if there were none."""
        spool = spool_at(path, self._settings)
        spool.start()
        if not spool.state.pending_requests:
            spool.close()
            return True
        try:
            backend = backend_for(self._settings)
            pipeline = pipeline_for(self._settings, backend, spool, deletes_expired=False)
            pipeline.start()
        except BaseException:
            spool.close()
            raise
        self._store(pipeline, spool)
        return False

    def _store(self, pipeline: Pipeline, spool: Spool) -> None:
        # From here on only the pipeline closes the spool. Its lock must be held while a write is in
        # flight: the next process to take it would otherwise write the same requests again.
        try:
            self._wait_until_stored(pipeline, spool)
            # Deletes the stored requests; the next scan would otherwise replay them and find every
            # one in the ledger.
            spool.compact(time.time_ns())
        finally:
            pipeline.shutdown(_SHUTDOWN_SECONDS)
        left = spool.state.pending_requests
        _log.info(
            "stored the orphaned spool %s: %s%s",
            spool.path,
            pipeline.stats(),
            f"; {left} requests stay in it for the next scan" if left else "",
        )

    def _wait_until_stored(self, pipeline: Pipeline, spool: Spool) -> None:
        # Wait for the spool and not for the pipeline: the spool releases a request only after its
        # watermark is committed. While the database is down the pipeline retries by itself.
        while spool.state.pending_requests and not self._stopping.is_set():
            if pipeline.flush(_FLUSH_SECONDS) and not spool.state.pending_requests:
                return
            self._stopping.wait(_POLL_SECONDS)


def _file_state(path: Path) -> _FileState:
    return tuple(_stat(path.with_name(path.name + suffix)) for suffix in ("", "-wal"))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
