"""A receiver's care for exporters in process: what they left in their spools is stored.

An exporter that was killed leaves requests that it has acknowledged, and the next one in process
takes them up; where none ever starts, this does. Each spool is stored under its own name and
watermark in the ledger, by a pipeline of its own, so that each request is stored once whatever is
killed in between. The lock of a spool keeps two processes from it, and this from one that is in
use.
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

__all__ = ["OrphanReplayer"]

_log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS: Final = 60.0
_FLUSH_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.1
_END_SECONDS: Final = 1.0
# The rest is the receiver's own. Known series and batches follow it.
_SHARE_OF_MEMORY: Final = 4

# Time of change, size and inode, of the file and of its -wal.
_Stamp = tuple[tuple[int, int, int] | None, ...]


class OrphanReplayer:
    """Looks at the spools beside the receiver's, one after the other, in a thread of its own.

    It never uses the receiver's backend, to which only the receiver's writer may write, but opens
    another one of the same settings for as long as there is something to store.

    Args:
        settings: those of the receiver; the backend memory has nothing to look for.
        look_every_seconds: how often. What did not change since it was found empty costs a stat,
            what is in use the attempt at a lock.
    """

    def __init__(
        self, settings: ExporterSettings, *, look_every_seconds: float = _LOOK_EVERY_SECONDS
    ) -> None:
        self._settings = replace(
            settings, memory_limit_mib=max(settings.memory_limit_mib // _SHARE_OF_MEMORY, 1)
        )
        self._look_every_seconds = look_every_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # Below here only its thread.
        self._empty: dict[Path, _Stamp] = {}
        self._complaints: dict[Path, str] = {}

    def start(self) -> None:
        """Begin to look; safe twice."""
        if self._thread is None and self._settings.backend != "memory":
            self._thread = threading.Thread(target=self._run, name="exporter-adopting", daemon=True)
            self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin nothing new, and let go of what is under way; does not wait."""
        self._stopping.set()

    def shutdown(self, timeout_seconds: float) -> bool:
        """Stop, and wait for the end; whether it came in time. Safe twice, and before the start.

        What is not stored by then stays in its spool, for the next time.
        """
        self.ask_to_stop()
        if self._thread is None:
            return True
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            _log.warning(
                "a spool of an exporter in process was being stored and did not let go within "
                "%.1f s; what is not stored stays in it",
                timeout_seconds,
            )
        return not self._thread.is_alive()

    def _run(self) -> None:
        place = slot_prefix(self._settings, backend_for(self._settings))
        while not self._stopping.is_set():
            for path in existing_slots(place):
                if self._stopping.is_set():
                    return
                self._look_into(path)
            self._stopping.wait(self._look_every_seconds)

    def _look_into(self, path: Path) -> None:
        # Taken before the file is opened: what another process adds meanwhile makes it differ.
        stamp = _stamp(path)
        if stamp == self._empty.get(path):
            return
        try:
            is_empty = self._adopt(path)
        except SpoolLockedError:
            return  # a living process has it
        except Exception as exc:  # noqa: BLE001 - the receiver goes on, and so does this
            self._complain(path, exc)
            return
        self._complaints.pop(path, None)
        if is_empty:
            self._empty[path] = stamp

    def _complain(self, path: Path, exc: Exception) -> None:
        # Once, and not every minute for as long as the reason lasts.
        if self._complaints.get(path) == str(exc):
            return
        self._complaints[path] = str(exc)
        _log.warning(
            "what an exporter in process left in %s could not be stored, trying again: %s",
            path,
            exc,
            exc_info=None if isinstance(exc, ExporterError) else exc,
        )

    def _adopt(self, path: Path) -> bool:
        """Store what waits in one spool; whether there was nothing."""
        spool = spool_at(path, self._settings)
        spool.start()
        if not spool.waiting_requests:
            spool.close()
            return True
        try:
            backend = backend_for(self._settings)
            pipeline = pipeline_for(self._settings, backend, spool, deletes_old=False)
            pipeline.start()
        except BaseException:
            spool.close()
            raise
        self._store(pipeline, spool)
        return False

    def _store(self, pipeline: Pipeline, spool: Spool) -> None:
        # From here on the pipeline closes the spool: its lock must not be given back while a
        # write is under way, which the next to take it could write once more.
        try:
            self._wait_until_stored(pipeline, spool)
            # Else they would be read at the next look again, and found in the ledger.
            spool.tidy(time.time_ns())
        finally:
            pipeline.shutdown(_END_SECONDS)
        left = spool.waiting_requests
        _log.info(
            "took over %s, which an exporter in process had left: %s%s",
            spool.path,
            pipeline.stats(),
            f"; {left} requests stay there for the next time" if left else "",
        )

    def _wait_until_stored(self, pipeline: Pipeline, spool: Spool) -> None:
        # The spool itself is asked: it releases a request once the ledger has its watermark. While
        # the database is away the pipeline tries again by itself.
        while spool.waiting_requests and not self._stopping.is_set():
            if pipeline.flush(_FLUSH_SECONDS) and not spool.waiting_requests:
                return
            self._stopping.wait(_PAUSE_SECONDS)


def _stamp(path: Path) -> _Stamp:
    return tuple(_stat(path.with_name(path.name + suffix)) for suffix in ("", "-wal"))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
