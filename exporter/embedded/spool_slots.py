"""The spools of exporters in process: files `<spool>.1`, `<spool>.2` and so on, one a process."""

from __future__ import annotations

import glob
import itertools
from pathlib import Path

import xxhash

from exporter.assembly import spool_at, spool_path
from exporter.backends.base import Backend
from exporter.config import ExporterSettings
from exporter.spool import Spool, SpoolLockedError

__all__ = ["acquire_slot", "existing_slots", "slot_prefix"]


def slot_prefix(settings: ExporterSettings, backend: Backend) -> Path:
    """What a number is appended to."""
    receivers = spool_path(settings, backend)
    if settings.backend == "sqlite" and settings.spool_path is None:
        return receivers  # beside its database
    # What was meant for another database must not be taken up for this one.
    database = xxhash.xxh3_64_hexdigest(backend.location.encode())[:8]
    return receivers.with_name(f"{receivers.name}.{database}")


def existing_slots(place: Path) -> list[Path]:
    """Those that are there, in the order of their numbers; there may be gaps."""
    found = place.parent.glob(f"{glob.escape(place.name)}.*")
    numbered = [path for path in found if path.suffix[1:].isdecimal() and path.stem == place.name]
    return sorted(numbered, key=lambda path: int(path.suffix[1:]))


def acquire_slot(settings: ExporterSettings, place: Path) -> Spool:
    """A started spool that no other process has: one with requests in it, else the first.

    Raises:
        ExporterError: none can be opened.
    """
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
