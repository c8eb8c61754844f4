"""`export`: writes costs as FOCUS, and points of metrics, into files for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import typer

from exporter.cli import output
from exporter.cli.options import (
    TIME_FORMS,
    ClusterOption,
    ConfigOption,
    DbOption,
    MetricOption,
    NodeOption,
    ServiceOption,
    time_range_of,
)
from exporter.cli.store import open_existing
from exporter.column_files import Column, FileFormat, Row, open_writer
from exporter.costs.rules import is_notional
from exporter.focus import FocusVersion, Issuer, columns_of, entry_to_row
from exporter.query.filters import SeriesFilters
from exporter.query.pages import cost_pages, point_pages
from exporter.render import POINT_COLUMNS, export_row, format_number

app: Final = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Write stored data to files, also while a receiver is running.\n\n"
    "A complete file replaces an older one; an incomplete one never does. Parquet needs "
    "`pip install 'openfinops-otel-exporter[parquet]'`.",
)

SinceOption = Annotated[
    str | None,
    typer.Option("--since", "-s", metavar="TIME", help=f"From this time on: {TIME_FORMS}."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", "-u", metavar="TIME", help="Before this time.")
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
]


CostFormat = Literal["focus-csv", "focus-parquet"]


@app.command()
def costs(
    *,
    to: OutputOption,
    fmt: Annotated[
        CostFormat,
        typer.Option("--format", "-f", metavar="|".join(get_args(CostFormat)), help="File format."),
    ] = "focus-csv",
    focus_version: Annotated[
        FocusVersion,
        typer.Option(
            "--focus-version",
            metavar="|".join(get_args(FocusVersion)),
            help="Version that defines the columns.",
        ),
    ] = "1.2",
    since: SinceOption = None,
    until: UntilOption = None,
    provider: Annotated[
        str,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="ProviderName, PublisherName and InvoiceIssuerName of entries that are not from "
            "a bill.",
        ),
    ] = "OpenFinOps",
    billing_account: Annotated[
        str | None,
        typer.Option(
            "--billing-account",
            metavar="ID",
            help="BillingAccountId of entries that are not from a bill.",
            show_default="cluster_id",
        ),
    ] = None,
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """Write cost entries as FOCUS, the FinOps Open Cost and Usage Specification.

    For example:

        openfinops-exporter export costs --since 2026-10-01 --until 2026-11-01 -o october.csv

        openfinops-exporter export costs --format focus-parquet --output costs.parquet
    """
    time_range, issuer = time_range_of(since, until), Issuer(provider, billing_account)
    file_format: FileFormat = "csv" if fmt == "focus-csv" else "parquet"
    with open_existing(config, db=db) as store:
        pages = (
            [entry_to_row(entry, issuer) for entry in page if not is_notional(entry.currency)]
            for page in cost_pages(store, time_range)
        )
        written = _write(to, file_format, columns_of(focus_version), pages)
    output.print_note(f"{format_number(written)} cost entries written to {to}")


@app.command()
def metrics(
    *,
    to: OutputOption,
    fmt: Annotated[
        FileFormat,
        typer.Option("--format", "-f", metavar="|".join(get_args(FileFormat)), help="File format."),
    ] = "csv",
    metric: MetricOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    cluster: ClusterOption = None,
    node: NodeOption = None,
    service: ServiceOption = None,
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """Write points of metrics, each with the columns that identify its series.

    For example:

        openfinops-exporter export metrics --metric 'system.*' --since 7d --output week.csv

        openfinops-exporter export metrics --format parquet --output all.parquet
    """
    filters = SeriesFilters(metric, cluster, node, service)
    time_range = time_range_of(since, until)
    with open_existing(config, db=db) as store:
        pages = (
            [export_row(point) for point in page]
            for page in point_pages(store, filters, time_range)
        )
        written = _write(to, fmt, POINT_COLUMNS, pages)
    output.print_note(f"{format_number(written)} points written to {to}")


def _write(
    to: Path, file_format: FileFormat, columns: Sequence[Column], pages: Iterable[Sequence[Row]]
) -> int:
    """Write all pages into a file; returns the number of rows."""
    written = 0
    with open_writer(to, file_format, columns) as write:
        for rows in pages:
            write(rows)
            written += len(rows)
    return written
