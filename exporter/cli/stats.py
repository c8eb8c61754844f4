"""`stats` shows how much is stored.

This module also writes the status file with the counters of a running receiver.

The status file lies beside the receiver's spool. The counters are not in the database, because
they are needed most while it is unavailable.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from exporter.assembly import backend_for, spool_path
from exporter.cli import output
from exporter.cli.options import BackendOption, ConfigOption, DbOption, FormatOption
from exporter.cli.store import load_settings, open_store, store_settings
from exporter.errors import ExporterError
from exporter.query import Reader
from exporter.render import render_csv, render_receiver, render_sizes, render_sizes_json
from exporter.stats import Snapshot

_log = logging.getLogger(__name__)


def stats(
    config: ConfigOption = None,
    backend: BackendOption = None,
    db: DbOption = None,
    fmt: FormatOption = "table",
) -> None:
    """Show how much each table stores, and the counters of the receiver on this machine.

    Rows that a running receiver has not yet written are counted in its points_queued.

    For example:

        openfinops-exporter stats

        openfinops-exporter stats --db /var/lib/metrics.db --format json
    """
    # Before `store_settings`, which needs the database.
    settings = load_settings(config, db=db, backend=backend).exporter
    receiver = _read_status(status_path(spool_path(settings, backend_for(settings))))
    try:
        settings = store_settings(config, db=db, backend=backend)
        with open_store(settings) as store:
            sizes = Reader(store).store_sizes()
            answer = {"backend": settings.backend, "location": store.location, **sizes}
    except ExporterError:
        # The receiver's counters are needed most while the database is unavailable.
        if receiver is not None and fmt == "table":
            output.print_rich(render_receiver(receiver))
        raise
    if fmt == "json":
        output.print_data(render_sizes_json({**answer, "receiver": receiver}))
    elif fmt == "csv":
        output.print_data(render_csv(sizes["tables"]))
    else:
        location = Text(f"{answer['backend']} {answer['location']}")
        output.print_rich(location, Text(), render_sizes(sizes))
        if receiver is not None:
            output.print_rich(Text(), render_receiver(receiver))


def status_path(spool: Path) -> Path:
    """The status file of the receiver with this spool."""
    return spool.with_name(f"{spool.name}.status.json")


def write_status(path: Path, counters: Snapshot, at_unix_seconds: float) -> None:
    """Replace the status file; an error is logged, because only the counters are lost."""
    document = {"pid": os.getpid(), "timestamp": at_unix_seconds, "counters": asdict(counters)}
    # Replaced as a whole, so that `stats` never reads a partly written file.
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        fresh.replace(path)
    except OSError as error:
        _log.warning("the counters for `stats` could not be written to %s: %s", path, error)


def _read_status(path: Path) -> Mapping[str, Any] | None:
    """Process id, time and counters of the last report; None if there is no readable file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "counters" in document else None
