"""`migrate`: copies everything from one store into another, and verifies the copy."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Final

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from exporter.backends.base import Backend
from exporter.cli import output
from exporter.cli.options import time_range_of
from exporter.cli.store import load_settings, open_existing, open_store, store_settings
from exporter.errors import BackendRefusedError
from exporter.openfinops.v030_import import import_records, verify
from exporter.openfinops.v030_store import V030Store, open_v030_store
from exporter.query.times import TimeRange
from exporter.render import format_number
from exporter.time_units import from_micros
from exporter.transfer import Difference, copy, differences
from exporter.transfer import Progress as CopyProgress

# Maximum number of differing days, and of refused rows of each table, that are shown.
_MAX_SHOWN: Final = 20


def migrate(
    *,
    source: Annotated[
        str,
        typer.Option("--from", metavar="URL", help="Where the data is: a SQLite path or a URL."),
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="Where to copy it: a SQLite path or a URL.")
    ],
    from_backend: Annotated[
        str | None,
        typer.Option(
            "--from-backend",
            metavar="NAME",
            help="sqlite, postgresql or timescaledb; rarely needed.",
            show_default="by its tables",
        ),
    ] = None,
    to_backend: Annotated[
        str | None,
        typer.Option(
            "--to-backend",
            metavar="NAME",
            help="timescaledb, if --to is an empty database that should use it.",
            show_default="by its tables",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only rows from this time on: 30d, 2026-11-01."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only rows before this time.")
    ] = None,
) -> None:
    """Copy series, points, histograms, summaries, exemplars and costs into another backend.

    It can be interrupted and run again: it continues where it stopped, and stores nothing twice. A
    later run copies newer rows. At the end the counts and sums of both stores are compared, by
    table and day; the exit code is 1 if they differ.

    The source may also be the tables of openfinops 0.3.0. A record that cannot be read is reported
    with its id and skipped, and the exit code is 1.

    For example:

        openfinops-exporter migrate --from finops.db --to postgresql://localhost/finops --since 90d

        openfinops-exporter migrate --from finops.db --to-backend timescaledb --to 'dbname=finops'
    """
    time_range = time_range_of(since, until)
    source_settings = load_settings(None, db=source, backend=from_backend).exporter
    with open_v030_store(source_settings.backend, source_settings.connection_string) as v030_store:
        if v030_store is not None:
            with _open_target(target, to_backend) as target_store:
                _import_v030(v030_store, target_store, time_range)
            return
    with (
        open_existing(None, db=source, backend=from_backend) as source_store,
        _open_target(target, to_backend) as target_store,
    ):
        if _is_same(source_store, target_store):
            raise BackendRefusedError(
                f"migrate: --from and --to are both {source_store.location}; name two stores"
            )
        _copy(source_store, target_store, time_range)
        found = list(differences(source_store, target_store, time_range))
    _report_differences(found)


def _open_target(url: str, backend: str | None) -> AbstractContextManager[Backend]:
    # serving: the target may be empty, and gets chunks, compression and roll-ups like a receiver's.
    return open_store(store_settings(None, db=url, backend=backend), read_only=False, serving=True)


def _is_same(source: Backend, target: Backend) -> bool:
    return source.dialect.name == target.dialect.name and source.location == target.location


def _copy(source: Backend, target: Backend, time_range: TimeRange) -> None:
    rows = {table.table: table.rows for table in source.sizes().tables}
    with _progress_bars(rows) as report:
        for copied in copy(source, target, time_range, report=report):
            _print_copied(copied, "rows")


def _import_v030(source: V030Store, target: Backend, time_range: TimeRange) -> None:
    refused: Counter[str] = Counter()

    def refuse(table: str, row_id: int, reason: str) -> None:
        refused[table] += 1
        if refused[table] <= _MAX_SHOWN:
            output.print_warning(f"{table}, id {row_id}: {reason}")

    output.print_note(f"{source.location} has the tables of openfinops itself")
    rows = {table.name: source.count(table) for table in source.tables}
    with _progress_bars(rows) as report:
        for copied in import_records(source, target, time_range, report=report, refuse=refuse):
            _print_copied(copied, "records")
    with _progress_bars(rows, "checking ") as report:
        found = list(verify(source, target, time_range, report=report))
    _report_differences(found)
    if refused:
        tables = ", ".join(f"{table}: {format_number(rows)}" for table, rows in refused.items())
        raise BackendRefusedError(
            f"migrate: {format_number(refused.total())} rows of {source.location} were skipped "
            f"({tables}); all others were copied. Correct them at the source and copy their days "
            "again with --since and --until"
        )


@contextmanager
def _progress_bars(
    rows: Mapping[str, int], prefix: str = ""
) -> Iterator[Callable[[CopyProgress], None]]:
    """One progress bar for each table, on a terminal.

    Args:
        rows: the number of rows of each table.
        prefix: text before the name of a table.

    Yields:
        A function that is called with the progress.
    """
    bars: dict[str, tuple[TaskID, float]] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=output.console(sys.stderr),
        disable=not sys.stderr.isatty(),
    ) as progress:
        began = time.monotonic()

        def report(copied: CopyProgress) -> None:
            nonlocal began
            now = time.monotonic()
            if copied.table not in bars:
                task = progress.add_task(
                    prefix + copied.table, total=rows.get(copied.table), rate=""
                )
                bars[copied.table] = (task, began)
            bar, start = bars[copied.table]
            rate = copied.rows / max(now - start, 1e-3)
            progress.update(bar, completed=copied.rows, rate=f"{format_number(round(rate))} rows/s")
            began = now

        yield report


def _print_copied(copied: CopyProgress, noun: str) -> None:
    dead = f", {format_number(copied.dead)} of them as dead letters" if copied.dead else ""
    output.print_note(f"{copied.table}: {format_number(copied.rows)} {noun} copied{dead}")


def _report_differences(found: list[Difference]) -> None:
    """Print that both stores are equal, or raise with a table of the days that differ."""
    if not found:
        output.print_rich(Text("Every day of every table has the same rows and sums in both."))
        return
    table = Table("TABLE", "DAY (UTC)", "ROWS FROM", "ROWS TO", "SUM FROM", "SUM TO")
    for difference in found[:_MAX_SHOWN]:
        table.add_row(
            difference.table,
            f"{from_micros(difference.day_micros):%Y-%m-%d}",
            format_number(difference.source_rows),
            format_number(difference.target_rows),
            format_number(float(difference.source_sum)),
            format_number(float(difference.target_sum)),
        )
    output.print_rich(table)
    raise BackendRefusedError(
        f"migrate: {len(found)} days differ. More rows at the target existed before or arrived "
        "since; fewer mean that the source got rows with older times during the copy: copy "
        "their days again with --since and --until"
    )
