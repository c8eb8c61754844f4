"""`cleanup`: delete old rows now, from any process, also while a receiver is running."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from exporter.assembly import backend_for
from exporter.cli import output
from exporter.cli.options import (
    BackendOption,
    ConfigOption,
    DbOption,
    opened_for_reading,
    store_settings,
)
from exporter.config import ExporterSettings
from exporter.query import Reader, parse_duration
from exporter.render import format_number, format_quantity, render_counts

__all__ = ["cleanup"]

_SECONDS_PER_DAY: Final = 86_400
_NANOSECONDS_PER_SECOND: Final = 1_000_000_000
_BARE_NUMBER: Final = re.compile(r"\s*[0-9.]+\s*")


def cleanup(
    *,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            help="Delete what is older: 90d, 2w, 36h.",
            show_default="retention_days",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be deleted, and delete nothing.")
    ] = False,
    config: ConfigOption = None,
    backend: BackendOption = None,
    db: DbOption = None,
) -> None:
    """Delete old rows now; a running receiver does the same by itself every hour.

    Series stay, so that later points find them. It may run beside a receiver.

    For example:

        openfinops-exporter cleanup --dry-run

        openfinops-exporter cleanup --older-than 30d --db /var/lib/metrics.db
    """
    settings = store_settings(config, db=db, backend=backend)
    before_unix_nano = _moment(time.time_ns(), settings, older_than)
    # Opened for reading first, so that nothing is created where there was nothing.
    with opened_for_reading(settings) as store:
        place = f"{settings.backend} {store.location}"
        counts = store.count_before(before_unix_nano)
        sizes = Reader(store).store_sizes()
    moment = datetime.fromtimestamp(before_unix_nano // _NANOSECONDS_PER_SECOND, UTC)
    output.print_rich(Text(f"{place}: what is older than {moment:%Y-%m-%d %H:%M:%S} UTC"), Text())
    if dry_run:
        said = "Nothing was deleted."
    else:
        deleted = _delete(settings, before_unix_nano)
        with opened_for_reading(settings) as store:
            after = Reader(store).store_sizes()
        said = f"{format_number(deleted)} rows deleted. {_disk_space(sizes, after)}"
    output.print_rich(render_counts(counts, "WOULD GO" if dry_run else "DELETED"), Text())
    output.print_rich(Text(said))


def _moment(now_unix_nano: int, settings: ExporterSettings, older_than: str | None) -> int:
    """What is older than this goes; never before 1970."""
    age_seconds = (
        settings.retention_days * _SECONDS_PER_DAY if older_than is None else _age(older_than)
    )
    return max(0, now_unix_nano - int(age_seconds * _NANOSECONDS_PER_SECOND))


def _age(text: str) -> float:
    """The duration in seconds; a number alone could mean seconds or days, and is refused."""
    if _BARE_NUMBER.fullmatch(text):
        raise typer.BadParameter(
            f"{text!r} has no unit; for days write {text.strip()}d", param_hint="--older-than"
        )
    seconds = parse_duration(text)
    if not seconds:
        raise typer.BadParameter(
            f"{text!r} would delete everything; give a longer time", param_hint="--older-than"
        )
    return seconds


def _delete(settings: ExporterSettings, before_unix_nano: int) -> int:
    backend = backend_for(settings)
    try:
        backend.start()
        return backend.delete_before(before_unix_nano)
    finally:
        backend.close()


def _disk_space(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What became of the disk space, and what the reader should know of how it is used."""
    was, now, free = before["total_bytes"], after["total_bytes"], after["free_bytes"]
    said = [
        f"The store takes {format_quantity(now, 'By')} now, {format_quantity(was, 'By')} before."
    ]
    if any(table["partitions"] is not None for table in after["tables"]):
        said.append("Whole partitions go at once: old rows stay while younger ones share theirs.")
    if free:
        said.append(
            f"{format_quantity(free, 'By')} of it is free for new rows; the file shrinks when more "
            "than a quarter of it is free."
        )
    return " ".join(said)
