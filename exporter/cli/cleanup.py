"""`cleanup`: deletes old rows now, from any process, also while a receiver is running."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from exporter.cli import output
from exporter.cli.options import BackendOption, ConfigOption, DbOption
from exporter.cli.store import open_store, store_settings
from exporter.query import Reader, parse_duration
from exporter.render import format_number, format_quantity, render_counts
from exporter.time_units import NANOSECONDS_PER_SECOND, SECONDS_PER_DAY, from_nanos

_NUMBER_WITHOUT_UNIT: Final = re.compile(r"\s*[0-9.]+\s*")


def cleanup(
    *,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            help="Delete rows that are older: 90d, 2w, 36h.",
            show_default="retention_days",
        ),
    ] = None,
    costs_older_than: Annotated[
        str | None,
        typer.Option(
            "--costs-older-than",
            metavar="DURATION",
            help="The same for cost entries.",
            show_default="--older-than, or cost_retention_days",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the rows to delete, and delete nothing.")
    ] = False,
    config: ConfigOption = None,
    backend: BackendOption = None,
    db: DbOption = None,
) -> None:
    """Delete old rows now; a running receiver does the same every hour.

    Series and imported bills are kept. It may run beside a receiver.

    For example:

        openfinops-exporter cleanup --dry-run

        openfinops-exporter cleanup --older-than 30d --costs-older-than 365d
    """
    settings = store_settings(config, db=db, backend=backend)
    now_unix_nano = time.time_ns()
    before_unix_nano = _time_ago(
        now_unix_nano,
        _age_seconds(older_than, "--older-than") or settings.retention_days * SECONDS_PER_DAY,
    )
    costs_before_unix_nano = _time_ago(
        now_unix_nano,
        _age_seconds(costs_older_than, "--costs-older-than")
        or _age_seconds(older_than, "--older-than")
        or settings.cost_retention_days * SECONDS_PER_DAY,
    )
    # Opened read-only first, so that a missing store is an error and is not created.
    with open_store(settings) as store:
        location = f"{settings.backend} {store.location}"
        counts = store.count_before(before_unix_nano, costs_before_unix_nano=costs_before_unix_nano)
        sizes = Reader(store).store_sizes()
    heading = f"{location}: rows older than {_moment(before_unix_nano)}"
    if costs_before_unix_nano != before_unix_nano:
        heading += f", cost entries older than {_moment(costs_before_unix_nano)}"
    output.print_rich(Text(heading), Text())
    if dry_run:
        summary = "Nothing was deleted."
    else:
        with open_store(settings, read_only=False) as store:
            deleted = store.delete_before(
                before_unix_nano, costs_before_unix_nano=costs_before_unix_nano
            )
        with open_store(settings) as store:
            sizes_after = Reader(store).store_sizes()
        summary = f"{format_number(deleted)} rows deleted. {_disk_space(sizes, sizes_after)}"
    output.print_rich(render_counts(counts, "TO DELETE" if dry_run else "DELETED"), Text())
    output.print_rich(Text(summary))


def _age_seconds(text: str | None, option: str) -> float | None:
    """The duration in seconds; a number without a unit could mean seconds or days."""
    if text is None:
        return None
    if _NUMBER_WITHOUT_UNIT.fullmatch(text):
        raise typer.BadParameter(
            f"{text!r} has no unit; for days write {text.strip()}d", param_hint=option
        )
    seconds = parse_duration(text)
    if not seconds:
        raise typer.BadParameter(
            f"{text!r} would delete everything; give a longer time", param_hint=option
        )
    return seconds


def _time_ago(now_unix_nano: int, seconds: float) -> int:
    return max(0, now_unix_nano - int(seconds * NANOSECONDS_PER_SECOND))


def _moment(unix_nano: int) -> str:
    return f"{from_nanos(unix_nano):%Y-%m-%d %H:%M:%S} UTC"


def _disk_space(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The disk space before and after, and what happens to the space of deleted rows."""
    was, now, free = before["total_bytes"], after["total_bytes"], after["free_bytes"]
    sentences = [
        f"The store takes {format_quantity(now, 'By')} now, {format_quantity(was, 'By')} before."
    ]
    if any(table["partitions"] is not None for table in after["tables"]):
        sentences.append(
            "Only whole partitions are deleted: old rows stay while younger ones share theirs."
        )
    if free:
        sentences.append(
            f"{format_quantity(free, 'By')} of it is free for new rows; the file shrinks when more "
            "than a quarter of it is free."
        )
    return " ".join(sentences)
