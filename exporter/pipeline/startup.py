"""How a run begins: backend and spool are opened, or the spool alone while the database is away.

Requests can be taken as soon as they can be kept. How far the database has come with what waits in
the spool is only needed to write, so where it cannot be asked, nothing is written until it can.
"""

from __future__ import annotations

import logging

from exporter.backends.base import Backend
from exporter.errors import ExporterError, RetryableError
from exporter.pipeline.replay import Replay
from exporter.spool import Spool

__all__ = ["Startup"]

_log = logging.getLogger(__name__)


class Startup:
    """Opens what a pipeline needs.

    Args:
        backend: not started.
        spool: not started, or started; None where nothing is kept on disk.
        backlog: reads that spool; None without one.
    """

    def __init__(self, backend: Backend, spool: Spool | None, backlog: Replay | None) -> None:
        self._backend = backend
        self._spool = spool
        self._backlog = backlog
        self._error: ExporterError | None = None

    def open(self) -> bool:
        """Open both; whether the database is there. Else requests can be taken all the same.

        Raises:
            ExporterError: the backend refuses, or it is away and there is no spool, or the spool
                cannot be opened. Either may be open.
        """
        if self._spool is None or self._backlog is None:
            self._backend.start()
            return True
        try:
            self._backend.start()
        except RetryableError as exc:
            self._error = exc
        self._spool.start()
        return self._asked(self._spool, self._backlog) or self._held(self._spool, self._backlog)

    def complete(self) -> None:
        """Open the backend after all, and let what waits in the spool be written; in the writer.

        Raises:
            ExporterError: not now; call it again later.
        """
        if self._spool is None or self._backlog is None:
            raise AssertionError("without a spool there is nothing to complete")
        try:
            self._backend.start()
            stored_sequence = self._backend.last_sequence(self._spool.receiver_id)
            self._backlog.go_on(stored_sequence)
        except ExporterError as exc:
            self._error = exc
            raise
        self._error = None

    def require_backend(self) -> None:
        """Check that the backend is open.

        Raises:
            ExporterError: it is not yet; what came of the last attempt.
        """
        error = self._error
        if error is not None:
            raise type(error)(str(error)) from error

    def _asked(self, spool: Spool, backlog: Replay) -> bool:
        if self._error is not None:
            return False
        try:
            stored_sequence = self._backend.last_sequence(spool.receiver_id)
        except RetryableError as exc:
            self._error = exc
            return False
        backlog.open(stored_sequence)
        return True

    def _held(self, spool: Spool, backlog: Replay) -> bool:
        backlog.hold()
        _log.warning(
            "the database at %s cannot be reached; data gathers in the spool %s and is stored when "
            "it can, which is tried again and again: %s",
            self._backend.location,
            spool.path,
            self._error,
        )
        return False
