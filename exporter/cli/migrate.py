"""`migrate`: everything that one store holds into another, and proof that it arrived."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
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

from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.cli import output
from exporter.cli.options import load_settings, store_settings
from exporter.cli.query import period
from exporter.errors import BackendRefusedError
from exporter.openfinops.v030_import import import_records, verify
from exporter.openfinops.v030_store import V030Store, open_v030_store
from exporter.query.filters import TimeRange
from exporter.render import format_number
from exporter.transfer import Difference, copy, differences
from exporter.transfer import Progress as Copied

__all__ = ["migrate"]

_MICROSECONDS_PER_SECOND: Final = 1_000_000
_SHOWN: Final = 20


def migrate(
    *,
    source: Annotated[
        str,
        typer.Option("--from", metavar="URL", help="Where the data is: a SQLite path or a URL."),
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="URL", help="Where it is to go, likewise.")
    ],
    from_backend: Annotated[
        str | None,
        typer.Option(
            "--from-backend",
            metavar="NAME",
            help="sqlite, postgresql or timescaledb; seldom needed.",
            show_default="by what is there",
        ),
    ] = None,
    to_backend: Annotated[
        str | None,
        typer.Option(
            "--to-backend",
            metavar="NAME",
            help="timescaledb, where an empty --to is to be one.",
            show_default="by what is there",
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

    It may be interrupted and run again: it goes on where it was, and stores nothing twice. A run
    after the first one copies what came since. At the end the counts and sums of both are compared,
    by table and day; the exit code is 1 where they differ.

    The tables of openfinops 0.3.0 itself may be copied likewise; a record that cannot be read is
    named with its id, left out, and makes the exit code 1.

    For example:

        openfinops-exporter migrate --from finops.db --to postgresql://localhost/finops --since 90d

        openfinops-exporter migrate --from finops.db --to-backend timescaledb --to 'dbname=finops'
    """
    wanted = period(since, until)
    there = load_settings(None, db=source, backend=from_backend).exporter
    with open_v030_store(there.backend, there.connection_string) as published:
        if published is not None:
            with _opened(target, to_backend, read_only=False) as right:
                _take_over(published, right, wanted)
            return
    with (
        _opened(source, from_backend, read_only=True) as left,
        _opened(target, to_backend, read_only=False) as right,
    ):
        if _is_same(left, right):
            raise BackendRefusedError(
                f"migrate: --from and --to are both {left.location}; name two stores"
            )
        _copy(left, right, wanted)
        found = list(differences(left, right, wanted))
    _conclude(found)


@contextmanager
def _opened(url: str, name: str | None, *, read_only: bool) -> Iterator[Backend]:
    settings = store_settings(None, db=url, backend=name)
    backend = backend_for(settings, read_only=read_only, serving=not read_only)
    try:
        backend.start()
        yield backend
    finally:
        backend.close()


def _is_same(left: Backend, right: Backend) -> bool:
    return left.dialect.name == right.dialect.name and left.location == right.location


def _copy(source: Backend, target: Backend, wanted: TimeRange) -> None:
    rows = {table.table: table.rows for table in source.sizes().tables}
    with _bars(rows) as report:
        for copied in copy(source, target, wanted, report=report):
            _tell(copied, "rows")


def _take_over(source: V030Store, target: Backend, wanted: TimeRange) -> None:
    refused: Counter[str] = Counter()

    def refuse(table: str, row_id: int, reason: str) -> None:
        refused[table] += 1
        if refused[table] <= _SHOWN:
            output.print_warning(f"{table}, id {row_id}: {reason}")

    output.print_note(f"{source.location} has the tables of openfinops itself")
    rows = {table.name: source.count(table) for table in source.tables}
    with _bars(rows) as report:
        for copied in import_records(source, target, wanted, report=report, refuse=refuse):
            _tell(copied, "records")
    with _bars(rows, "checking ") as report:
        found = list(verify(source, target, wanted, report=report))
    _conclude(found)
    if refused:
        raise BackendRefusedError(
            f"migrate: {format_number(refused.total())} rows of {source.location} were left out "
            f"({', '.join(f'{table}: {format_number(rows)}' for table, rows in refused.items())}); "
            "everything else is there. Correct them at the source and copy their days again with "
            "--since and --until"
        )


@contextmanager
def _bars(rows: Mapping[str, int], doing: str = "") -> Iterator[Callable[[Copied], None]]:
    """A bar for each table, on a terminal; gives what is to be told of progress."""
    bars: dict[str, tuple[TaskID, float]] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=output.console(sys.stderr),
        disable=not sys.stderr.isatty(),
    ) as shown:
        began = time.monotonic()

        def report(copied: Copied) -> None:
            nonlocal began
            now = time.monotonic()
            if copied.table not in bars:
                task = shown.add_task(doing + copied.table, total=rows.get(copied.table), rate="")
                bars[copied.table] = (task, began)
            bar, since = bars[copied.table]
            rate = copied.rows / max(now - since, 1e-3)
            shown.update(bar, completed=copied.rows, rate=f"{format_number(round(rate))} rows/s")
            began = now

        yield report


def _tell(copied: Copied, noun: str) -> None:
    dead = f", {format_number(copied.dead)} of them among its dead letters" if copied.dead else ""
    output.print_note(f"{copied.table}: {format_number(copied.rows)} {noun} copied{dead}")


def _conclude(found: list[Difference]) -> None:
    if not found:
        output.print_rich(Text("Every day of every table has the same rows and sums in both."))
        return
    shown = Table("TABLE", "DAY (UTC)", "ROWS FROM", "ROWS TO", "SUM FROM", "SUM TO")
    for one in found[:_SHOWN]:
        day = datetime.fromtimestamp(one.day_micro / _MICROSECONDS_PER_SECOND, UTC)
        shown.add_row(
            one.table,
            f"{day:%Y-%m-%d}",
            format_number(one.source_rows),
            format_number(one.target_rows),
            format_number(one.source_sum),
            format_number(one.target_sum),
        )
    output.print_rich(shown)
    raise BackendRefusedError(
        f"migrate: {len(found)} days differ. More rows at the target were there before or came "
        "since; fewer mean that the source got rows with older times while it was copied: copy "
        "their days again with --since and --until"
    )
