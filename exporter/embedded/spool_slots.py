"""The spool files of embedded pipelines: `<spool>.1`, `<spool>.2` ..., one for each process."""

from __future__ import annotations

import glob
import itertools
from pathlib import Path

import xxhash

from exporter.assembly import spool_at, spool_path
from exporter.backends.base import Backend
from exporter.config import ExporterSettings
from exporter.spool import Spool, SpoolLockedError


def slot_prefix(settings: ExporterSettings, backend: Backend) -> Path:
    """The path of every slot without its number."""
    receiver_spool = spool_path(settings, backend)
    if settings.backend == "sqlite" and settings.spool_path is None:
        return receiver_spool  # the default spool lies beside its own database
    # A spool path is shared by every database that is configured with it. The hash of the database
    # keeps a process from storing requests that were meant for another one.
    database = xxhash.xxh3_64_hexdigest(backend.location.encode())[:8]
    return receiver_spool.with_name(f"{receiver_spool.name}.{database}")


def existing_slots(prefix: Path) -> list[Path]:
    """The slots that have a file, in the order of their numbers; numbers may be missing."""
    files = prefix.parent.glob(f"{glob.escape(prefix.name)}.*")
    slots = [path for path in files if path.suffix[1:].isdecimal() and path.stem == prefix.name]
    return sorted(slots, key=lambda path: int(path.suffix[1:]))


def acquire_slot(settings: ExporterSettings, prefix: Path) -> Spool:
    """Open a spool file that no other process uses.

    Prefers a file with pending requests; otherwise takes the lowest number.

    Raises:
        ExporterError: a spool cannot be opened.
    """
    empty: Spool | None = None
    try:
        for number in itertools.count(1):
            path = prefix.with_name(f"{prefix.name}.{number}")
            if empty is not None and not path.exists():
                return empty
            spool = spool_at(path, settings)
            try:
                spool.start()
            except SpoolLockedError:
                continue
            if spool.state.pending_requests:
                if empty is not None:
                    empty.close()
                return spool
            if empty is None:
                empty = spool
            else:
                spool.close()
    except BaseException:
        if empty is not None:
            empty.close()
        raise
    raise AssertionError("itertools.count never ends")
