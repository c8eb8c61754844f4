"""What runs inside a program: opened with a spool that no other process has, and stopped."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path

import xxhash

from exporter.assembly import backend_for, pipeline_for, spool_at, spool_path, wants_spool
from exporter.backends.base import Backend
from exporter.config import ExporterSettings
from exporter.pipeline import Pipeline
from exporter.spool import Spool, SpoolLockedError

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
        ExporterError: one of them cannot be opened.
    """
    backend = backend_for(settings, serving=True)
    spool = _take_spool(settings, _place(settings, backend)) if wants_spool(settings) else None
    pipeline = pipeline_for(settings, backend, spool, memory_limited=False)
    try:
        pipeline.start()
    except BaseException:
        if spool is not None:
            spool.close()
        raise
    return Running(backend, spool, pipeline)


def _place(settings: ExporterSettings, backend: Backend) -> Path:
    """What a number is appended to."""
    receivers = spool_path(settings, backend)
    if settings.backend == "sqlite" and settings.spool_path is None:
        return receivers  # beside its database
    # What was meant for another database must not be taken up for this one.
    database = xxhash.xxh3_64_hexdigest(backend.location.encode())[:8]
    return receivers.with_name(f"{receivers.name}.{database}")


def _take_spool(settings: ExporterSettings, place: Path) -> Spool:
    """A started spool that no other process has: one with requests in it, else the first."""
    free: Spool | None = None
    try:
        for number in itertools.count(1):
            path = place.with_name(f"{place.name}.{number}")
            if free is not None and not path.exists():
                return free
            spool = spool_at(path, settings)
            try:
                spool.start()
            except SpoolLockedError:
                continue
            if spool.waiting_requests:
                if free is not None:
                    free.close()
                return spool
            if free is None:
                free = spool
            else:
                spool.close()
    except BaseException:
        if free is not None:
            free.close()
        raise
    raise AssertionError("there is always a next number")


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
            "%d data points wait in the spool %s and are stored by the next process that keeps "
            "data in %s",
            left,
            running.spool.path,
            running.backend.location,
        )
