"""`stats`: how much is stored, from any process, also while a receiver is running."""

from __future__ import annotations

from rich.text import Text

from exporter.assembly import backend_for, spool_path
from exporter.cli import output
from exporter.cli.options import (
    BackendOption,
    ConfigOption,
    DbOption,
    load_settings,
    opened_for_reading,
    store_settings,
)
from exporter.cli.query import Format, FormatOption
from exporter.cli.status import read_status, status_path
from exporter.errors import ExporterError
from exporter.query import Reader
from exporter.render import render_csv, render_receiver, render_sizes, render_sizes_json

__all__ = ["stats"]


def stats(
    config: ConfigOption = None,
    backend: BackendOption = None,
    db: DbOption = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show how much is stored, table by table, and what the receiver on this machine counted.

    Rows that a running receiver has not yet written are among its points_queued.

    For example:

        openfinops-exporter stats

        openfinops-exporter stats --db /var/lib/metrics.db --format json
    """
    settings = load_settings(config, db=db, backend=backend).exporter
    receiver = read_status(status_path(spool_path(settings, backend_for(settings))))
    try:
        settings = store_settings(config, db=db, backend=backend)
        with opened_for_reading(settings) as store:
            sizes = Reader(store).store_sizes()
            answer = {"backend": settings.backend, "location": store.location, **sizes}
    except ExporterError:
        # Wanted most while the database is away.
        if receiver is not None and fmt is Format.TABLE:
            output.print_rich(render_receiver(receiver))
        raise
    if fmt is Format.JSON:
        output.print_data(render_sizes_json({**answer, "receiver": receiver}))
    elif fmt is Format.CSV:
        output.print_data(render_csv(answer["tables"]))
    else:
        place = Text(f"{answer['backend']} {answer['location']}")
        output.print_rich(place, Text(), render_sizes(sizes))
        if receiver is not None:
            output.print_rich(Text(), render_receiver(receiver))
