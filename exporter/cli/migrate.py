"""`migrate`: everything that one store holds into another, and proof that it arrived."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
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
from exporter.cli.options import load_settings
from exporter.cli.query import period
from exporter.errors import BackendRefusedError
from exporter.query.selection import TimeRange
from exporter.render import number
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
            help="timescaledb, where --from is one.",
            show_default="by the URL",
        ),
    ] = None,
    to_backend: Annotated[
        str | None,
        typer.Option(
            "--to-backend",
            metavar="NAME",
            help="timescaledb, where --to is to be one.",
            show_default="by the URL",
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

    For example:

        openfinops-exporter migrate --from finops.db --to postgresql://localhost/finops --since 90d

        openfinops-exporter migrate --from finops.db --to-backend timescaledb --to 'dbname=finops'
    """
    wanted = period(since, until)
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
    settings = load_settings(None, db=url, backend=name).exporter
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
    bars: dict[str, TaskID] = {}
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
            bar = bars.get(copied.table)
            if bar is None:
                bar = bars[copied.table] = shown.add_task(
                    copied.table, total=rows.get(copied.table), rate=""
                )
            rate = copied.rows / max(time.monotonic() - began, 1e-3)
            shown.update(bar, completed=copied.rows, rate=f"{number(round(rate))} rows/s")

        for copied in copy(source, target, wanted, report=report):
            began = time.monotonic()
            _tell(copied)


def _tell(copied: Copied) -> None:
    dead = f", {number(copied.dead)} of them among its dead letters" if copied.dead else ""
    output.print_note(f"{copied.table}: {number(copied.rows)} rows copied{dead}")


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
            number(one.source_rows),
            number(one.target_rows),
            number(one.source_sum),
            number(one.target_sum),
        )
    output.print_rich(shown)
    raise BackendRefusedError(
        f"migrate: {len(found)} days differ. More rows at the target were there before or came "
        "since; fewer mean that the source got rows with older times while it was copied: copy "
        "their days again with --since and --until"
    )
