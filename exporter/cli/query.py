"""`query`: read what is stored, from any process, also while a receiver is running."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from exporter.cli import output
from exporter.cli.options import ConfigOption, DbOption, opened_for_reading, store_settings
from exporter.query import Reader, parse_duration, parse_time
from exporter.query.filters import TimeRange
from exporter.render import render_csv, render_json, render_table

__all__ = [
    "TIME_FORMS",
    "ClusterOption",
    "Format",
    "FormatOption",
    "LimitOption",
    "NodeOption",
    "ServiceOption",
    "app",
    "named_values",
    "period",
    "show",
    "time_range",
]

app: Final = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Read what is stored, also while a receiver is running.\n\n"
    "Only data goes to stdout, so all of it can be piped. What a running receiver has accepted "
    "shows here after batch_interval_seconds (60 by default) at most.",
)

_Row = dict[str, Any]

# Columns of the list of metrics, and how wide a terminal must be to show them as well; names of
# metrics are there to be copied, and a narrow table would break them.
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


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        "-f",
        metavar="|".join(Format),
        help="A table is one in a pipe as well, and is then neither cut nor coloured.",
    ),
]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, metavar="NUMBER", help="Most rows.")
]
MetricOption = Annotated[
    str | None,
    typer.Option("--metric", "-m", metavar="NAME", help="Name of the metric; * and ? match."),
]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", metavar="ID", help="Only of this cluster_id.")
]
NodeOption = Annotated[
    str | None, typer.Option("--node", metavar="ID", help="Only of this node_id.")
]
ServiceOption = Annotated[
    str | None, typer.Option("--service", metavar="NAME", help="Only of this service.name.")
]
AttributeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attr",
        "-a",
        metavar="NAME=VALUE",
        help="Attribute of the point or its resource; may be given several times.",
    ),
]
TIME_FORMS: Final = "2026-01-31, 2026-01-31T12:00:00+01:00, epoch seconds, or 2h for 2 hours ago"


def time_range(
    since: str | None, start: str | None, end: str | None
) -> tuple[float | None, float | None]:
    """What --since or --start, and --end mean now, in seconds since 1970.

    Raises:
        BadParameter: --since and --start, which say the same.
    """
    if since is not None and start is not None:
        raise typer.BadParameter("--start says the same; give one of them", param_hint="--since")
    now = time.time()
    begin = start if since is None else since
    return (
        None if begin is None else parse_time(begin, now),
        None if end is None else parse_time(end, now),
    )


def period(since: str | None, until: str | None) -> TimeRange:
    """What --since and --until mean now."""
    return TimeRange.of(*time_range(since, None, until))


@app.command()
def metrics(
    *,
    metric: MetricOption = None,
    since: Annotated[
        str | None,
        typer.Option("--since", "-s", metavar="DURATION", help="How far back: 5m, 2h, 7d."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help=f"From then on: {TIME_FORMS}.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="Until before then; likewise.")
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
            help="An attribute, cluster_id, node_id or service_name; may be given several times.",
        ),
    ] = None,
    limit: LimitOption = 100,
    fmt: FormatOption = Format.TABLE,
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """Show points, newest first, or what they come to (--agg).

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
    begins, ends = time_range(since, start, end)
    filters: _Row = {
        "start_time": begins,
        "end_time": ends,
        "cluster_id": cluster,
        "node_id": node,
        "service_name": service,
        "attributes": named_values(attr, "--attr"),
        "limit": limit + 1,
    }
    with opened_for_reading(store_settings(config, db=db)) as backend:
        reader = Reader(backend)
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
    show(rows, limit, fmt)


@app.command("list")
def list_metrics(
    *,
    counts: Annotated[
        bool,
        typer.Option("--counts", help="Count the points, which takes 0.3 s a million."),
    ] = False,
    fmt: FormatOption = Format.TABLE,
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """List the metrics that are stored.

    For example:

        openfinops-exporter query list

        openfinops-exporter query list --counts --format json
    """
    with opened_for_reading(store_settings(config, db=db)) as backend:
        rows = Reader(backend).list_metrics(with_counts=counts)
    width = output.console(sys.stdout).width
    columns = [name for name, needed in _LIST_COLUMNS.items() if width >= needed]
    show(rows, len(rows), fmt, columns=columns)


@app.command()
def series(
    *,
    metric: MetricOption = None,
    cluster: ClusterOption = None,
    node: NodeOption = None,
    service: ServiceOption = None,
    attr: AttributeOption = None,
    limit: LimitOption = 100,
    fmt: FormatOption = Format.TABLE,
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """List the series of metrics, one for each combination of attributes and resource.

    For example:

        openfinops-exporter query series --metric system.network.io

        openfinops-exporter query series --attr k8s.namespace.name=shop -f json
    """
    with opened_for_reading(store_settings(config, db=db)) as backend:
        rows = Reader(backend).list_series(
            metric,
            cluster_id=cluster,
            node_id=node,
            service_name=service,
            attributes=named_values(attr, "--attr"),
            limit=limit + 1,
        )
    show(rows, limit, fmt)


def named_values(pairs: Sequence[str] | None, option: str) -> Mapping[str, str]:
    """What several `--attr name=value` say; a value may have = in it, a name may not."""
    attributes = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not (separator and name):
            raise typer.BadParameter(
                f"{pair!r} is not NAME=VALUE, such as cpu.mode=user", param_hint=option
            )
        attributes[name] = value
    return attributes


def show(
    rows: Sequence[_Row],
    limit: int,
    fmt: Format,
    *,
    columns: Sequence[str] | None = None,
    nothing: str = "Nothing matches; `query list` and `query series` show what there is.",
) -> None:
    """Write the rows; say so if there are more than the limit.

    Args:
        rows: may be one more than the limit.
        limit: most to show.
        fmt: how.
        columns: of a table, in place of those that the table itself chooses.
        nothing: what to say where a table would have no rows.
    """
    shown = rows[:limit]
    if fmt is Format.JSON:
        output.print_data(render_json(shown))
    elif fmt is Format.CSV:
        output.print_data(render_csv(shown))
    elif shown:
        there = None if columns is None else [key for key in columns if key in shown[0]]
        output.print_rich(render_table(shown, columns=there))
    else:
        output.print_note(nothing)
    if len(rows) > limit:
        output.print_note(f"These are the first {limit}; there are more, see --limit.")
