"""`stats`: how much is stored, from any process, also while a receiver is running."""

from __future__ import annotations

from rich.text import Text

from exporter.cli import output
from exporter.cli.options import (
    BackendOption,
    ConfigOption,
    DbOption,
    load_settings,
    opened_for_reading,
)
from exporter.cli.query import Format, FormatOption
from exporter.query import Reader
from exporter.render import render_csv, render_sizes, render_sizes_json

__all__ = ["stats"]


def stats(
    config: ConfigOption = None,
    backend: BackendOption = None,
    db: DbOption = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show how much is stored: rows, disk space, oldest and newest, table by table.

    What a running receiver has not yet written is not in it.

    For example:

        openfinops-exporter stats

        openfinops-exporter stats --db /var/lib/metrics.db --format json
    """
    settings = load_settings(config, db=db, backend=backend).exporter
    with opened_for_reading(settings) as store:
        sizes = Reader(store).store_sizes()
        answer = {"backend": settings.backend, "location": store.location, **sizes}
    if fmt is Format.JSON:
        output.print_data(render_sizes_json(answer))
    elif fmt is Format.CSV:
        output.print_data(render_csv(answer["tables"]))
    else:
        place = Text(f"{answer['backend']} {answer['location']}")
        output.print_rich(place, Text(), render_sizes(sizes))
