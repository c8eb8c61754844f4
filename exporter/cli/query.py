"""`query`: reads what is stored, from any process, also while a receiver is running."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

import typer

from exporter.cli import output
from exporter.cli.options import (
    CategoryOption,
    ClusterOption,
    ConfigOption,
    DbOption,
    EndOption,
    Format,
    FormatOption,
    LimitOption,
    MetricOption,
    NodeOption,
    ResourceOption,
    ServiceOption,
    StartOption,
    TagOption,
    name_values,
    time_range,
)
from exporter.cli.store import open_reader
from exporter.query import parse_duration
from exporter.render import render_csv, render_json, render_table

_Rows = Sequence[Mapping[str, Any]]

app: Final = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Read what is stored, also while a receiver is running.\n\n"
    "Only data goes to stdout, so all of it can be piped. Data that a running receiver has "
    "accepted is visible here after batch_interval_seconds (60 by default) at the latest.",
)

# Columns of the list of metrics, and the terminal width from which each is shown. In a narrow
# table the names of metrics would be wrapped, and users need to copy them.
_LIST_COLUMNS: Final = {
    "metric_name": 0,
    "metric_type": 0,
    "unit": 0,
    "series": 0,
    "points": 0,
    "last_timestamp": 100,
    "first_timestamp": 130,
    "description": 130,
}

_COST_COLUMNS: Final = (
    "timestamp",
    "category",
    "resource_id",
    "amount",
    "currency",
    "region",
    "service_name",
    "source_name",
    "tags",
    "description",
)

AttributeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attr",
        "-a",
        metavar="NAME=VALUE",
        help="Attribute of the point or its resource; may be repeated.",
    ),
]


@app.command()
def metrics(
    *,
    metric: MetricOption = None,
    since: Annotated[
        str | None,
        typer.Option("--since", "-s", metavar="DURATION", help="How far back: 5m, 2h, 7d."),
    ] = None,
    start: StartOption = None,
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="Before this time.")
    ] = None,
    cluster: ClusterOption = None,
    node: NodeOption = None,
    service: ServiceOption = None,
    attr: AttributeOption = None,
    agg: Annotated[
        str | None,
        typer.Option(
            "--agg",
            metavar="NAME",
            help="One number for each bucket and group instead of the points: min, max, avg, sum, "
            "last, count, rate, increase, or a quantile such as p95.",
        ),
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option("--bucket", "-b", metavar="DURATION", help="Length of a bucket: 10s, 5m."),
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            "-g",
            metavar="NAME",
            help="An attribute, cluster_id, node_id or service_name; may be repeated.",
        ),
    ] = None,
    limit: LimitOption = 100,
    fmt: FormatOption = "table",
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """Show points, newest first, or aggregates of them (--agg).

    For example:

        openfinops-exporter query metrics --metric 'system.*' --since 5m

        openfinops-exporter query metrics -m system.network.io --agg rate -b 1m

        openfinops-exporter query metrics -m rpc.server.duration --agg p95 -f csv
    """
    if agg is None and (bucket is not None or group_by):
        raise typer.BadParameter(
            "it needs --agg, such as --agg avg",
            param_hint="--group-by" if bucket is None else "--bucket",
        )
    if agg is not None and metric is None:
        raise typer.BadParameter("it needs --metric, the metric to aggregate", param_hint="--agg")
    start_time, end_time = time_range(since, start, end)
    filters: dict[str, Any] = {
        "start_time": start_time,
        "end_time": end_time,
        "cluster_id": cluster,
        "node_id": node,
        "service_name": service,
        "attributes": name_values(attr, "--attr"),
        "limit": limit + 1,  # one more, to find out whether there are more
    }
    rows: _Rows
    with open_reader(config, db) as reader:
        if agg is None:
            rows = reader.query_historical_metrics(metric_name=metric, **filters)
        else:
            rows = reader.aggregate(
                str(metric),
                aggregation=agg,
                bucket_seconds=None if bucket is None else parse_duration(bucket),
                group_by=group_by or (),
                **filters,
            )
    _show(rows, limit, fmt)


@app.command("list")
def list_metrics(
    *,
    counts: Annotated[
        bool,
        typer.Option("--counts", help="Count the points, which takes 0.3 s per million."),
    ] = False,
    fmt: FormatOption = "table",
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """List the metrics that are stored.

    For example:

        openfinops-exporter query list

        openfinops-exporter query list --counts --format json
    """
    with open_reader(config, db) as reader:
        rows = reader.list_metrics(with_counts=counts)
    width = output.console(sys.stdout).width
    columns = [name for name, needed in _LIST_COLUMNS.items() if width >= needed]
    _show(rows, len(rows), fmt, columns=columns)


@app.command()
def series(
    *,
    metric: MetricOption = None,
    cluster: ClusterOption = None,
    node: NodeOption = None,
    service: ServiceOption = None,
    attr: AttributeOption = None,
    limit: LimitOption = 100,
    fmt: FormatOption = "table",
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """List the series of metrics, one for each combination of attributes and resource.

    For example:

        openfinops-exporter query series --metric system.network.io

        openfinops-exporter query series --attr k8s.namespace.name=shop -f json
    """
    with open_reader(config, db) as reader:
        rows = reader.list_series(
            metric,
            cluster_id=cluster,
            node_id=node,
            service_name=service,
            attributes=name_values(attr, "--attr"),
            limit=limit + 1,
        )
    _show(rows, limit, fmt)


@app.command()
def costs(
    *,
    since: Annotated[
        str | None,
        typer.Option("--since", "-s", metavar="DURATION", help="How far back: 2h, 7d, 30d."),
    ] = None,
    start: StartOption = None,
    end: EndOption = None,
    category: CategoryOption = None,
    resource: ResourceOption = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="NAME", help="Only this region.")
    ] = None,
    cluster: ClusterOption = None,
    node: NodeOption = None,
    service: ServiceOption = None,
    tag: TagOption = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            "-g",
            metavar="NAME",
            help="Add up by category, resource_id, region, cluster_id, node_id, service_name, "
            "billing_period, source, source_name (the metric or event), or a tag; may be repeated.",
        ),
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option("--bucket", "-b", metavar="DURATION", help="Add up by time: 1h, 1d, 7d."),
    ] = None,
    limit: LimitOption = 100,
    fmt: FormatOption = "table",
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """Show cost entries, newest first, or their sums (--group-by, --bucket).

    Amounts of different currencies are never added.

    For example:

        openfinops-exporter query costs --since 7d --category compute

        openfinops-exporter query costs --since 30d --group-by category --bucket 1d

        openfinops-exporter query costs -g billing_period -g team --tag env=prod -f csv
    """
    start_time, end_time = time_range(since, start, end)
    filters: dict[str, Any] = {
        "start_time": start_time,
        "end_time": end_time,
        "category": category,
        "resource_id": resource,
        "region": region,
        "cluster_id": cluster,
        "node_id": node,
        "service_name": service,
        "tags": name_values(tag, "--tag"),
        "limit": limit + 1,
    }
    rows: _Rows
    with open_reader(config, db) as reader:
        if group_by or bucket:
            bucket_seconds = None if bucket is None else parse_duration(bucket)
            rows = reader.cost_totals(
                group_by=group_by or (), bucket_seconds=bucket_seconds, **filters
            )
            columns = list(rows[0]) if rows else None
        else:
            entries = reader.query_historical_costs(**filters)
            rows = [_with_exact_amount(entry) for entry in entries]
            columns = [name for name in _COST_COLUMNS if any(row[name] for row in rows)]
    _show(rows, limit, fmt, columns=columns, nothing="No cost entry matches.")


def _with_exact_amount(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its exact amount as the only one."""
    exact = {**row, "amount": Decimal(row["amount_exact"])}
    del exact["amount_exact"]
    return exact


def _show(
    rows: _Rows,
    limit: int,
    fmt: Format,
    *,
    columns: Sequence[str] | None = None,
    nothing: str = "Nothing matches; `query list` and `query series` show what is stored.",
) -> None:
    """Write the rows, and a note if there are more than the limit.

    Args:
        rows: up to limit + 1 rows; the last one only shows that there are more.
        limit: maximum number of rows to write.
        fmt: how to write them.
        columns: the columns of a table, instead of those that `render_table` chooses.
        nothing: the note for a table without rows.
    """
    shown = rows[:limit]
    if fmt == "json":
        output.print_data(render_json(shown))
    elif fmt == "csv":
        output.print_data(render_csv(shown))
    elif shown:
        present = None if columns is None else [key for key in columns if key in shown[0]]
        output.print_rich(render_table(shown, columns=present))
    else:
        output.print_note(nothing)
    if len(rows) > limit:
        output.print_note(f"These are the first {limit}; there are more, see --limit.")
