"""What a running receiver says about itself, in a file beside its spool, for `stats` to show.

A file and not the database, because it is wanted most while the database is away.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exporter.stats import Snapshot

__all__ = ["read_status", "status_path", "write_status"]

_log = logging.getLogger(__name__)


def status_path(spool: Path) -> Path:
    """Where the receiver with this spool keeps its counters."""
    return spool.with_name(f"{spool.name}.status.json")


def write_status(path: Path, counters: Snapshot, at_unix_seconds: float) -> None:
    """Replace the file; a disk that is full or gone is logged, and costs the counters only."""
    document = {"pid": os.getpid(), "timestamp": at_unix_seconds, "counters": asdict(counters)}
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        fresh.replace(path)
    except OSError as error:
        _log.warning("the counters for `stats` could not be written to %s: %s", path, error)


def read_status(path: Path) -> Mapping[str, Any] | None:
    """The process id, the time and the counters of the last report; None where there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "counters" in document else None
