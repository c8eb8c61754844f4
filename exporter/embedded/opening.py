"""What runs inside a program: opened with a spool that no other process has, and stopped."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from exporter.assembly import backend_for, pipeline_for, wants_spool
from exporter.backends.base import Backend
from exporter.config import ExporterSettings
from exporter.embedded.spool_slots import acquire_slot, slot_prefix
from exporter.pipeline import Pipeline
from exporter.spool import Spool

__all__ = ["Running", "open_pipeline", "stop"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """What was opened together."""

    backend: Backend
    spool: Spool | None
    pipeline: Pipeline


def open_pipeline(settings: ExporterSettings) -> Running:
    """Open a backend and a spool, and start what writes from one into the other.

    Raises:
        ExporterError: one of them cannot be opened; with a spool a database that is away is none.
    """
    backend = backend_for(settings, serving=True)
    spool = (
        acquire_slot(settings, slot_prefix(settings, backend)) if wants_spool(settings) else None
    )
    pipeline = pipeline_for(settings, backend, spool, memory_limited=False)
    try:
        pipeline.start()
    except BaseException:
        if spool is not None:
            spool.close()
        raise
    return Running(backend, spool, pipeline)


def stop(running: Running, timeout_seconds: float) -> bool:
    """Stop it; whether all that was accepted was stored. A log line tells what was not."""
    if running.pipeline.shutdown(timeout_seconds):
        return True
    _report_rest(running)
    return False


def _report_rest(running: Running) -> None:
    left = running.pipeline.stats().points_queued
    if running.spool is None:
        _log.error(
            "%d accepted data points could not be written to %s in time and are lost; find out "
            "what blocks it, give more time, or let the spool on",
            left,
            running.backend.location,
        )
    else:
        _log.warning(
            "%d data points wait in the spool %s and are stored by the next process, or the "
            "receiver, that keeps data in %s",
            left,
            running.spool.path,
            running.backend.location,
        )
