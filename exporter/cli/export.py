"""`export`: costs as FOCUS, and points of metrics, into files that other programs read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from exporter.cli import output
from exporter.cli.options import ConfigOption, DbOption, opened_for_reading, store_settings
from exporter.cli.query import (
    TIME_FORMS,
    ClusterOption,
    MetricOption,
    NodeOption,
    ServiceOption,
    period,
)
from exporter.column_files import FileFormat, open_writer
from exporter.focus import VERSIONS, Issuer, columns_of, entry_to_row
from exporter.query.filters import Filters
from exporter.query.pages import cost_pages, point_pages
from exporter.render import POINT_COLUMNS, export_row, format_number

__all__ = ["app"]

app: Final = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Write what is stored to files, also while a receiver is running.\n\n"
    "A file is there when it is whole, and takes the place of an older one. Parquet needs "
    "`pip install 'openfinops-otel-exporter[parquet]'`.",
)

SinceOption = Annotated[
    str | None,
    typer.Option("--since", "-s", metavar="TIME", help=f"From then on: {TIME_FORMS}."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", "-u", metavar="TIME", help="Until before then; likewise.")
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
]


class CostFormat(StrEnum):
    """How costs are written."""

    FOCUS_CSV = "focus-csv"
    FOCUS_PARQUET = "focus-parquet"


class PointFormat(StrEnum):
    """How points are written."""

    CSV = "csv"
    PARQUET = "parquet"


@app.command()
def costs(
    *,
    to: OutputOption,
    fmt: Annotated[
        CostFormat,
        typer.Option("--format", "-f", metavar="|".join(CostFormat), help="Kind of the file."),
    ] = CostFormat.FOCUS_CSV,
    focus_version: Annotated[
        str,
        typer.Option(
            "--focus-version", metavar="|".join(VERSIONS), help="Whose columns the file has."
        ),
    ] = "1.2",
    since: SinceOption = None,
    until: UntilOption = None,
    provider: Annotated[
        str,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="ProviderName, PublisherName and InvoiceIssuerName of what is from no bill.",
        ),
    ] = "OpenFinOps",
    billing_account: Annotated[
        str | None,
        typer.Option(
            "--billing-account",
            metavar="ID",
            help="BillingAccountId of what is from no bill.",
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
    if focus_version not in VERSIONS:
        raise typer.BadParameter(
            f"{focus_version!r} is none of {', '.join(VERSIONS)}", param_hint="--focus-version"
        )
    time_range, issuer = period(since, until), Issuer(provider, billing_account)
    file_format: FileFormat = "csv" if fmt is CostFormat.FOCUS_CSV else "parquet"
    columns = columns_of(focus_version)
    written = 0
    with (
        opened_for_reading(store_settings(config, db=db)) as backend,
        open_writer(to, file_format, columns) as write,
    ):
        for page in cost_pages(backend, time_range):
            write([entry_to_row(entry, issuer) for entry in page])
            written += len(page)
    output.print_note(f"{format_number(written)} cost entries written to {to}")


@app.command()
def metrics(
    *,
    to: OutputOption,
    fmt: Annotated[
        PointFormat,
        typer.Option("--format", "-f", metavar="|".join(PointFormat), help="Kind of the file."),
    ] = PointFormat.CSV,
    metric: MetricOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    cluster: ClusterOption = None,
    node: NodeOption = None,
    service: ServiceOption = None,
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """Write points of metrics, each with what identifies its series.

    For example:

        openfinops-exporter export metrics --metric 'system.*' --since 7d --output week.csv

        openfinops-exporter export metrics --format parquet --output all.parquet
    """
    filters = Filters(metric, cluster, node, service)
    time_range = period(since, until)
    file_format: FileFormat = "csv" if fmt is PointFormat.CSV else "parquet"
    written = 0
    with (
        opened_for_reading(store_settings(config, db=db)) as backend,
        open_writer(to, file_format, POINT_COLUMNS) as write,
    ):
        for page in point_pages(backend, filters, time_range):
            write([export_row(point) for point in page])
            written += len(page)
    output.print_note(f"{format_number(written)} points written to {to}")
