"""Options that several commands share, and how their values are parsed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import typer

from exporter.query import parse_time
from exporter.query.times import TimeRange

TIME_FORMS: Final = "2026-01-31, 2026-01-31T12:00:00+01:00, epoch seconds, or 2h for 2 hours ago"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file, such as otel-config.yaml. Without it: built-in defaults, "
        "OPENFINOPS_* variables, and those of a .env file in this folder.",
    ),
]
DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="PATH|URL",
        help="Where the data is: a SQLite file, or a connection string such as "
        "sqlite:////var/lib/metrics.db.",
        show_default="openfinops_telemetry.db",
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="sqlite, memory, postgresql or timescaledb. Without it, --db decides.",
        show_default="sqlite",
    ),
]


Format = Literal["table", "json", "csv"]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        "-f",
        metavar="|".join(get_args(Format)),
        help="How rows are written. In a pipe, a table is neither cut nor coloured.",
    ),
]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, metavar="NUMBER", help="Maximum number of rows.")
]
MetricOption = Annotated[
    str | None,
    typer.Option("--metric", "-m", metavar="NAME", help="Name of the metric; * and ? match."),
]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", metavar="ID", help="Only this cluster_id.")
]
NodeOption = Annotated[str | None, typer.Option("--node", metavar="ID", help="Only this node_id.")]
ServiceOption = Annotated[
    str | None, typer.Option("--service", metavar="NAME", help="Only this service.name.")
]
CategoryOption = Annotated[
    str | None, typer.Option("--category", metavar="NAME", help="Only this category.")
]
ResourceOption = Annotated[
    str | None, typer.Option("--resource", metavar="ID", help="Only this resource_id.")
]
TagOption = Annotated[
    list[str] | None,
    typer.Option("--tag", "-t", metavar="NAME=VALUE", help="Only this tag; may be repeated."),
]
StartOption = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help=f"From this time on: {TIME_FORMS}.")
]
EndOption = Annotated[
    str | None, typer.Option("--end", "--until", metavar="TIME", help="Before this time.")
]


def time_range(
    since: str | None, start: str | None, end: str | None
) -> tuple[float | None, float | None]:
    """Begin and end of the range of --since or --start, and --end, in seconds since 1970.

    Raises:
        BadParameter: both --since and --start are given.
    """
    if since is not None and start is not None:
        raise typer.BadParameter("--start says the same; give one of them", param_hint="--since")
    now = time.time()
    begin = start if since is None else since
    return (
        None if begin is None else parse_time(begin, now),
        None if end is None else parse_time(end, now),
    )


def time_range_of(since: str | None, until: str | None) -> TimeRange:
    """The range of --since and --until."""
    return TimeRange.of(*time_range(since, None, until))


def name_values(pairs: Sequence[str] | None, option: str) -> Mapping[str, str]:
    """The mapping of a repeated `NAME=VALUE` option; a value may contain =, a name may not."""
    attributes = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not (separator and name):
            raise typer.BadParameter(
                f"{pair!r} is not NAME=VALUE, such as cpu.mode=user", param_hint=option
            )
        attributes[name] = value
    return attributes
