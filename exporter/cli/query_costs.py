"""`query costs`: cost entries, or what they add up to."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from exporter.cli.options import ConfigOption, DbOption, opened_for_reading, store_settings
from exporter.cli.query import (
    TIME_FORMS,
    ClusterOption,
    Format,
    FormatOption,
    LimitOption,
    NodeOption,
    ServiceOption,
    named_values,
    show,
    time_range,
)
from exporter.query import Reader, parse_duration

__all__ = ["CategoryOption", "EndOption", "ResourceOption", "StartOption", "TagOption", "costs"]

_ENTRY_COLUMNS: Final = (
    "timestamp",
    "category",
    "resource_id",
    "amount",
    "currency",
    "region",
    "service_name",
    "tags",
    "description",
)

CategoryOption = Annotated[
    str | None, typer.Option("--category", metavar="NAME", help="Only of this category.")
]
ResourceOption = Annotated[
    str | None, typer.Option("--resource", metavar="ID", help="Only of this resource_id.")
]
TagOption = Annotated[
    list[str] | None,
    typer.Option("--tag", "-t", metavar="NAME=VALUE", help="Tag; may be given several times."),
]
StartOption = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help=f"From then on: {TIME_FORMS}.")
]
EndOption = Annotated[
    str | None, typer.Option("--end", "--until", metavar="TIME", help="Until before then.")
]


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
        str | None, typer.Option("--region", metavar="NAME", help="Only of this region.")
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
            "billing_period, source, or a tag; may be given several times.",
        ),
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option("--bucket", "-b", metavar="DURATION", help="Add up by time: 1h, 1d, 7d."),
    ] = None,
    limit: LimitOption = 100,
    fmt: FormatOption = Format.TABLE,
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """Show cost entries, newest first, or what they add up to (--group-by, --bucket).

    Amounts of different currencies are never added.

    For example:

        openfinops-exporter query costs --since 7d --category compute

        openfinops-exporter query costs --since 30d --group-by category --bucket 1d

        openfinops-exporter query costs -g billing_period -g team --tag env=prod -f csv
    """
    begins, ends = time_range(since, start, end)
    question: dict[str, Any] = {
        "start_time": begins,
        "end_time": ends,
        "category": category,
        "resource_id": resource,
        "region": region,
        "cluster_id": cluster,
        "node_id": node,
        "service_name": service,
        "tags": named_values(tag, "--tag"),
        "limit": limit + 1,
    }
    with opened_for_reading(store_settings(config, db=db)) as backend:
        reader = Reader(backend)
        if group_by or bucket:
            width = None if bucket is None else parse_duration(bucket)
            rows = reader.cost_totals(group_by=group_by or (), bucket_seconds=width, **question)
            columns = list(rows[0]) if rows else None
        else:
            rows = reader.query_historical_costs(**question)
            columns = [name for name in _ENTRY_COLUMNS if any(row[name] for row in rows)]
    show(rows, limit, fmt, columns=columns, nothing="No cost entry matches.")
